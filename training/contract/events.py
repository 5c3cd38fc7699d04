"""The contract with jobs: a run's events, one JSON line each in the `events.jsonl` of its run folder.

The file is append-only and outlives both the run and its readers: a restarted supervisor continues from the line it
last read. A resumed run appends to the same file, starting with another `Started`.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from training.contract.records import Use


class Event(BaseModel):
    """Something a run reports, with the time it happened."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))


class Started(Event):
    """The run began, or resumed from `resumed_from_step`."""

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
    source: str = ""  # the network that wrote it, where a run compares several


class CheckpointSaved(Event):
    """A complete checkpoint folder that plain transformers loads; `path` is relative to the run folder."""

    kind: Literal["checkpoint"] = "checkpoint"
    step: int
    path: str
    role: Literal["base", "sft", "reward_model", "policy", "policy_ema"]
    metrics: dict[str, float] = Field(default_factory=dict)
    chosen: bool = False  # the checkpoint that the run recommends


class Warned(Event):
    """Something a person should know (rows truncated, pairs dropped, a known failure shape)."""

    kind: Literal["warning"] = "warning"
    message: str


class DataRead(Event):
    """A data file of the snapshot was read: how many of its lines are for which use, as its manifest counts."""

    kind: Literal["data"] = "data"
    file: str
    uses: dict[Use, int]


class Verdict(StrEnum):
    """What trying one property of a network found."""

    RIGHT = "right"  # as the fastest form requires
    SLOWER = "slower"  # right in a slower form, which is used
    NOTE = "note"  # worth knowing, but changes no number by itself
    REFUSED = "refused"  # not possible with this network


class Finding(BaseModel):
    """One property of a network that was tried: a sentence for a person, and what was tried as a word."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    check: str
    verdict: Verdict
    said: str


class NetworkTried(Event):
    """A network was tried as it was loaded (docs/networks.md); `key` is the config's, `init_from` or another."""

    kind: Literal["network"] = "network"
    key: str
    path: str
    findings: list[Finding]


class Finished(Event):
    """The run ended well; `result` is its summary."""

    kind: Literal["finished"] = "finished"
    result: dict[str, float | int | str | bool | dict | list | None] = Field(default_factory=dict)


class Failed(Event):
    """The run cannot continue; `message` says why and how to fix it."""

    kind: Literal["failed"] = "failed"
    message: str


AnyEvent = Annotated[
    Started | Progress | Metrics | Sample | CheckpointSaved | Warned | DataRead | NetworkTried | Finished | Failed,
    Field(discriminator="kind"),
]
_ADAPTER: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)


def parse(line: str | bytes) -> AnyEvent:
    """Parse one line of events.jsonl; raises pydantic.ValidationError."""
    return _ADAPTER.validate_json(line)


def read(path: Path) -> Iterator[AnyEvent]:
    """Yield the event of every whole, readable line of an events.jsonl; lines torn by a crash are skipped."""
    return (event for line in _lines(path) if (event := _readable(line)) is not None)


def last(path: Path) -> AnyEvent | None:
    """Return the event of the last whole, readable line of an events.jsonl, or None."""
    return next((event for line in reversed(_lines(path)) if (event := _readable(line)) is not None), None)


def torn(path: Path) -> int:
    """Count the whole lines of an events.jsonl that cannot be read."""
    return sum(_readable(line) is None for line in _lines(path))


def _lines(path: Path) -> list[bytes]:
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    return lines[:-1]  # the text after the last newline is half a line


def _readable(line: bytes) -> AnyEvent | None:
    try:
        return parse(line)
    except ValidationError:
        return None
