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
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.accounts.tables import Account
from app.database import Base, JSONColumn, UTCDateTime, choice, public_id, utc_now
from app.rounds.tables import Item

LETTERS = "ABCDEFGHI"  # the completions of an item, in the order in which a labeler sees them


class AssignmentState(StrEnum):
    """State of an assignment; a lease that ran out is still `leased` until someone claims it."""

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
    position: Mapped[int] = mapped_column(BigInteger)  # priority, round number and item position as one sortable number
    state: Mapped[AssignmentState] = mapped_column(choice(AssignmentState), default=AssignmentState.OPEN)
    labeler_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id", ondelete="RESTRICT"))
    # Grows by one with every new holder: a request that carries an older one comes from a lost lease.
    fence: Mapped[int] = mapped_column(Integer, default=0)
    lease_until: Mapped[datetime | None] = mapped_column(UTCDateTime)
    claimed_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    submitted_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    # While open: the labeler whose next page this is, and until when others avoid the slot if they can.
    ahead_for_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id", ondelete="SET NULL"), unique=True)
    ahead_until: Mapped[datetime | None] = mapped_column(UTCDateTime)
    item: Mapped[Item] = relationship()
    labeler: Mapped[Account | None] = relationship(foreign_keys=labeler_id)


class Draft(Base):
    """What a labeler has written for an assigned item; it outlives the lease."""

    __tablename__ = "drafts"
    __table_args__ = (Index("ix_drafts_labeler", "labeler_id", "submitted_at"),)

    item_id: Mapped[int] = mapped_column(ForeignKey("items.id", ondelete="CASCADE"), primary_key=True)
    labeler_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, default=0)  # the ETag of If-Match; 0: nothing written yet
    content: Mapped[dict] = mapped_column(JSONColumn, default=dict)  # a submission, possibly incomplete
    active_seconds: Mapped[float] = mapped_column(default=0.0)
    given_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())  # first given to this labeler
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())
    submitted_at: Mapped[datetime | None] = mapped_column(UTCDateTime)  # first submitted
    reopened_at: Mapped[datetime | None] = mapped_column(UTCDateTime)  # being edited since then; the submission remains
    warned_at: Mapped[datetime | None] = mapped_column(UTCDateTime)  # when the labeler chose to see a sensitive prompt


def time_worked(item_id: Mapped[int | None], labeler_id: Mapped[int | None]) -> ColumnElement[float]:
    """Return the seconds that an answer's labeler worked on it, as counted by their draft; 0 without a draft."""
    worked = select(Draft.active_seconds).where(Draft.item_id == item_id, Draft.labeler_id == labeler_id)
    return func.coalesce(worked.correlate_except(Draft).scalar_subquery(), 0.0)


class VersionEnd(StrEnum):
    """What became of a submitted version."""

    EDITED = "edited"  # replaced by a later one
    WITHDRAWN = "withdrawn"  # undone within seconds


class EarlierVersion(Base):
    """A submitted version that was withdrawn or replaced, or that remains in force while its labeler edits it."""

    __tablename__ = "earlier_versions"
    __table_args__ = (UniqueConstraint("item_id", "labeler_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id", ondelete="CASCADE"))
    labeler_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    number: Mapped[int] = mapped_column(Integer)  # 1, 2, 3 of this item and labeler
    content: Mapped[dict] = mapped_column(JSONColumn)  # as submitted
    active_seconds: Mapped[float] = mapped_column(default=0.0)
    submitted_at: Mapped[datetime] = mapped_column(UTCDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UTCDateTime)  # null: still in force
    end: Mapped[VersionEnd | None] = mapped_column(choice(VersionEnd))


class Skip(Base):
    """A labeler's skip of an item, which is never offered to that labeler again."""

    __tablename__ = "skips"

    item_id: Mapped[int] = mapped_column(ForeignKey("items.id", ondelete="CASCADE"), primary_key=True)
    labeler_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True)
    reason: Mapped[SkipReason] = mapped_column(choice(SkipReason))
    note: Mapped[str] = mapped_column(Text, default="")
    at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())


class OwnText(Base):
    """A labeler's text in answer to a prompt, written or taken from a suggestion; it stays if the answer is withdrawn.

    Keyed by hashes, because a message of a conversation answers messages that are no prompt of the bank.
    """

    __tablename__ = "own_texts"

    prompt_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)  # as Prompt.text_sha256
    text_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)  # as Completion.text_sha256
    labeler_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True)


class OwnItem(Base):
    """An item that contains a labeler's own text. It is never given to that labeler: nobody ranks their own text."""

    __tablename__ = "own_items"

    item_id: Mapped[int] = mapped_column(ForeignKey("items.id", ondelete="CASCADE"), primary_key=True)
    labeler_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True)
