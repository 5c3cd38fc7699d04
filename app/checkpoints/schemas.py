"""REST schemas of checkpoints."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from app.checkpoints.tables import CheckpointRole
from app.kit.text import Text
from training.contract.events import Verdict


class CheckpointIn(BaseModel):
    """A model to add by path: a folder that plain transformers can load, on the machine of the training worker."""

    model_config = ConfigDict(extra="forbid")

    path: Text
    name: Text = Field(min_length=1, max_length=120)
    role: CheckpointRole = CheckpointRole.BASE


class PolicyNameIn(BaseModel):
    """The name of the policy that a checkpoint becomes; absent: the name of the checkpoint."""

    model_config = ConfigDict(extra="forbid")

    name: Text = Field("", max_length=120)


class FindingOut(BaseModel):
    """One finding of a model check."""

    check: str
    verdict: Verdict
    said: str


class TrialOut(BaseModel):
    """The result of a model check; `refused` says why the model cannot be used."""

    refused: str | None
    findings: list[FindingOut]


class CheckpointOut(BaseModel):
    """A checkpoint, with the public ids of what it came from."""

    id: str
    name: str
    role: CheckpointRole
    step: int
    chosen: bool
    metrics: dict
    trial: TrialOut | None = Field(description="The result of the model check; null until the model has been checked.")
    path: str
    job: str | None
    snapshot: str | None
    snapshot_sha256: str | None
    parent: str | None
    reward_model: str | None
    round: int | None
    policy: str | None
    created_at: datetime


class CheckpointPage(BaseModel):
    """One page of checkpoints, newest first."""

    items: list[CheckpointOut]
    next_cursor: str | None


class DescentOut(BaseModel):
    """A checkpoint's lineage, itself first, each with the config of the job that made it."""

    line: list[CheckpointOut]
    configs: list[dict | None]
