"""Prompts, their collections and near-duplicates, and the personal data found in them."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, ColumnElement, ForeignKey, Integer, String, UniqueConstraint, false, func
from sqlalchemy.ext.associationproxy import AssociationProxy, association_proxy
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.database import Base, JSONColumn, UTCDateTime, choice, public_id, utc_now
from app.prompts.hygiene.kinds import PersonalData
from training.contract.records import Split, UseCase

SENSITIVE = "sensitive_content"  # the prompt form's answer that marks a prompt; guidelines.schemas.PromptAnswer


class PromptSource(StrEnum):
    """Where a prompt comes from (InstructGPT, section 3.2)."""

    LABELER_PLAIN = "labeler_plain"
    LABELER_FEW_SHOT = "labeler_few_shot"
    LABELER_USER_BASED = "labeler_user_based"
    CUSTOMER = "customer"
    USE_CASE = "use_case"  # description of a use, from which a labeler starts a conversation; never given to a policy
    CONVERSATION = "conversation"  # a labeler's conversation up to a model's message


class Prompt(Base):
    """A list of messages with an owner, a split and a use case."""

    __tablename__ = "prompts"
    __table_args__ = (UniqueConstraint("text_sha256"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=public_id)
    messages: Mapped[list[dict]] = mapped_column(JSONColumn)  # [{"role", "text"}], records.Message
    text_sha256: Mapped[str] = mapped_column(String(64))  # original messages, as canonical JSON
    masked_sha256: Mapped[str | None] = mapped_column(String(64), index=True)  # messages after masking
    folded_sha256: Mapped[str] = mapped_column(String(64), index=True)  # current messages without case and spacing
    prefix_sha256: Mapped[str | None] = mapped_column(String(64), index=True)  # first 200 characters; null if shorter
    source: Mapped[PromptSource] = mapped_column(choice(PromptSource))
    use_case: Mapped[UseCase | None] = mapped_column(choice(UseCase))
    owner: Mapped[str] = mapped_column(String(120), index=True)  # customer, organization or labeler
    split: Mapped[Split] = mapped_column(choice(Split), index=True)  # all prompts of an owner share it
    language: Mapped[str | None] = mapped_column(String(8), index=True)  # ISO 639-1, "" if unclear; null = not examined
    answers: Mapped[dict] = mapped_column(JSONColumn, default=dict)  # the prompt form, Table 7; absent = unanswered
    writing_id: Mapped[int | None] = mapped_column(ForeignKey("writings.id", ondelete="SET NULL"), index=True)
    written_by_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id", ondelete="SET NULL"))
    withdrawn_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())
    memberships: Mapped[list["PromptCollection"]] = relationship(order_by="PromptCollection.name", passive_deletes=True)
    collections: AssociationProxy[list[str]] = association_proxy(
        "memberships", "name", creator=lambda name: PromptCollection(name=name)
    )

    @property
    def collection(self) -> str:
        """First of the prompt's collections by name, "" if it is in none."""
        return next(iter(self.collections), "")

    @hybrid_property
    def sensitive(self) -> bool:
        """Whether the prompt is marked as sensitive; labelers are warned before they see it, and may opt out."""
        return bool(self.answers.get(SENSITIVE))

    @sensitive.inplace.expression
    @classmethod
    def _sensitive(cls) -> ColumnElement[bool]:
        return func.coalesce(cls.answers[SENSITIVE].as_boolean(), false())


class PromptCollection(Base):
    """A prompt's membership in a collection, by which rounds and snapshots choose prompts; it may be in several."""

    __tablename__ = "prompt_collections"

    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(120), primary_key=True, index=True)


class NearPrompts(Base):
    """A pair of near-duplicates; `prompt_id` came later. Snapshots put both in the stricter split."""

    __tablename__ = "near_prompts"

    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id", ondelete="CASCADE"), primary_key=True)
    near_id: Mapped[int] = mapped_column(ForeignKey("prompts.id", ondelete="CASCADE"), primary_key=True, index=True)


class PromptBand(Base):
    """A key of a prompt's MinHash signature; prompts that share one may be near-duplicates."""

    __tablename__ = "prompt_bands"

    band: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id", ondelete="CASCADE"), primary_key=True, index=True)


class FindingState(StrEnum):
    """The decision on a piece of personal data."""

    OPEN = "open"
    MASKED = "masked"
    ALLOWED = "allowed"


class Finding(Base):
    """Personal data found in a prompt: messages[message]["text"][start:stop]. Snapshots omit prompts with open ones."""

    __tablename__ = "findings"

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=public_id)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id", ondelete="CASCADE"), index=True)
    message: Mapped[int] = mapped_column(Integer)
    start: Mapped[int] = mapped_column(Integer)
    stop: Mapped[int] = mapped_column(Integer)
    kind: Mapped[PersonalData] = mapped_column(choice(PersonalData))
    state: Mapped[FindingState] = mapped_column(choice(FindingState), default=FindingState.OPEN, index=True)
    decided_by_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id", ondelete="SET NULL"))
    decided_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    prompt: Mapped[Prompt] = relationship()
