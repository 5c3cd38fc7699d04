"""Exercises with references, screenings with verdicts, reviews of demonstrations, and survey counts."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.accounts.tables import Account
from app.completions.tables import Completion
from app.database import Base, JSONColumn, UTCDateTime, choice, utc_now
from app.demonstrations.tables import Demonstration
from app.rounds.tables import Item


class Verdict(StrEnum):
    """An admin's decision about a screened labeler."""

    TRAIN = "train"  # gets tasks; the answers are trained on
    HELD_OUT = "held-out"  # gets tasks; the answers only measure
    DECLINED = "declined"  # gets no tasks


class Exercise(Base):
    """An item of the practice or screening round, which every labeler does in onboarding."""

    __tablename__ = "exercises"

    item_id: Mapped[int] = mapped_column(ForeignKey("items.id", ondelete="CASCADE"), primary_key=True)
    explanation: Mapped[str] = mapped_column(Text, default="")  # Markdown, shown after practice
    retired_at: Mapped[datetime | None] = mapped_column(UTCDateTime)  # no longer assigned from then on
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id", ondelete="SET NULL"))
    item: Mapped[Item] = relationship()
    references: Mapped[list["Reference"]] = relationship(order_by="Reference.completion_id")


class Reference(Base):
    """An exercise's reference for one of its completions; null or absent values are left open."""

    __tablename__ = "exercise_references"
    __table_args__ = (
        ForeignKeyConstraint(
            ["item_id", "completion_id"],
            ["item_completions.item_id", "item_completions.completion_id"],
            ondelete="CASCADE",
        ),
        CheckConstraint("tier BETWEEN 1 AND 9", name="tier"),
    )

    item_id: Mapped[int] = mapped_column(ForeignKey("exercises.item_id", ondelete="CASCADE"), primary_key=True)
    completion_id: Mapped[int] = mapped_column(ForeignKey("completions.id", ondelete="CASCADE"), primary_key=True)
    tier: Mapped[int | None] = mapped_column(Integer)  # 1 is best; equal tiers: either order is right
    flags: Mapped[dict] = mapped_column(JSONColumn, default=dict)
    why: Mapped[str] = mapped_column(Text, default="")
    completion: Mapped[Completion] = relationship()


class Screening(Base):
    """One labeler's screening; until the verdict, reviewers and admins know it only by its number."""

    __tablename__ = "screenings"
    __table_args__ = (
        CheckConstraint("(verdict IS NULL) = (decided_at IS NULL)", name="decided"),
        CheckConstraint("verdict IS NULL OR handed_in_at IS NOT NULL", name="handed_in"),
    )

    labeler_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, unique=True)  # random
    comfort: Mapped[dict] = mapped_column(JSONColumn, default=dict)  # {topic: "yes" | "partly" | "no"}
    comfort_note: Mapped[str] = mapped_column(Text, default="")  # other groups, cultures and languages
    handed_in_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    verdict: Mapped[Verdict | None] = mapped_column(choice(Verdict))
    reason: Mapped[str] = mapped_column(Text, default="")
    figures: Mapped[dict | None] = mapped_column(JSONColumn)  # as measured at the verdict
    decided_by_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id", ondelete="SET NULL"))
    decided_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    labeler: Mapped[Account] = relationship(foreign_keys=labeler_id)


class Reviewer(Base):
    """An account that rates the demonstrations of screenings in addition to the admins."""

    __tablename__ = "reviewers"

    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True)
    account: Mapped[Account] = relationship()


class DemonstrationReview(Base):
    """One reviewer's rating of one demonstration of a screening."""

    __tablename__ = "demonstration_reviews"
    __table_args__ = (CheckConstraint("rating BETWEEN 1 AND 7", name="rating"),)

    demonstration_id: Mapped[int] = mapped_column(ForeignKey("demonstrations.id", ondelete="CASCADE"), primary_key=True)
    reviewer_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True)
    rating: Mapped[int] = mapped_column(Integer)
    note: Mapped[str] = mapped_column(Text, default="")
    at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())
    demonstration: Mapped[Demonstration] = relationship()


class SurveyCount(Base):
    """Count of one answer to one survey question; a person's answers are never stored together, nor any time."""

    __tablename__ = "survey_counts"

    question: Mapped[str] = mapped_column(String(40), primary_key=True)
    answer: Mapped[str] = mapped_column(String(40), primary_key=True)
    count: Mapped[int] = mapped_column(Integer, default=0)
