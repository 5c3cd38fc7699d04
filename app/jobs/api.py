"""Jobs over REST."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from app import queue
from app.checkpoints import rules as checkpoints
from app.checkpoints import sampling
from app.database import reading, transaction
from app.jobs import queries, rules
from app.jobs.schemas import EventOut, EventPage, JobIn, JobOut, JobPage
from app.jobs.tables import Job
from app.kit.text import Text
from app.web.auth import api_account

router = APIRouter(tags=["jobs"])
Limit = Annotated[int, Query(ge=1, le=500)]


def out(job: Job) -> JobOut:
    """Return a job as its REST representation; the job's snapshot must be loaded."""
    return JobOut.model_validate(
        {
            **job.__dict__,
            "id": job.public_id,
            "snapshot": job.snapshot.public_id if job.snapshot else None,
            "cancel_requested": job.cancel_requested_at is not None,
        }
    )


@router.get("/api/v1/jobs")
def list_jobs(request: Request, cursor: Text | None = None, limit: Limit = 100) -> JobPage:
    """List jobs, newest first, and the workers that could run them."""
    api_account(request, "read")
    workers = queue.workers(queue.TRAINING)
    with reading() as session:
        found, following = queries.listing(session, cursor, limit)
        items = [out(job) for job in found]
    return JobPage(items=items, next_cursor=following, workers=workers)


@router.post("/api/v1/jobs", status_code=201)
def create_job(request: Request, given: JobIn) -> JobOut:
    """Queue a job."""
    by = api_account(request, "jobs")
    with transaction() as session:
        job = checkpoints.create_job(session, given.verb, given.config, name=given.name, by=by)
        session.refresh(job)
        return out(job)


@router.get("/api/v1/jobs/{id}")
def read_job(request: Request, id: str) -> JobOut:
    """Get one job."""
    api_account(request, "read")
    with reading() as session:
        return out(queries.find(session, id))


@router.get("/api/v1/jobs/{id}/events")
def read_events(
    request: Request, id: str, cursor: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0, limit: Limit = 500
) -> EventPage:
    """List what the job's run has reported since the event with number `cursor`."""
    api_account(request, "read")
    with reading() as session:
        found = queries.events(session, queries.find(session, id), cursor, limit)
    items = [EventOut(number=event.number, kind=event.kind, at=event.at, body=event.body) for event in found]
    return EventPage(items=items, next_cursor=str(items[-1].number) if len(items) == limit else None)


@router.post("/api/v1/jobs/{id}/cancel")
def cancel_job(request: Request, id: str) -> JobOut:
    """Cancel a job. A running job stops within a minute and can be resumed."""
    by = api_account(request, "jobs")
    with transaction() as session:
        job = queries.find(session, id)
        rules.cancel(session, job, by)
        return out(job)


@router.post("/api/v1/jobs/{id}/resume")
def resume_job(request: Request, id: str) -> JobOut:
    """Resume a failed or canceled job from its last saved state."""
    by = api_account(request, "jobs")
    with transaction() as session:
        job = queries.find(session, id)
        rules.resume(session, job, by)
        return out(job)


@router.post("/api/v1/jobs/{id}/completions", status_code=202, summary="Add Completions")
def take_in(request: Request, id: str) -> JobOut:
    """Add the completions that a sampling job wrote to its checkpoint's policy, in the background."""
    by = api_account(request, "jobs")
    with transaction() as session:
        job = queries.find(session, id)
        sampling.request(session, job, by)
        return out(job)
