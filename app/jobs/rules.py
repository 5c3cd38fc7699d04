"""State changes of jobs. The row with its lease is the source of truth; the lease's holder writes as its owner."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement, func, insert, select, update
from sqlalchemy.orm import Session

from app import queue
from app.accounts.rules import record
from app.accounts.tables import Account
from app.config import settings
from app.database import utc_now
from app.errors import BadInput, Conflict
from app.jobs.tables import Job, JobEvent, JobState, JobVerb
from app.kit import i18n, leases
from app.kit.i18n import N_
from app.kit.i18n import gettext as _
from app.kit.places import check_address, check_folder
from app.kit.words import word
from app.snapshots import queries as snapshot_queries
from app.snapshots.rules import folder as snapshot_folder
from app.snapshots.tables import Snapshot, SnapshotState
from training.contract import events, recipes
from training.contract.records import COMPARISONS, DEMONSTRATIONS, PROMPTS

SNAPSHOT_PREFIX = "snapshot:"
_NEEDS = {
    JobVerb.TRAIN_SFT: DEMONSTRATIONS,
    JobVerb.TRAIN_REWARD_MODEL: COMPARISONS,
    JobVerb.CROSS_VALIDATE: COMPARISONS,
    JobVerb.TRAIN_DPO: COMPARISONS,
    JobVerb.TRAIN_PPO: PROMPTS,
    JobVerb.SAMPLE_COMPLETIONS: PROMPTS,
    JobVerb.EVALUATE: PROMPTS,
}
RESEND_SECONDS = 30
OVER = (JobState.FINISHED, JobState.FAILED, JobState.CANCELLED)


def folder(job: Job) -> Path:
    """Return a job's run folder, which all its attempts share."""
    return settings().data_dir.absolute() / "runs" / job.public_id


def is_finished(job: Job) -> bool:
    """Return whether the run's last event is "finished"; the job's row may not have recorded it yet."""
    return isinstance(events.last(folder(job) / "events.jsonl"), events.Finished)


def create(
    session: Session,
    verb: JobVerb | str,
    config: dict,
    *,
    snapshot: Snapshot | None = None,
    name: str = "",
    by: Account | None = None,
) -> Job:
    """Queue a job with its complete config. Its checkpoints are checked by checkpoints.rules.create_job."""
    try:
        verb = JobVerb(verb)
    except ValueError:
        raise BadInput(f"verb: {verb!r} is not one of {', '.join(JobVerb)}", field="verb") from None
    if snapshot is not None:
        config = {**config, "data": f"{SNAPSHOT_PREFIX}{snapshot.public_id}"}
    try:
        full = recipes.make_config(verb, config).model_dump(mode="json")
    except recipes.MissingKey as error:
        raise _missing(verb, error) from error
    except ValueError as error:
        raise BadInput(str(error), field="config") from error
    if by is not None:  # the command line may read whatever its user may
        _check_places(full)
    job = Job(
        verb=verb,
        name=name.strip() or full.get("recipe") or str(verb),
        config=full,
        snapshot_id=_snapshot_of(session, verb, full),
        lease_until=utc_now(RESEND_SECONDS),
        created_by_id=by.id if by else None,
    )
    session.add(job)
    session.flush()
    record(session, by, "job.create", job.public_id, verb=verb)
    queue.send(session, "jobs.run", job.id, queue.TRAINING)
    return job


_CHOOSE = {  # keys that are chosen from a list in the form
    "init_from": N_(
        "%(verb)s needs a model to start from (init_from). Choose one; if none is listed, add one of your own or "
        "train one first."
    ),
    "reward_model": N_(
        "%(verb)s needs a reward model (reward_model). Choose one; if none is listed, train one on rankings first: "
        "train_reward_model."
    ),
    "data": N_("%(verb)s needs a snapshot (data). Choose one; if none is listed, create one first."),
}


def _missing(verb: JobVerb, error: recipes.MissingKey) -> BadInput:
    words = _CHOOSE.get(error.key)
    if words is None:
        said = _("%(verb)s needs the key %(key)s: %(what)s. Set it as an override: %(key)s = …")
        return BadInput(said % {"verb": verb, "key": error.key, "what": error.what}, field="set")
    return BadInput(i18n.gettext(words) % {"verb": verb}, field=error.key)


PATHS = {  # config keys that hold a path, or a mapping of names to paths
    "text", "cache", "data", "init_from", "continue_from", "reward_model", "pretraining_text", "policies",
}  # fmt: skip


