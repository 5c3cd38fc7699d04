"""Rounds and their items."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.completions.tables import Completion
from app.database import Base, JSONColumn, UTCDateTime, choice, public_id, utc_now
from app.guidelines.tables import Form, Guideline
from app.prompts.tables import Prompt


class RoundState(StrEnum):
    """The state of a round."""

    DRAFT = "draft"  # its items may still change
    OPEN = "open"  # labelers work on it
    CLOSED = "closed"  # its answers may be frozen; late work is kept, marked surplus


class RoundPriority(StrEnum):
    """Which rounds' tasks are handed out first; rounds of equal priority are ordered by number."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class RoundPurpose(StrEnum):
    """What a round's answers are used for."""

    TRAINING = "training"
    EVALUATION = "evaluation"
    DEMO = "demo"  # readable texts for a person's first ranking; never trained on
    PRACTICE = "practice"  # everybody does every item and sees at once where the reference differs
    SCREENING = "screening"  # the same without feedback; onboarding.rules writes both, never a plan


ONBOARDING = (RoundPurpose.PRACTICE, RoundPurpose.SCREENING)  # never frozen in a snapshot or counted in the loop


class ItemKind(StrEnum):
    """What a labeler does with an item."""

    DEMONSTRATION = "demonstration"  # write a completion
    CONVERSATION = "conversation"  # play both sides of a dialogue that the prompt begins, or describes
    COMPARISON = "comparison"  # rate and rank its completions


class Round(Base):
    """One turn of the loop."""

    __tablename__ = "rounds"
    __table_args__ = (CheckConstraint("reserved_percent BETWEEN 0 AND 100", name="reserved_percent"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=public_id)
    number: Mapped[int] = mapped_column(Integer, unique=True)  # 1, 2, 3: records.ComparisonRecord.round
    name: Mapped[str] = mapped_column(String(120))
    purpose: Mapped[RoundPurpose] = mapped_column(choice(RoundPurpose), default=RoundPurpose.TRAINING)
    state: Mapped[RoundState] = mapped_column(choice(RoundState), default=RoundState.DRAFT)
    priority: Mapped[RoundPriority] = mapped_column(choice(RoundPriority), default=RoundPriority.NORMAL)
    reserved_percent: Mapped[int] = mapped_column(Integer, default=0)  # of its items: for people, not for programs
    # The prompts, and the policies of the K completions: rounds.schemas.RoundPlan
    plan: Mapped[dict] = mapped_column(JSONColumn, default=dict)
    overlap: Mapped[int] = mapped_column(Integer, default=1)
    pools: Mapped[list[str]] = mapped_column(JSONColumn, default=lambda: ["train", "held-out"])
    guideline_id: Mapped[int] = mapped_column(ForeignKey("guidelines.id", ondelete="RESTRICT"))
    form_id: Mapped[int] = mapped_column(ForeignKey("forms.id", ondelete="RESTRICT"))
    left_out: Mapped[list[dict]] = mapped_column(JSONColumn, default=list)  # [{"prompt": public id, "reason"}]
    opened_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    closed_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())
    guideline: Mapped[Guideline] = relationship()
    form: Mapped[Form] = relationship()


class Item(Base):
    """One prompt of a round with its fixed completions (none for a demonstration)."""

    __tablename__ = "items"
    __table_args__ = (UniqueConstraint("round_id", "prompt_id", "kind"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=public_id)
    round_id: Mapped[int] = mapped_column(ForeignKey("rounds.id", ondelete="CASCADE"), index=True)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id", ondelete="RESTRICT"), index=True)
    kind: Mapped[ItemKind] = mapped_column(choice(ItemKind))
    position: Mapped[int] = mapped_column(Integer)  # order in which items are handed out
    overlap: Mapped[int] = mapped_column(Integer)
    round: Mapped[Round] = relationship()
    prompt: Mapped[Prompt] = relationship()
    completions: Mapped[list["ItemCompletion"]] = relationship(order_by="ItemCompletion.position")


class ItemCompletion(Base):
    """One of the K completions of an item; `position` is the canonical order, never the order that labelers see."""

    __tablename__ = "item_completions"
    __table_args__ = (
        UniqueConstraint("item_id", "position"),
        CheckConstraint("position >= 0 AND position < 9", name="position"),
    )

    item_id: Mapped[int] = mapped_column(ForeignKey("items.id", ondelete="CASCADE"), primary_key=True)
    completion_id: Mapped[int] = mapped_column(ForeignKey("completions.id", ondelete="RESTRICT"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer)
    completion: Mapped[Completion] = relationship()
