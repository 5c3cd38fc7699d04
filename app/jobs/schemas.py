"""REST schemas of jobs."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from app.jobs.tables import JobState, JobVerb
from app.kit.text import JsonObject, Text


class JobIn(BaseModel):
    """A request to create a job. Models are given as "checkpoint:ID" and data as "snapshot:ID", or as paths."""

    model_config = ConfigDict(extra="forbid")

    verb: JobVerb
    name: Text = Field("", max_length=120)
    config: JsonObject = Field(
        description="A recipe and the keys that override it, e.g. "
        '{"recipe": "miniature_sft", "data": "snapshot:ID", "init_from": "checkpoint:ID"}'
    )


class JobOut(BaseModel):
    """A job."""

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
    """One event of a job's run; training.contract.events defines `body`."""

    number: int
    kind: str
    at: datetime
    body: dict


class JobPage(BaseModel):
    """One page of jobs, newest first; `workers` lists those that could run them (null: the queue does not answer)."""

    items: list[JobOut]
    next_cursor: str | None
    workers: list[str] | None


class EventPage(BaseModel):
    """One page of a job's events in order. Pass the number of the last event as `cursor` to get newer ones."""

    items: list[EventOut]
    next_cursor: str | None