def _check_places(config: dict) -> None:
    """Refuse paths and addresses that signed-in users may not name; references lead to files made by Plumbline."""
    for key in PATHS & config.keys():
        for value in config[key].values() if isinstance(config[key], dict) else [config[key]]:
            if value is None:
                continue
            reference, _slash, file = str(value).partition("/")
            made_here = reference.startswith(("checkpoint:", SNAPSHOT_PREFIX))
            if not made_here or ".." in file.split("/"):
                check_folder(value, "config")
    if config.get("endpoint"):
        check_address(config["endpoint"], "config")


def _snapshot_of(session: Session, verb: JobVerb, config: dict) -> int | None:
    data = config.get("data") or ""
    if not data.startswith(SNAPSHOT_PREFIX):
        return None
    snapshot = snapshot_queries.find(session, data.removeprefix(SNAPSHOT_PREFIX))
    if snapshot.state is not SnapshotState.READY:
        raise BadInput(
            _("data: snapshot %(id)s is %(state)s; wait until it is ready.")
            % {"id": snapshot.public_id, "state": word(snapshot.state)},
            field="config",
        )
    held = [file["name"] for file in (snapshot.manifest or {"files": []})["files"]]
    if _NEEDS.get(verb) and _NEEDS[verb] not in held:
        raise BadInput(
            _("data: %(verb)s reads %(needed)s, but snapshot %(id)s holds %(held)s; choose one with another purpose.")
            % {"verb": verb, "needed": _NEEDS[verb], "id": snapshot.public_id, "held": ", ".join(held)},
            field="config",
        )
    return snapshot.id


def data_path(session: Session, reference: str) -> str:
    """Return the folder that "snapshot:ID" refers to."""
    return str(snapshot_folder(snapshot_queries.find(session, reference.removeprefix(SNAPSHOT_PREFIX))))


def claim(session: Session, id: int, owner: str) -> Job | None:
    """Lease a queued job. Return None if it is already leased or has ended, so duplicate messages are harmless."""
    claimed = session.scalar(
        update(Job)
        .where(Job.id == id, Job.state == JobState.QUEUED)
        .values(
            state=JobState.RUNNING,
            owner=owner,
            attempt=Job.attempt + 1,
            lease_until=utc_now(settings().job_lease_seconds),
            started_at=func.coalesce(Job.started_at, utc_now()),
        )
        .returning(Job.id)
    )
    return session.get_one(Job, id) if claimed else None


def take_over(session: Session, id: int, owner: str) -> Job | None:
    """Lease a running job whose supervisor died, to record its end. Return None if its lease is still valid."""
    taken = session.scalar(
        update(Job)
        .where(Job.id == id, Job.state == JobState.RUNNING, Job.lease_until < utc_now())
        .values(owner=owner, lease_until=utc_now(settings().job_lease_seconds))
        .returning(Job.id)
    )
    return session.get_one(Job, id) if taken else None


def _mine(session: Session, job: Job, *conditions: ColumnElement[bool], **values: object) -> None:
    """Update the row if this supervisor still holds its lease; raise LeaseLost."""
    held = (Job.id == job.id, Job.owner == job.owner, Job.state == JobState.RUNNING, *conditions)
    leases.change(session, Job, *held, **values)


def renew(session: Session, job: Job) -> None:
    """Renew the lease; raise LeaseLost."""
    _mine(session, job, lease_until=utc_now(settings().job_lease_seconds))


def ingest(session: Session, job: Job, offset: int, lines: bytes) -> list[events.AnyEvent]:
    """Store whole lines of events.jsonl that begin at byte `offset`, each exactly once; raise LeaseLost."""
    read = [_parse(line) for line in lines.splitlines()]
    values: dict = {"events_read": offset + len(lines)}
    for event in read:
        if isinstance(event, events.Started):
            values |= {"step": event.resumed_from_step, "total_steps": event.total_steps}
        elif isinstance(event, events.Progress):
            values |= {"step": event.step} | ({"total_steps": event.total_steps} if event.total_steps else {})
    _mine(session, job, Job.events_read == offset, **values)
    number = session.scalar(select(func.max(JobEvent.number)).where(JobEvent.job_id == job.id)) or 0
    rows = [
        {
            "job_id": job.id,
            "number": number + place,
            "kind": event.kind,
            "at": event.at,
            "body": _storable(event.model_dump(mode="json", exclude={"kind", "at"})),
        }
        for place, event in enumerate(read, 1)
    ]
    if rows:
        session.execute(insert(JobEvent), rows)
    return read


def rewind(session: Session, job: Job, offset: int) -> None:
    """Set the read position in events.jsonl back to byte `offset`; raise LeaseLost."""
    _mine(session, job, events_read=offset)


