"""Jobs as REST speaks of them."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from app.jobs.tables import JobState, JobVerb
from app.kit.text import JsonObject, Text


class JobIn(BaseModel):
    """What makes a job: keys over a recipe's; networks are "checkpoint:ID", data is "snapshot:ID", or real paths."""

    model_config = ConfigDict(extra="forbid")

    verb: JobVerb
    name: Text = Field("", max_length=120)
    config: JsonObject = Field(
        description='e.g. {"recipe": "miniature_sft", "data": "snapshot:ID", "init_from": "checkpoint:ID"}'
    )


class JobOut(BaseModel):
    """A job as REST tells it."""

    id: str
    name: str
    verb: JobVerb
    state: JobState
    config: dict
    snapshot: str | None
    attempt: int
    step: int
    total_steps: int | None
    result: dict | None
    error: str
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class EventOut(BaseModel):
    """One event of a job's run; `body` is as training.contract.events writes it."""

    number: int
    kind: str
    at: datetime
    body: dict


class JobPage(BaseModel):
    """One page of the jobs, the newest first; `workers` says who could run them (null: the queue does not answer)."""

    items: list[JobOut]
    next_cursor: str | None
    workers: list[str] | None


class EventPage(BaseModel):
    """One page of a job's events in order; `next_cursor` is the number to ask after, also once more comes."""

    items: list[EventOut]
    next_cursor: str | None
