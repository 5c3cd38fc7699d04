"""Snapshots and their members."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, JSONColumn, UTCDateTime, choice, public_id, utc_now
from training.contract.records import Pool, Purpose, Split


class SnapshotState(StrEnum):
    """State of a snapshot; a ready one never changes."""

    QUEUED = "queued"
    WRITING = "writing"
    READY = "ready"
    FAILED = "failed"


class Snapshot(Base):
    """A frozen data set with a purpose; its folder is `snapshots/<public_id>` in the data folder."""

    __tablename__ = "snapshots"

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=public_id)
    name: Mapped[str] = mapped_column(String(120), default="")
    purpose: Mapped[Purpose] = mapped_column(choice(Purpose))
    filter: Mapped[dict] = mapped_column(JSONColumn, default=dict)  # snapshots.schemas.SnapshotFilter
    state: Mapped[SnapshotState] = mapped_column(choice(SnapshotState), default=SnapshotState.QUEUED)
    content_sha256: Mapped[str | None] = mapped_column(String(64), index=True)
    manifest: Mapped[dict | None] = mapped_column(JSONColumn)  # records.Manifest
    error: Mapped[str] = mapped_column(Text, default="")
    lease_until: Mapped[datetime | None] = mapped_column(UTCDateTime)  # of the worker that writes it
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())


class SnapshotMember(Base):
    """One frozen row of a snapshot, with exactly one subject; held-out labelers and open personal data never train."""

    __tablename__ = "snapshot_members"
    __table_args__ = (
        CheckConstraint("NOT (split = 'train' AND pool = 'held-out')", name="held_out"),
        CheckConstraint("NOT (split = 'train' AND open_personal_data)", name="personal_data"),
        CheckConstraint(
            "(CASE WHEN demonstration_id IS NULL THEN 0 ELSE 1 END)"
            " + (CASE WHEN conversation_id IS NULL THEN 0 ELSE 1 END)"
            " + (CASE WHEN comparison_id IS NULL THEN 0 ELSE 1 END)"
            " + (CASE WHEN prompt_id IS NULL THEN 0 ELSE 1 END) = 1",
            name="one_subject",
        ),
        Index("ix_snapshot_members_snapshot", "snapshot_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    snapshot_id: Mapped[int] = mapped_column(ForeignKey("snapshots.id", ondelete="CASCADE"))
    demonstration_id: Mapped[int | None] = mapped_column(ForeignKey("demonstrations.id", ondelete="RESTRICT"))
    conversation_id: Mapped[int | None] = mapped_column(ForeignKey("conversations.id", ondelete="RESTRICT"))
    comparison_id: Mapped[int | None] = mapped_column(ForeignKey("comparisons.id", ondelete="RESTRICT"))
    prompt_id: Mapped[int | None] = mapped_column(ForeignKey("prompts.id", ondelete="RESTRICT"))
    split: Mapped[Split] = mapped_column(choice(Split))
    pool: Mapped[Pool | None] = mapped_column(choice(Pool))  # null for a bare prompt
    open_personal_data: Mapped[bool] = mapped_column(Boolean, default=False)  # of its prompt, when it was frozen
