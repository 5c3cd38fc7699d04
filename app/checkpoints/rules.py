"""State changes of checkpoints: registration from run events, references in configs, and promotion to policies."""

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
_TITLES = {  # by role, or by folder name where a run saves two checkpoints with one role
    CheckpointRole.BASE: "base",
    CheckpointRole.SFT: "SFT",
    "sft_by_loss": "SFT with lowest loss",
    CheckpointRole.REWARD_MODEL: "reward model",
    CheckpointRole.POLICY: "PPO",
    CheckpointRole.POLICY_EMA: "PPO averaged",
}


def folder(checkpoint: Checkpoint) -> Path:
    """Return the model's folder."""
    return settings().data_dir.absolute() / checkpoint.path


def reference(checkpoint: Checkpoint, file: str = "") -> str:
    """Return a config reference to a checkpoint, or to a file in its folder; references survive a moved data folder."""
    return f"{PREFIX}{checkpoint.public_id}" + (f"/{file}" if file else "")


def register(session: Session, job: Job, event: CheckpointSaved) -> Checkpoint:
    """Create or update the checkpoint that a run reports; saving again under the same name updates the same row."""
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
    """Merge a run's model check into the checkpoint's findings, replacing only those checks that ran again."""
    names = job.config.get("policies") or {}
    checkpoint = referred(session, job.config.get(event.key, names.get(event.key)))
    if checkpoint is not None:
        found = [one.model_dump(mode="json") for one in event.findings]
        tried, known = {one["check"] for one in found}, (checkpoint.trial or {}).get("findings", [])
        checkpoint.trial = {"refused": None, "findings": found + [one for one in known if one["check"] not in tried]}


def _round_number(session: Session, job: Job, parent: Checkpoint | None, reward_model: Checkpoint | None) -> int | None:
    """Return the last round trained on: the maximum over the snapshot, the reward model and the parent, or None."""
    snapshot = session.get(Snapshot, job.snapshot_id) if job.snapshot_id else None
    rounds = (snapshot.filter.get("rounds") or []) if snapshot else []
    known = [c.round_number for c in (reward_model, parent) if c is not None and c.round_number is not None]
    return max([*rounds, *known], default=None)


def referred(session: Session, value: Any) -> Checkpoint | None:
    """Return the checkpoint that a config value refers to, None for any other value; raise NotFound."""
    if not isinstance(value, str) or not value.startswith(PREFIX):
        return None
    return queries.find(session, value.removeprefix(PREFIX).partition("/")[0])


def resolve(session: Session, value: Any) -> Any:
    """Replace every reference in a job's config by the real path; raise NotFound."""
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
    """Queue a job after checking that every checkpoint in its config exists; raise BadInput."""
    try:
        resolve(session, config)
    except NotFound as error:
        raise BadInput(error.message, field="config") from error
    return jobs.create(session, verb, config, snapshot=snapshot, name=name, by=by)


def make_policy(session: Session, checkpoint: Checkpoint, *, name: str = "", by: Account | None = None) -> Policy:
    """Return the checkpoint's policy, creating it on first use.

    Raises BadInput for a reward model, Conflict if another policy has the given name.
    """
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
    """Register a model by path: a folder with config.json and weights that plain transformers can load.

    Without a `trial` (see trying.tried), a worker is asked to check the model.
    """
    place = Path(require_text(str(path), "path")).absolute()
    name = require_text(name, "name", may_be_empty=True, at_most=120).strip()
    if not name:
        raise BadInput(_("Give the model a name."), field="name")
    try:
        check_files(place)
    except ValueError as error:
        raise BadInput(str(error), field="path") from error
    except OSError as error:  # path too long or not permitted
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
    if trial is not None:  # None would be stored as JSON null, which is not SQL NULL
        checkpoint.trial = trial
    session.add(checkpoint)
    session.flush()
    if trial is None:
        queue.send(session, "checkpoints.try_network", checkpoint.id, queue.TRAINING)
    record(session, by, "checkpoint.add", checkpoint.public_id, path=str(place))
    return checkpoint
