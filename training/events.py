"""The contract with jobs: what a run reports, one JSON line each in `events.jsonl` of its run folder.

The file is append-only and outlives both the run and whoever follows it: a supervisor that comes back goes on from the
line it last read. A resumed run appends to the same file, starting with another `Started`.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from training.records import Use


class Event(BaseModel):
    """Something a run reports, with the time it happened."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))


class Started(Event):
    """The run began, or went on from `resumed_from_step`."""

    kind: Literal["started"] = "started"
    verb: str
    total_steps: int | None = None
    resumed_from_step: int = 0


class Progress(Event):
    """`step` of `total_steps` is done; `note` is one short sentence for a person."""

    kind: Literal["progress"] = "progress"
    step: int
    total_steps: int | None = None
    note: str = ""


class Metrics(Event):
    """Numbers measured at a step; names are `group/name`, e.g. `ppo/kl_nats`."""

    kind: Literal["metrics"] = "metrics"
    step: int
    values: dict[str, float]


class Sample(Event):
    """One prompt and what the network being trained wrote for it."""

    kind: Literal["sample"] = "sample"
    step: int
    prompt: str
    completion: str
    score: float | None = None
    source: str = ""  # which network wrote it, where a run compares several


class CheckpointSaved(Event):
    """A complete checkpoint folder that plain transformers loads; `path` is relative to the run folder."""

    kind: Literal["checkpoint"] = "checkpoint"
    step: int
    path: str
    role: Literal["base", "sft", "reward_model", "policy", "policy_ema"]
    metrics: dict[str, float] = Field(default_factory=dict)
    chosen: bool = False  # the one that the run recommends


class Warned(Event):
    """Something a person should know (rows truncated, pairs dropped, a known failure shape)."""

    kind: Literal["warning"] = "warning"
    message: str


class DataRead(Event):
    """A data file of the snapshot was read: how many of its lines are for which use, as its manifest counts."""

    kind: Literal["data"] = "data"
    file: str
    uses: dict[Use, int]


class Finished(Event):
    """The run ended well; `result` is its summary."""

    kind: Literal["finished"] = "finished"
    result: dict[str, float | int | str | bool | dict | list | None] = Field(default_factory=dict)


class Failed(Event):
    """The run cannot go on; `message` says why and how to mend it."""

    kind: Literal["failed"] = "failed"
    message: str


AnyEvent = Annotated[
    Started | Progress | Metrics | Sample | CheckpointSaved | Warned | DataRead | Finished | Failed,
    Field(discriminator="kind"),
]
_ADAPTER: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)


def parse(line: str | bytes) -> AnyEvent:
    """Read one line of events.jsonl; raises pydantic.ValidationError."""
    return _ADAPTER.validate_json(line)


def last(path: Path) -> AnyEvent | None:
    """The last whole line of an events.jsonl, None if there is none; raises pydantic.ValidationError."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines[-2:] if line.endswith(b"\n")]
    return parse(whole[-1]) if whole else None