def _storable(value: Any) -> Any:
    """Replace NUL characters: an early-stage model may well emit them, and PostgreSQL refuses them."""
    if isinstance(value, str):
        return value.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    return [_storable(item) for item in value] if isinstance(value, list) else value


def _parse(line: bytes) -> events.AnyEvent:
    try:
        return events.parse(line)
    except ValidationError:
        return events.Warned(message=f"a line of events.jsonl could not be read: {line[:200].decode(errors='replace')}")


def finish(session: Session, job: Job, result: dict) -> None:
    """Record that the run finished."""
    _mine(session, job, state=JobState.FINISHED, result=result, error="", **_ended())


def fail(session: Session, job: Job, error: str) -> None:
    """Record that the run failed; `error` gives the reason and the fix."""
    _mine(session, job, state=JobState.FAILED, error=error, **_ended())


def confirm_cancel(session: Session, job: Job) -> None:
    """Record that the child has stopped after a cancel request."""
    _mine(session, job, state=JobState.CANCELLED, **_ended())


def _ended() -> dict:
    return {"owner": "", "lease_until": None, "ended_at": utc_now()}


def put_back(session: Session, job: Job, *, counts: bool) -> None:
    """Requeue the job to resume from its last saved state; `counts` says whether this attempt counts."""
    attempt = job.attempt if counts else job.attempt - 1
    _mine(session, job, state=JobState.QUEUED, owner="", attempt=attempt, lease_until=utc_now(RESEND_SECONDS))
    queue.send(session, "jobs.run", job.id, queue.TRAINING)


def cancel(session: Session, job: Job, by: Account | None) -> None:
    """Cancel a queued job at once, or ask a running job's supervisor to stop. Raise Conflict if it has ended."""
    now = utc_now()
    changed = session.scalar(
        update(Job)
        .where(Job.id == job.id, Job.state == JobState.QUEUED)
        .values(state=JobState.CANCELLED, cancel_requested_at=now, **_ended())
        .returning(Job.id)
    ) or session.scalar(
        update(Job)
        .where(Job.id == job.id, Job.state == JobState.RUNNING)
        .values(cancel_requested_at=func.coalesce(Job.cancel_requested_at, now))
        .returning(Job.id)
    )
    session.refresh(job)
    if changed is None:
        raise Conflict(
            _("The job has already ended (%(state)s); there is nothing to cancel.") % {"state": word(job.state)}
        )
    record(session, by, "job.cancel", job.public_id)


def resume(session: Session, job: Job, by: Account | None) -> None:
    """Queue a failed or canceled job again, to resume from its last saved state. Raise Conflict for other states."""
    changed = session.scalar(
        update(Job)
        .where(Job.id == job.id, Job.state.in_([JobState.FAILED, JobState.CANCELLED]))
        .values(
            state=JobState.QUEUED,
            attempt=0,
            error="",
            cancel_requested_at=None,
            ended_at=None,
            lease_until=utc_now(RESEND_SECONDS),
        )
        .returning(Job.id)
    )
    session.refresh(job)
    if changed is None:
        raise Conflict(
            _("Only a failed or canceled job can be resumed; this one is %(state)s.") % {"state": word(job.state)}
        )
    record(session, by, "job.resume", job.public_id)
    queue.send(session, "jobs.run", job.id, queue.TRAINING)


def reconcile(session: Session, *, queue_is_empty: bool) -> Iterable[Job]:
    """Requeue jobs of dead supervisors and resend lost messages. Return the jobs that ended."""
    stale = select(Job).where(Job.state.in_([JobState.QUEUED, JobState.RUNNING]), Job.lease_until < utc_now())
    ended = []
    for job in session.scalars(stale.with_for_update(skip_locked=True)):
        if job.state is JobState.RUNNING and job.cancel_requested_at is not None:
            job.state = JobState.CANCELLED
        elif job.state is JobState.RUNNING and job.attempt >= settings().job_attempts:
            job.state = JobState.FAILED
            job.error = _(
                "The worker died %(count)s times; see the log below and the worker's log. Resume the job when this is "
                "fixed."
            ) % {"count": job.attempt}
        elif job.state is JobState.RUNNING or queue_is_empty:
            job.state, job.owner, job.lease_until = JobState.QUEUED, "", utc_now(RESEND_SECONDS)
            queue.send(session, "jobs.run", job.id, queue.TRAINING)
            continue
        else:
            continue  # its message is still in the queue, behind others
        job.owner, job.lease_until, job.ended_at = "", None, utc_now()
        ended.append(job)
    session.flush()
    return ended
