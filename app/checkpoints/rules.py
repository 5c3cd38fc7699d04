"""What may happen to checkpoints: registered as their run reports them, named in configs, turned into policies."""

from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import queue
from app.accounts.rules import record
from app.accounts.tables import Account
from app.checkpoints import queries
from app.checkpoints.tables import Checkpoint, CheckpointRole
from app.config import settings
from app.errors import BadInput, Conflict, NotFound
from app.jobs import rules as jobs
from app.jobs.tables import Job, JobVerb
from app.kit.i18n import gettext as _
from app.kit.text import require_text
from app.policies import rules as policies
from app.policies.tables import Policy, PolicyKind
from app.snapshots.tables import Snapshot
from training.contract.events import CheckpointSaved, NetworkTried
from training.contract.network_files import check_files

PREFIX = "checkpoint:"
_TITLES = {  # by role, and by folder where a run saves two of a role
    CheckpointRole.BASE: "base",
    CheckpointRole.SFT: "SFT",
    "sft_by_loss": "SFT with lowest loss",
    CheckpointRole.REWARD_MODEL: "reward model",
    CheckpointRole.POLICY: "PPO",
    CheckpointRole.POLICY_EMA: "PPO averaged",
}


def folder(checkpoint: Checkpoint) -> Path:
    """Where the network lies."""
    return settings().data_dir.absolute() / checkpoint.path


def reference(checkpoint: Checkpoint, file: str = "") -> str:
    """How a job's config names a checkpoint, or a file beside its network, so that a moved data folder still works."""
    return f"{PREFIX}{checkpoint.public_id}" + (f"/{file}" if file else "")


def register(session: Session, job: Job, event: CheckpointSaved) -> Checkpoint:
    """The checkpoint that a run reports; one saved again under its name is the same row."""
    path = f"runs/{job.public_id}/{event.path}"
    checkpoint = session.scalar(select(Checkpoint).where(Checkpoint.job_id == job.id, Checkpoint.path == path))
    if checkpoint is None:
        parent = referred(session, job.config.get("init_from"))
        reward_model = referred(session, job.config.get("reward_model"))
        checkpoint = Checkpoint(
            job_id=job.id,
            path=path,
            role=CheckpointRole(event.role),
            parent_id=parent.id if parent else None,
            reward_model_id=reward_model.id if reward_model else None,
            round_number=_round_number(session, job, parent, reward_model),
        )
        session.add(checkpoint)
    checkpoint.step, checkpoint.metrics, checkpoint.chosen = event.step, dict(event.metrics), event.chosen
    if not checkpoint.name:
        after = _(" after round %(number)s") % {"number": checkpoint.round_number} if checkpoint.round_number else ""
        made_by = job.config.get("recipe") or job.name
        title = _TITLES.get(Path(path).name) or _TITLES[checkpoint.role]
        checkpoint.name = f"{title}{after} ({made_by})"[:120]
    session.flush()
    return checkpoint


def note_tried(session: Session, job: Job, event: NetworkTried) -> None:
    """Keep what a run found of a network that it loaded, where that is a checkpoint, and what it did not try again."""
    names = job.config.get("policies") or {}
    checkpoint = referred(session, job.config.get(event.key, names.get(event.key)))
    if checkpoint is not None:
        found = [one.model_dump(mode="json") for one in event.findings]
        tried, known = {one["check"] for one in found}, (checkpoint.trial or {}).get("findings", [])
        checkpoint.trial = {"refused": None, "findings": found + [one for one in known if one["check"] not in tried]}


def _round_number(session: Session, job: Job, parent: Checkpoint | None, reward_model: Checkpoint | None) -> int | None:
    """The last round whose work went in: the snapshot's own, else the reward model's, else the parent's."""
    snapshot = session.get(Snapshot, job.snapshot_id) if job.snapshot_id else None
    rounds = (snapshot.filter.get("rounds") or []) if snapshot else []
    known = [c.round_number for c in (reward_model, parent) if c is not None and c.round_number is not None]
    return max([*rounds, *known], default=None)


