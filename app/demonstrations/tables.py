"""Demonstrations: who wrote which completion, under which guideline."""

from datetime import datetime

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, column_property, mapped_column, relationship

from app.accounts.tables import Account
from app.assignments.tables import Assignment, time_worked
from app.completions.tables import Completion
from app.database import Base, JSONColumn, UTCDateTime, choice, public_id, utc_now
from app.guidelines.tables import Form, Guideline
from app.prompts.tables import Prompt
from app.rounds.tables import Item
from training.contract.records import Pool, UseCase


class Demonstration(Base):
    """A completion that a labeler wrote; `surplus` if it came after its slot was filled or its round closed.

    One without an item is a pair of a few-shot prompt that the same labeler wrote.
    """

    __tablename__ = "demonstrations"
    __table_args__ = (UniqueConstraint("item_id", "labeler_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=public_id)
    item_id: Mapped[int | None] = mapped_column(ForeignKey("items.id", ondelete="RESTRICT"))
    assignment_id: Mapped[int | None] = mapped_column(ForeignKey("assignments.id", ondelete="SET NULL"), unique=True)
    labeler_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="RESTRICT"), index=True)
    pool: Mapped[Pool] = mapped_column(choice(Pool))  # the labeler's at submission
    completion_id: Mapped[int] = mapped_column(ForeignKey("completions.id", ondelete="RESTRICT"))
    guideline_id: Mapped[int] = mapped_column(ForeignKey("guidelines.id", ondelete="RESTRICT"))
    use_case: Mapped[UseCase | None] = mapped_column(choice(UseCase))  # of the prompt, according to the labeler
    answers: Mapped[dict] = mapped_column(JSONColumn, default=dict)  # the prompt form, Table 7; absent = unanswered
    form_id: Mapped[int | None] = mapped_column(ForeignKey("forms.id", ondelete="RESTRICT"))  # null: not answered
    surplus: Mapped[bool] = mapped_column(default=False)
    idempotency_key: Mapped[str] = mapped_column(String(80))
    active_seconds: Mapped[float] = column_property(time_worked(item_id, labeler_id))
    submitted_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())
    edited_at: Mapped[datetime | None] = mapped_column(UTCDateTime)  # last resubmitted; EarlierVersion has the rest
    item: Mapped[Item | None] = relationship()
    assignment: Mapped[Assignment | None] = relationship()
    labeler: Mapped[Account] = relationship()
    completion: Mapped[Completion] = relationship()
    guideline: Mapped[Guideline] = relationship()
    form: Mapped[Form | None] = relationship()

    @property
    def prompt(self) -> Prompt:
        """The prompt that the completion answers."""
        return self.completion.prompt

    @property
    def collection(self) -> str:
        """The first collection that the prompt is in."""
        return self.prompt.collection
