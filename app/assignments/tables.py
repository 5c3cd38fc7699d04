"""Assignments with their leases, drafts and skips."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    func,
    select,
)
from sqlalchemy.orm import Mapped, MappedColumn, mapped_column, relationship

from app.accounts.tables import Account
from app.database import Base, JSONColumn, UTCDateTime, choice, public_id, utc_now
from app.rounds.tables import Item

LETTERS = "ABCDEFGHI"  # the completions of an item, in the order in which a labeler sees them


class AssignmentState(StrEnum):
    """Where an assignment stands; a lease that ran out is still `leased` until someone claims it."""

    OPEN = "open"
    LEASED = "leased"
    SUBMITTED = "submitted"


class SkipReason(StrEnum):
    """Why a labeler skipped."""

    UNCLEAR = "unclear"
    NEEDS_EXPERTISE = "needs_expertise"
    HARMFUL = "harmful"
    BROKEN = "broken"
    OTHER = "other"


class Assignment(Base):
    """One slot of an item: `overlap` of them are made when the round opens; each yields one answer."""

    __tablename__ = "assignments"
    __table_args__ = (
        UniqueConstraint("item_id", "slot"),
        UniqueConstraint("item_id", "labeler_id"),
        CheckConstraint("(state = 'open') = (labeler_id IS NULL)", name="labeler"),
        Index("ix_assignments_claim", "state", "position", "id"),
        Index("ix_assignments_labeler", "labeler_id", "state"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=public_id)
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id", ondelete="CASCADE"))
    slot: Mapped[int] = mapped_column(Integer)
    position: Mapped[int] = mapped_column(BigInteger)  # round number and item position as one sortable number
    state: Mapped[AssignmentState] = mapped_column(choice(AssignmentState), default=AssignmentState.OPEN)
    labeler_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id", ondelete="RESTRICT"))
    # Grows by one with every claim: a submission that carries an older one comes from a lease that was lost.
    fence: Mapped[int] = mapped_column(Integer, default=0)
    lease_until: Mapped[datetime | None] = mapped_column(UTCDateTime)
    claimed_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    submitted_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    # While open: whose page of it is being prepared, and until when others leave it to that labeler if they can.
    ahead_for_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id", ondelete="SET NULL"), unique=True)
    ahead_until: Mapped[datetime | None] = mapped_column(UTCDateTime)
    item: Mapped[Item] = relationship()
    labeler: Mapped[Account | None] = relationship(foreign_keys=labeler_id)


class Draft(Base):
    """What a labeler who was given an item has written for it; it outlives the lease."""

    __tablename__ = "drafts"
    __table_args__ = (Index("ix_drafts_labeler", "labeler_id", "submitted_at"),)

    item_id: Mapped[int] = mapped_column(ForeignKey("items.id", ondelete="CASCADE"), primary_key=True)
    labeler_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, default=0)  # the ETag of If-Match; 0: nothing written yet
    content: Mapped[dict] = mapped_column(JSONColumn, default=dict)  # a submission, as incomplete as need be
    active_seconds: Mapped[float] = mapped_column(default=0.0)
    given_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())  # first given to this labeler
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())
    submitted_at: Mapped[datetime | None] = mapped_column(UTCDateTime)  # first handed in
    reopened_at: Mapped[datetime | None] = mapped_column(UTCDateTime)  # being edited since; what was handed in stands
    warned_at: Mapped[datetime | None] = mapped_column(UTCDateTime)  # chose to see a prompt marked as sensitive


def time_worked(item_id: MappedColumn, labeler_id: MappedColumn) -> ColumnElement[float]:
    """Seconds that the labeler of an answer worked on it, as their draft counted them; 0 where there was no draft."""
    worked = select(Draft.active_seconds).where(Draft.item_id == item_id, Draft.labeler_id == labeler_id)
    return func.coalesce(worked.correlate_except(Draft).scalar_subquery(), 0.0)


class VersionEnd(StrEnum):
    """What became of a submitted version."""

    EDITED = "edited"  # a later one took its place
    WITHDRAWN = "withdrawn"  # undone at once


class EarlierVersion(Base):
    """What was handed in before: one that was withdrawn or replaced, or that stands while its labeler edits it."""

    __tablename__ = "earlier_versions"
    __table_args__ = (UniqueConstraint("item_id", "labeler_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id", ondelete="CASCADE"))
    labeler_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    number: Mapped[int] = mapped_column(Integer)  # 1, 2, 3 of this item and labeler
    content: Mapped[dict] = mapped_column(JSONColumn)  # as handed in
    active_seconds: Mapped[float] = mapped_column(default=0.0)
    submitted_at: Mapped[datetime] = mapped_column(UTCDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UTCDateTime)  # none: it still stands
    end: Mapped[VersionEnd | None] = mapped_column(choice(VersionEnd))


class Skip(Base):
    """A labeler passed on an item; it is never offered to that labeler again."""

    __tablename__ = "skips"

    item_id: Mapped[int] = mapped_column(ForeignKey("items.id", ondelete="CASCADE"), primary_key=True)
    labeler_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True)
    reason: Mapped[SkipReason] = mapped_column(choice(SkipReason))
    note: Mapped[str] = mapped_column(Text, default="")
    at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())


class OwnText(Base):
    """What a labeler wrote, or took from a suggestion, in answer to a prompt; it stays when the answer is withdrawn.

    By hashes, because a message of a conversation answers messages that are no prompt of the bank.
    """

    __tablename__ = "own_texts"

    prompt_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)  # as Prompt.text_sha256
    text_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)  # as Completion.text_sha256
    labeler_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True)


class OwnItem(Base):
    """An item with a completion that is a labeler's own text; it is never given to them, for nobody ranks that."""

    __tablename__ = "own_items"

    item_id: Mapped[int] = mapped_column(ForeignKey("items.id", ondelete="CASCADE"), primary_key=True)
    labeler_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True)
