"""What a snapshot freezes, as stored in Snapshot.filter and sent over REST."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.kit.text import Text
from app.snapshots.tables import SnapshotState
from training.contract.records import Purpose, Split


class Also(StrEnum):
    """Whose answers are left out unless requested; values of training.contract.records.AnsweredBy."""

    SIMULATED = "simulated"
    DEMO = "demo"


ALSO = "Whose answers to include besides people's: simulated labelers' or demo accounts'; empty: neither."


class SnapshotFilter(BaseModel):
    """The closed rounds or the prompts that a snapshot freezes. The same filter over the same data freezes the same."""

    model_config = ConfigDict(extra="forbid")

    rounds: list[Annotated[int, Field(ge=1, le=2**31 - 1)]] | None = Field(
        None,
        max_length=10_000,
        description="Numbers of closed rounds (sft, rm); absent: every training round closed so far.",
    )
    train_on_evaluation: bool = Field(
        False, description="Also train on the evaluation rounds that are named (sft, rm); otherwise they are refused."
    )
    also: list[Also] = Field([], description=f"{ALSO} (sft, rm)")
    collections: list[Text] = Field(
        [],
        max_length=1000,
        description="sft: few-shot pairs of these collections. rm: imported comparisons. ppo: prompts; empty: all.",
    )
    splits: list[Split] = Field([], description="Only records of these splits; empty: all.")
    prompts: list[Text] | None = Field(
        None, max_length=30_000, description="ppo: public ids of the prompts; absent: by collection."
    )


class SnapshotIn(BaseModel):
    """A request to create a snapshot."""

    model_config = ConfigDict(extra="forbid")

    purpose: Purpose
    name: Text = Field("", max_length=120)
    filter: SnapshotFilter = Field(default_factory=SnapshotFilter)


class SnapshotOut(BaseModel):
    """A snapshot; `manifest` is set once it is ready."""

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
    """One page of snapshots, newest first."""

    items: list[SnapshotOut]
    next_cursor: str | None
