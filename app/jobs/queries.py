"""Queries for jobs and the events of their runs."""

from dataclasses import dataclass

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session, joinedload

from app.database import utc_now
from app.errors import NotFound
from app.jobs.tables import Job, JobEvent, JobState
from app.kit import cursors
from app.kit.i18n import gettext as _

POINTS = 240  # per curve at most; more would not be visible


def find(session: Session, public_id: str) -> Job:
    """Return the job with this public id; raise NotFound."""
    found = session.scalar(select(Job).where(Job.public_id == public_id).options(joinedload(Job.snapshot)))
    if found is None:
        raise NotFound(_("There is no job %(id)s.") % {"id": public_id})
    return found


def listing(session: Session, cursor: str | None = None, limit: int = 50) -> tuple[list[Job], str | None]:
    """Return one page of jobs, newest first, and the cursor of the next page."""
    return cursors.page(session, select(Job).options(joinedload(Job.snapshot)), Job, cursor, limit)


def waits(session: Session) -> bool:
    """Return whether a job is waiting for a worker."""
    return session.scalar(select(Job.id).where(Job.state == JobState.QUEUED).limit(1)) is not None


def left(session: Session) -> list[Job]:
    """Return the running jobs whose lease has expired because their supervisor died."""
    return list(session.scalars(select(Job).where(Job.state == JobState.RUNNING, Job.lease_until < utc_now())))


@dataclass(frozen=True)
class JobStatus:
    """The parts of a job that change while it runs; equal values render the same page."""

    id: int
    state: JobState
    owner: str
    attempt: int
    cancel_requested: bool
    step: int
    total_steps: int | None
    last_event: int


def job_status(session: Session, id: int) -> JobStatus:
    """Read the current state of job `id` in one small query."""
    last = select(func.coalesce(func.max(JobEvent.number), 0)).where(JobEvent.job_id == Job.id).scalar_subquery()
    row = session.execute(
        select(
            Job.id, Job.state, Job.owner, Job.attempt, Job.cancel_requested_at, Job.step, Job.total_steps, last
        ).where(Job.id == id)
    ).one()
    return JobStatus(row[0], row[1], row[2], row[3], row[4] is not None, row[5], row[6], row[7])


def events(session: Session, job: Job, after: int = 0, limit: int = 500) -> list[JobEvent]:
    """Return a job's events in order, starting after number `after`."""
    query = select(JobEvent).where(JobEvent.job_id == job.id, JobEvent.number > after)
    return list(session.scalars(query.order_by(JobEvent.number).limit(limit)))


def latest(session: Session, job: Job, *kinds: str, limit: int = 1) -> list[JobEvent]:
    """Return the newest events of these kinds, newest first."""
    query = select(JobEvent).where(JobEvent.job_id == job.id, JobEvent.kind.in_(kinds))
    return list(session.scalars(query.order_by(JobEvent.number.desc()).limit(limit)))


def outcome(session: Session, job: Job, after: int = 0) -> JobEvent | None:
    """Return the last run's "finished" or "failed" event after number `after`; None if it reported neither."""
    last = latest(session, job, "started", "finished", "failed")
    return last[0] if last and last[0].kind != "started" and last[0].number > after else None


def curves(session: Session, job: Job) -> dict[str, list[tuple[int, float]]]:
    """Return (step, value) points per metric, thinned to POINTS; steps repeated by a resumed run count once."""
    measured = (JobEvent.job_id == job.id, JobEvent.kind == "metrics")
    count, last = session.execute(select(func.count(), func.max(JobEvent.number)).where(*measured)).one()
    # A long run has far more measurements than can be drawn: read a sample of them, and always the last.
    stride = max(1, count // (4 * POINTS))
    some = or_(JobEvent.number % stride == 0, JobEvent.number == last)
    values: dict[str, dict[int, float]] = {}
    for body in session.scalars(select(JobEvent.body).where(*measured, some).order_by(JobEvent.number)):
        for name, value in body["values"].items():
            values.setdefault(name, {})[body["step"]] = value
    return {name: _thinned(sorted(points.items())) for name, points in sorted(values.items())}


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    stride = -(-len(points) // POINTS)
    kept = points[::stride] if stride > 1 else points
    return kept if not points or kept[-1] == points[-1] else [*kept, points[-1]]
