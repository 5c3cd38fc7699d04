"""Jobs and the events of their runs."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.database import Base, JSONColumn, UTCDateTime, choice, public_id, utc_now
from app.snapshots.tables import Snapshot


class JobVerb(StrEnum):
    """The training command that a job runs."""

    TRAIN_BASE = "train_base"
    TRAIN_SFT = "train_sft"
    TRAIN_REWARD_MODEL = "train_reward_model"
    CROSS_VALIDATE = "cross_validate"
    TRAIN_DPO = "train_dpo"
    TRAIN_PPO = "train_ppo"
    SAMPLE_COMPLETIONS = "sample_completions"
    EVALUATE = "evaluate"


class JobState(StrEnum):
    """State of a job; the reconciler takes over queued and running jobs whose lease has expired."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Job(Base):
    """One thing to train or sample; each run is an attempt of it. All attempts share the folder `runs/<public_id>`."""

    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_state_lease", "state", "lease_until"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=public_id)
    name: Mapped[str] = mapped_column(String(120), default="")
    verb: Mapped[JobVerb] = mapped_column(choice(JobVerb))
    config: Mapped[dict] = mapped_column(JSONColumn)  # the run folder's config.json (training.contract.recipes)
    snapshot_id: Mapped[int | None] = mapped_column(ForeignKey("snapshots.id", ondelete="RESTRICT"))
    state: Mapped[JobState] = mapped_column(choice(JobState), default=JobState.QUEUED)
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    owner: Mapped[str] = mapped_column(String(120), default="")  # the supervisor that holds the lease
    lease_until: Mapped[datetime | None] = mapped_column(UTCDateTime)
    cancel_requested_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    step: Mapped[int] = mapped_column(Integer, default=0)
    total_steps: Mapped[int | None] = mapped_column(Integer)
    events_read: Mapped[int] = mapped_column(Integer, default=0)  # bytes of events.jsonl already in job_events
    result: Mapped[dict | None] = mapped_column(JSONColumn)
    error: Mapped[str] = mapped_column(Text, default="")
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())
    started_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    snapshot: Mapped[Snapshot | None] = relationship()


class JobEvent(Base):
    """One line of a run's events.jsonl."""

    __tablename__ = "job_events"
    __table_args__ = (UniqueConstraint("job_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    number: Mapped[int] = mapped_column(Integer)  # 1, 2, 3, ... within the job
    kind: Mapped[str] = mapped_column(String(20))
    at: Mapped[datetime] = mapped_column(UTCDateTime)
    body: Mapped[dict] = mapped_column(JSONColumn)  # as training.contract.events defines it
