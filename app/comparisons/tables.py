"""Comparisons: a ranking with ties, and one row for each completion in it."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, column_property, mapped_column, relationship

from app.accounts.tables import Account
from app.assignments.tables import LETTERS, Assignment, time_worked
from app.completions.tables import Completion
from app.database import Base, JSONColumn, UTCDateTime, choice, public_id, utc_now
from app.guidelines.tables import Form, Guideline
from app.prompts.tables import Prompt
from app.rounds.tables import Item
from training.contract.records import Pool


class ComparisonSource(StrEnum):
    """Who ranked."""

    PERSON = "person"  # with an assignment; simulated labelers too, as their account shows
    IMPORT = "import"
    AI_JUDGE = "ai_judge"


class SeededOrder(StrEnum):
    """What a labeler did with the order suggested by their ratings."""

    CONFIRMED = "confirmed"  # submitted unchanged, and confirmed
    EDITED = "edited"  # submitted with changes


class Comparison(Base):
    """One ranking of K completions, K = 2 to 9; `surplus` if its slot was filled or its round closed before it came."""

    __tablename__ = "comparisons"
    __table_args__ = (
        UniqueConstraint("item_id", "labeler_id"),
        UniqueConstraint("import_key"),
        CheckConstraint("source <> 'person' OR (item_id IS NOT NULL AND labeler_id IS NOT NULL)", name="person"),
        CheckConstraint("probability BETWEEN 0.5 AND 1", name="probability"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=public_id)
    source: Mapped[ComparisonSource] = mapped_column(choice(ComparisonSource), default=ComparisonSource.PERSON)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id", ondelete="RESTRICT"), index=True)
    item_id: Mapped[int | None] = mapped_column(ForeignKey("items.id", ondelete="RESTRICT"))
    assignment_id: Mapped[int | None] = mapped_column(ForeignKey("assignments.id", ondelete="SET NULL"), unique=True)
    labeler_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id", ondelete="RESTRICT"), index=True)
    imported_labeler: Mapped[str] = mapped_column(String(120), default="")  # the name an import gave, if any
    import_key: Mapped[str | None] = mapped_column(String(64))  # hash of an imported row: importing twice adds nothing
    collection: Mapped[str] = mapped_column(String(120), default="", index=True)  # name given at import
    pool: Mapped[Pool] = mapped_column(choice(Pool))  # the labeler's at submission
    probability: Mapped[float | None] = mapped_column()  # that each pair's order is right, if a judge gave it
    guideline_id: Mapped[int | None] = mapped_column(ForeignKey("guidelines.id", ondelete="RESTRICT"))
    form_id: Mapped[int | None] = mapped_column(ForeignKey("forms.id", ondelete="RESTRICT"))
    notes: Mapped[str] = mapped_column(Text, default="")
    surplus: Mapped[bool] = mapped_column(default=False)
    idempotency_key: Mapped[str] = mapped_column(String(80), default="")
    seeded_order: Mapped[SeededOrder | None] = mapped_column(choice(SeededOrder))  # none: no seeded order was shown
    active_seconds: Mapped[float] = column_property(time_worked(item_id, labeler_id))
    first_action_at: Mapped[datetime | None] = mapped_column(UTCDateTime)  # when the first answer was given
    submitted_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())
    edited_at: Mapped[datetime | None] = mapped_column(UTCDateTime)  # last resubmitted; EarlierVersion has the rest
    prompt: Mapped[Prompt] = relationship()
    item: Mapped[Item | None] = relationship()
    assignment: Mapped[Assignment | None] = relationship()
    labeler: Mapped[Account | None] = relationship()
    guideline: Mapped[Guideline | None] = relationship()
    form: Mapped[Form | None] = relationship()
    completions: Mapped[list["ComparedCompletion"]] = relationship(order_by="ComparedCompletion.shown_position")


class ComparedCompletion(Base):
    """One completion of a comparison; unanswered fields are null."""

    __tablename__ = "compared_completions"
    __table_args__ = (
        UniqueConstraint("comparison_id", "shown_position"),
        CheckConstraint("rating BETWEEN 1 AND 7", name="rating"),
        CheckConstraint("tier BETWEEN 1 AND 9", name="tier"),
        CheckConstraint("shown_position BETWEEN 0 AND 8", name="shown_position"),
    )

    comparison_id: Mapped[int] = mapped_column(ForeignKey("comparisons.id", ondelete="CASCADE"), primary_key=True)
    completion_id: Mapped[int] = mapped_column(ForeignKey("completions.id", ondelete="RESTRICT"), primary_key=True)
    shown_position: Mapped[int] = mapped_column(Integer)  # 0 = shown as A
    rating: Mapped[int | None] = mapped_column(Integer)
    tier: Mapped[int | None] = mapped_column(Integer)  # 1 is best; equal tiers are a tie
    unacceptable: Mapped[bool] = mapped_column(default=False)  # in the last tier, only with other such ones
    # {flag: true | false}; an absent flag was not shown, or the completion's flags were not confirmed
    flags: Mapped[dict] = mapped_column(JSONColumn, default=dict)
    completion: Mapped[Completion] = relationship()

    @property
    def letter(self) -> str:
        """Letter under which it was shown."""
        return LETTERS[self.shown_position]
