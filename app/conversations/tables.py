"""Conversations message by message, the suggestions made meanwhile, and the alternatives sampled afterwards."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, column_property, mapped_column, relationship

from app.accounts.tables import Account
from app.assignments.tables import Assignment, time_worked
from app.database import Base, JSONColumn, UTCDateTime, choice, public_id, utc_now
from app.guidelines.tables import Guideline
from app.policies.tables import Policy
from app.prompts.tables import Prompt
from app.rounds.tables import Item
from training.contract.records import Pool


class Role(StrEnum):
    """The speaker of a message; the labeler plays both."""

    USER = "user"
    ASSISTANT = "assistant"


class Origin(StrEnum):
    """Where the text of a message came from."""

    WRITTEN = "written"  # nothing was suggested
    TAKEN = "taken"  # a suggestion, word for word
    EDITED = "edited"  # a suggestion, changed
    IGNORED = "ignored"  # written, although something was suggested


class Suggestion(Base):
    """A policy's suggestion to a labeler for one message; the labeler sees only the text."""

    __tablename__ = "suggestions"
    __table_args__ = (Index("ix_suggestions_labeler", "item_id", "labeler_id", "position"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=public_id)
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id", ondelete="RESTRICT"))
    labeler_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="RESTRICT"))
    policy_id: Mapped[int] = mapped_column(ForeignKey("policies.id", ondelete="RESTRICT"))
    position: Mapped[int] = mapped_column(Integer)  # of its message; 0 is the labeler's first
    role: Mapped[Role] = mapped_column(choice(Role))
    text: Mapped[str] = mapped_column(Text)
    settings: Mapped[dict] = mapped_column(JSONColumn, default=dict)  # temperature, max_tokens, finished
    seconds: Mapped[float] = mapped_column(default=0.0)  # from the request until the text arrived
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())
    policy: Mapped[Policy] = relationship()


class Conversation(Base):
    """A dialogue that a labeler wrote; `surplus` if it came after its slot was filled or its round closed."""

    __tablename__ = "conversations"
    __table_args__ = (UniqueConstraint("item_id", "labeler_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=public_id)
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id", ondelete="RESTRICT"))
    assignment_id: Mapped[int | None] = mapped_column(ForeignKey("assignments.id", ondelete="SET NULL"), unique=True)
    labeler_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="RESTRICT"), index=True)
    pool: Mapped[Pool] = mapped_column(choice(Pool))  # the labeler's at submission
    guideline_id: Mapped[int] = mapped_column(ForeignKey("guidelines.id", ondelete="RESTRICT"))
    surplus: Mapped[bool] = mapped_column(default=False)
    idempotency_key: Mapped[str] = mapped_column(String(80))
    active_seconds: Mapped[float] = column_property(time_worked(item_id, labeler_id))
    submitted_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())
    edited_at: Mapped[datetime | None] = mapped_column(UTCDateTime)  # last resubmitted; EarlierVersion has the rest
    item: Mapped[Item] = relationship()
    assignment: Mapped[Assignment | None] = relationship()
    labeler: Mapped[Account] = relationship()
    guideline: Mapped[Guideline] = relationship()
    messages: Mapped[list["ConversationMessage"]] = relationship(order_by="ConversationMessage.position")


class ConversationMessage(Base):
    """One message after the opening, with the origin of its text."""

    __tablename__ = "conversation_messages"
    __table_args__ = (
        CheckConstraint("(origin IN ('taken', 'edited')) = (suggestion_id IS NOT NULL)", name="suggestion"),
    )

    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    role: Mapped[Role] = mapped_column(choice(Role))
    text: Mapped[str] = mapped_column(Text)
    origin: Mapped[Origin] = mapped_column(choice(Origin))
    suggestion_id: Mapped[int | None] = mapped_column(ForeignKey("suggestions.id", ondelete="RESTRICT"))
    suggestion: Mapped[Suggestion | None] = relationship()


class AlternativesState(StrEnum):
    """State of a message's alternatives."""

    QUEUED = "queued"
    SAMPLING = "sampling"
    READY = "ready"  # in the bank, and in their round if it was still open
    FAILED = "failed"


class Alternatives(Base):
    """K completions sampled in place of one model-written message, to be ranked; this row is the source of truth."""

    __tablename__ = "alternatives"
    __table_args__ = (Index("ix_alternatives_state_lease", "state", "lease_until"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=public_id)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"), unique=True)
    position: Mapped[int] = mapped_column(Integer)  # of the message
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id", ondelete="RESTRICT"), index=True)
    state: Mapped[AlternativesState] = mapped_column(choice(AlternativesState), default=AlternativesState.QUEUED)
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    lease_until: Mapped[datetime | None] = mapped_column(UTCDateTime)
    error: Mapped[str] = mapped_column(Text, default="")
    sampled: Mapped[int] = mapped_column(Integer, default=0)  # number of distinct texts sampled
    item_id: Mapped[int | None] = mapped_column(ForeignKey("items.id", ondelete="SET NULL"))  # the comparison
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())
    conversation: Mapped[Conversation] = relationship()
    prompt: Mapped[Prompt] = relationship()
    item: Mapped[Item | None] = relationship()
