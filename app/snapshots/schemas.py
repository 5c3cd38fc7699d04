"""What a snapshot freezes, as it is stored in Snapshot.filter and spoken over REST."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.kit.text import Text
from app.snapshots.tables import SnapshotState
from training.contract.records import Purpose, Split


class Also(StrEnum):
    """Whose answers are left out unless they are asked for; values of training.contract.records.AnsweredBy."""

    SIMULATED = "simulated"
    DEMO = "demo"


ALSO = "Whose answers to hold beside people's: simulated labelers', the demo's accounts'; empty: neither."


class SnapshotFilter(BaseModel):
    """Which closed work, or which prompts, a snapshot freezes; the same filter over the same data freezes the same."""

    model_config = ConfigDict(extra="forbid")

    rounds: list[Annotated[int, Field(ge=1, le=2**31 - 1)]] | None = Field(
        None,
        max_length=10_000,
        description="Numbers of closed rounds (sft, rm); absent: every closed training round there is by now.",
    )
    train_on_evaluation: bool = Field(
        False, description="The evaluation rounds that are named train too (sft, rm); without it they are refused."
    )
    also: list[Also] = Field([], description=f"{ALSO} (sft, rm)")
    collections: list[Text] = Field(
        [],
        max_length=1000,
        description="sft: few-shot pairs of these. rm: imported comparisons. ppo: prompts; empty: all.",
    )
    splits: list[Split] = Field([], description="Only records of these splits; empty: all.")
    prompts: list[Text] | None = Field(
        None, max_length=30_000, description="ppo: public ids of the prompts; absent: by collection."
    )


class SnapshotIn(BaseModel):
    """What makes a snapshot."""

    model_config = ConfigDict(extra="forbid")

    purpose: Purpose
    name: Text = Field("", max_length=120)
    filter: SnapshotFilter = Field(default_factory=SnapshotFilter)


class SnapshotOut(BaseModel):
    """A snapshot as REST tells it; `manifest` is there once it is ready."""

    id: str
    name: str
    purpose: Purpose
    state: SnapshotState
    filter: dict
    content_sha256: str | None
    manifest: dict | None
    error: str
    created_at: datetime


class SnapshotPage(BaseModel):
    """One page of the snapshots, the newest first."""

    items: list[SnapshotOut]
    next_cursor: str | None