def referred(session: Session, value: Any) -> Checkpoint | None:
    """The checkpoint that a config's value refers to; None for anything else; raises NotFound."""
    if not isinstance(value, str) or not value.startswith(PREFIX):
        return None
    return queries.find(session, value.removeprefix(PREFIX).partition("/")[0])


def resolve(session: Session, value: Any) -> Any:
    """A job's config with every reference replaced by the real path; raises NotFound."""
    if isinstance(value, dict):
        return {key: resolve(session, item) for key, item in value.items()}
    if not isinstance(value, str):
        return value
    if value.startswith(jobs.SNAPSHOT_PREFIX):
        return jobs.data_path(session, value)
    if checkpoint := referred(session, value):
        return str(folder(checkpoint) / value.removeprefix(PREFIX).partition("/")[2])
    return value


def create_job(
    session: Session,
    verb: JobVerb | str,
    config: dict,
    *,
    snapshot: Snapshot | None = None,
    name: str = "",
    by: Account | None = None,
) -> Job:
    """A queued job, every checkpoint that its config names being there."""
    try:
        resolve(session, config)
    except NotFound as error:
        raise BadInput(error.message, field="config") from error
    return jobs.create(session, verb, config, snapshot=snapshot, name=name, by=by)


def make_policy(session: Session, checkpoint: Checkpoint, *, name: str = "", by: Account | None = None) -> Policy:
    """The policy that this checkpoint is; made on first use, and at most one."""
    if checkpoint.role is CheckpointRole.REWARD_MODEL:
        raise BadInput(
            _("A reward model gives scores, not completions; it cannot become a policy."), field="checkpoint"
        )
    if checkpoint.policy_id is not None:
        return session.get_one(Policy, checkpoint.policy_id)
    name = name.strip() or checkpoint.name
    if session.scalar(select(Policy.id).where(Policy.name == name)) is not None:
        if name != checkpoint.name:
            raise Conflict(
                _("A policy named “%(name)s” already exists; choose another name.") % {"name": name}, field="name"
            )
        name = f"{name[:100]} {checkpoint.public_id}"
    policy = policies.get_or_create(session, name, PolicyKind.TRAINED)
    policy.path = checkpoint.path
    session.flush()
    checkpoint.policy_id = policy.id
    session.flush()
    record(session, by, "checkpoint.policy", checkpoint.public_id, policy=policy.public_id)
    return policy


def register_path(
    session: Session, path: str | Path, name: str, *, role: CheckpointRole | str = CheckpointRole.BASE,
    by: Account | None = None, trial: dict | None = None,
) -> Checkpoint:  # fmt: skip
    """A network of one's own by path: a folder with config.json and weights that plain transformers loads.

    Without a `trial` (trying.tried) a worker is asked for one.
    """
    place = Path(require_text(str(path), "path")).absolute()
    name = require_text(name, "name", may_be_empty=True, at_most=120).strip()
    if not name:
        raise BadInput(_("Give the model a name."), field="name")
    try:
        check_files(place)
    except ValueError as error:
        raise BadInput(str(error), field="path") from error
    except OSError as error:  # too long a name, or no right to look
        raise BadInput(
            _("%(path)s cannot be read: %(reason)s; give a folder that this machine can open.")
            % {"path": place, "reason": error.strerror or error},
            field="path",
        ) from error
    found = session.scalar(select(Checkpoint).where(Checkpoint.path == str(place), Checkpoint.job_id.is_(None)))
    if found is not None:
        raise Conflict(
            _("%(path)s has already been added, as “%(name)s” (%(id)s).")
            % {"path": place, "name": found.name, "id": found.public_id},
            field="path",
        )
    checkpoint = Checkpoint(name=name, role=CheckpointRole(role), path=str(place), chosen=True)
    if trial is not None:  # None would be stored as JSON's null, which is something
        checkpoint.trial = trial
    session.add(checkpoint)
    session.flush()
    if trial is None:
        queue.send(session, "checkpoints.try_network", checkpoint.id, queue.TRAINING)
    record(session, by, "checkpoint.add", checkpoint.public_id, path=str(place))
    return checkpoint
