"""Checkpoints and their lineage."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.database import Base, JSONColumn, UTCDateTime, choice, public_id, utc_now
from app.jobs.tables import Job
from app.policies.tables import Policy


class CheckpointRole(StrEnum):
    """What a model is for; the values are those of training.contract.events.CheckpointSaved.role."""

    BASE = "base"
    SFT = "sft"
    REWARD_MODEL = "reward_model"
    POLICY = "policy"
    POLICY_EMA = "policy_ema"


class Checkpoint(Base):
    """A folder that plain transformers can load, with the job that made it; it becomes at most one policy."""

    __tablename__ = "checkpoints"
    __table_args__ = (UniqueConstraint("job_id", "path"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=public_id)
    name: Mapped[str] = mapped_column(String(120), default="")
    role: Mapped[CheckpointRole] = mapped_column(choice(CheckpointRole))
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id", ondelete="RESTRICT"))  # null: added by path
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("checkpoints.id", ondelete="RESTRICT"))
    reward_model_id: Mapped[int | None] = mapped_column(ForeignKey("checkpoints.id", ondelete="RESTRICT"))
    round_number: Mapped[int | None] = mapped_column(Integer)  # the last round whose answers it was trained on
    path: Mapped[str] = mapped_column(Text)  # relative to the data folder, or absolute if added by path
    step: Mapped[int] = mapped_column(Integer, default=0)
    metrics: Mapped[dict] = mapped_column(JSONColumn, default=dict)
    trial: Mapped[dict | None] = mapped_column(JSONColumn)  # result of the model check (trying.tried); null: none yet
    chosen: Mapped[bool] = mapped_column(default=False)  # recommended by its run
    policy_id: Mapped[int | None] = mapped_column(ForeignKey("policies.id", ondelete="RESTRICT"), unique=True)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())
    job: Mapped[Job | None] = relationship()
    parent: Mapped["Checkpoint | None"] = relationship(foreign_keys=[parent_id], remote_side=[id])
    reward_model: Mapped["Checkpoint | None"] = relationship(foreign_keys=[reward_model_id], remote_side=[id])
    policy: Mapped[Policy | None] = relationship()
