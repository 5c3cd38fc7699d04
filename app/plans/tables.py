"""Plans: the steps that turn a round's answers into the next round."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, Integer, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.database import Base, JSONColumn, UTCDateTime, choice, public_id, utc_now
from app.jobs.tables import Job
from app.rounds.tables import Round
from app.snapshots.tables import Snapshot


class PlanState(StrEnum):
    """State of a plan."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepKind(StrEnum):
    """What a plan's step does."""

    SNAPSHOT = "snapshot"
    JOB = "job"
    ROUND = "round"  # create the next round, and open it if the config says so


class StepName(StrEnum):
    """The steps of a plan, in order; a training's name is its name in the config as well."""

    BASE = "base"
    SNAPSHOT_SFT = "snapshot_sft"
    SFT = "sft"
    SFT_FOR_PPO = "sft_for_ppo"
    SNAPSHOT_RM = "snapshot_rm"
    REWARD_MODEL = "reward_model"
    SNAPSHOT_PPO = "snapshot_ppo"
    PPO = "ppo"
    PROMPTS = "prompts"
    SAMPLE_POLICY = "sample_policy"  # these four sample from a Source
    SAMPLE_PREVIOUS = "sample_previous"
    SAMPLE_SFT = "sample_sft"
    SAMPLE_BASE = "sample_base"
    ROUND = "round"

    @property
    def kind(self) -> StepKind:
        """What the step does."""
        if self is StepName.ROUND:
            return StepKind.ROUND
        frozen = (StepName.SNAPSHOT_SFT, StepName.SNAPSHOT_RM, StepName.SNAPSHOT_PPO, StepName.PROMPTS)
        return StepKind.SNAPSHOT if self in frozen else StepKind.JOB


class StepState(StrEnum):
    """State of a plan's step."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Plan(Base):
    """One automatic cycle of the loop; it first closes the round it trains on."""

    __tablename__ = "plans"
    __table_args__ = (
        # A canceled plan frees its round for another one.
        Index(
            "uq_plans_round",
            "round_id",
            unique=True,
            sqlite_where=text("state <> 'cancelled'"),
            postgresql_where=text("state <> 'cancelled'"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=public_id)
    name: Mapped[str] = mapped_column(String(120))
    round_id: Mapped[int] = mapped_column(ForeignKey("rounds.id", ondelete="RESTRICT"))
    state: Mapped[PlanState] = mapped_column(choice(PlanState), default=PlanState.RUNNING)
    config: Mapped[dict] = mapped_column(JSONColumn)  # plans.schemas.PlanConfig
    next_round_id: Mapped[int | None] = mapped_column(ForeignKey("rounds.id", ondelete="SET NULL"))
    error: Mapped[str] = mapped_column(Text, default="")
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())
    round: Mapped[Round] = relationship(foreign_keys=[round_id])
    next_round: Mapped[Round | None] = relationship(foreign_keys=[next_round_id])
    steps: Mapped[list["PlanStep"]] = relationship(order_by="PlanStep.number")


class PlanStep(Base):
    """One step of a plan; `name` is a StepName."""

    __tablename__ = "plan_steps"
    __table_args__ = (UniqueConstraint("plan_id", "number"), UniqueConstraint("plan_id", "name"))

    id: Mapped[int] = mapped_column(primary_key=True)
    plan_id: Mapped[int] = mapped_column(ForeignKey("plans.id", ondelete="CASCADE"))
    number: Mapped[int] = mapped_column(Integer)
    name: Mapped[str] = mapped_column(String(40))
    kind: Mapped[StepKind] = mapped_column(choice(StepKind))
    state: Mapped[StepState] = mapped_column(choice(StepState), default=StepState.WAITING)
    snapshot_id: Mapped[int | None] = mapped_column(ForeignKey("snapshots.id", ondelete="RESTRICT"), unique=True)
    # Not unique: a step reuses an earlier job that had the same inputs.
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id", ondelete="RESTRICT"), index=True)
    lease_until: Mapped[datetime | None] = mapped_column(UTCDateTime)  # lease of the worker that creates the next round
    snapshot: Mapped[Snapshot | None] = relationship()
    job: Mapped[Job | None] = relationship()
