"""Queries for checkpoints and their lineage."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from app.checkpoints.tables import Checkpoint, CheckpointRole
from app.database import utc_now
from app.errors import NotFound
from app.jobs.tables import Job
from app.kit import cursors
from app.kit.i18n import gettext as _
from app.snapshots.tables import Snapshot

TRIAL_SECONDS = 60  # after which the message that requests a model check counts as lost

_WITH = (
    joinedload(Checkpoint.job).joinedload(Job.snapshot),
    joinedload(Checkpoint.policy),
    joinedload(Checkpoint.reward_model),
)


def find(session: Session, public_id: str) -> Checkpoint:
    """Return the checkpoint with this public id; raise NotFound."""
    found = session.scalar(select(Checkpoint).where(Checkpoint.public_id == public_id).options(*_WITH))
    if found is None:
        raise NotFound(_("There is no checkpoint %(id)s.") % {"id": public_id})
    return found


def listing(
    session: Session, cursor: str | None = None, limit: int = 50, role: CheckpointRole | None = None
) -> tuple[list[Checkpoint], str | None]:
    """Return one page of checkpoints, newest first, and the cursor of the next page."""
    query = select(Checkpoint).options(*_WITH)
    if role is not None:
        query = query.where(Checkpoint.role == role)
    return cursors.page(session, query, Checkpoint, cursor, limit)


def of_job(session: Session, job: Job) -> list[Checkpoint]:
    """Return a job's checkpoints, ordered by step."""
    query = select(Checkpoint).where(Checkpoint.job_id == job.id).options(*_WITH)
    return list(session.scalars(query.order_by(Checkpoint.step, Checkpoint.id)))


def chosen_of(session: Session, job: Job) -> Checkpoint | None:
    """Return the checkpoint that a job's run recommends, else its last one."""
    query = select(Checkpoint).where(Checkpoint.job_id == job.id).options(*_WITH)
    return session.scalar(
        query.order_by(Checkpoint.chosen.desc(), Checkpoint.step.desc(), Checkpoint.id.desc()).limit(1)
    )


def newest(session: Session, role: CheckpointRole) -> Checkpoint | None:
    """Return the newest checkpoint with this role that was recommended by its run or added by path, else the newest."""
    query = select(Checkpoint).where(Checkpoint.role == role).options(*_WITH)
    return session.scalar(query.order_by(Checkpoint.chosen.desc(), Checkpoint.id.desc()).limit(1))


def untried(session: Session) -> list[Checkpoint]:
    """Return models added by path more than TRIAL_SECONDS ago and not checked yet."""
    query = select(Checkpoint).where(
        Checkpoint.job_id.is_(None), Checkpoint.trial.is_(None), Checkpoint.created_at < utc_now(-TRIAL_SECONDS)
    )
    return list(session.scalars(query.order_by(Checkpoint.id).limit(10)))


@dataclass(frozen=True)
class Ancestor:
    """One link of a lineage."""

    checkpoint: Checkpoint
    job: Job | None
    snapshot: Snapshot | None


def descent(session: Session, checkpoint: Checkpoint) -> list[Ancestor]:
    """Return the lineage: the checkpoint, its parent, and so on back to the first model."""
    line: list[Ancestor] = []
    current: Checkpoint | None = checkpoint
    while current is not None:
        job = current.job
        line.append(Ancestor(current, job, job.snapshot if job else None))
        parent_id = current.parent_id
        current = (
            session.scalar(select(Checkpoint).where(Checkpoint.id == parent_id).options(*_WITH)) if parent_id else None
        )
    return line


def children(session: Session, checkpoint: Checkpoint) -> list[Checkpoint]:
    """Return the checkpoints trained from this checkpoint or against it as the reward model."""
    query = select(Checkpoint).where(
        (Checkpoint.parent_id == checkpoint.id) | (Checkpoint.reward_model_id == checkpoint.id)
    )
    return list(session.scalars(query.options(*_WITH).order_by(Checkpoint.id)))
