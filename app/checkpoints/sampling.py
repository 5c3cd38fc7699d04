"""Adds a sampling job's completions to its checkpoint's policy; adding them twice creates no duplicates."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import queue
from app.accounts.rules import record
from app.accounts.tables import Account
from app.checkpoints import rules
from app.checkpoints.tables import Checkpoint
from app.completions.rules import CompletionDraft, add_all
from app.database import reading, transaction
from app.errors import BadInput
from app.jobs import rules as jobs
from app.jobs.tables import Job, JobState, JobVerb
from app.kit.i18n import gettext as _
from app.prompts.tables import Prompt
from app.snapshots.freezing import prompt_key
from app.snapshots.tables import SnapshotMember
from training.contract import records

CHUNK = 500  # completions stored in one transaction


def check(session: Session, job: Job) -> Checkpoint:
    """Return the checkpoint that sampled; raise BadInput unless the job is finished and started from one."""
    if job.verb is not JobVerb.SAMPLE_COMPLETIONS or job.state is not JobState.FINISHED:
        raise BadInput(_("Only a finished sample_completions job has completions to add."))
    checkpoint = None if job.snapshot_id is None else rules.referred(session, job.config["init_from"])
    if checkpoint is None:
        raise BadInput(
            _("The job started from paths, so the policy of its completions is unknown; start a job from a checkpoint.")
        )
    return checkpoint


def request(session: Session, job: Job, by: Account | None) -> None:
    """Ask a worker to add the job's completions."""
    check(session, job)
    record(session, by, "job.take_in", job.public_id)
    queue.send(session, "jobs.take_in", job.id)


def take_in(job: Job, alive: Callable[[Session], None] = lambda session: None) -> int:
    """Store the job's completions in chunks and return their number; `alive` is called in each transaction."""
    with transaction() as session:
        policy = rules.make_policy(session, check(session, job))
    with reading() as session:
        frozen = select(Prompt).join(SnapshotMember, SnapshotMember.prompt_id == Prompt.id)
        prompts = {
            prompt_key(prompt): prompt.id
            for prompt in session.scalars(frozen.where(SnapshotMember.snapshot_id == job.snapshot_id))
        }
    stored = 0
    drafts = _drafts(jobs.folder(job) / records.SAMPLED_COMPLETIONS, policy.id, prompts)
    while chunk := list(islice(drafts, CHUNK)):
        with transaction() as session:
            stored += len(add_all(session, chunk))
            alive(session)
    return stored


def _drafts(path: Path, policy_id: int, prompts: dict[str, int]) -> Iterator[CompletionDraft]:
    for line in records.read(path, records.SampledCompletion):
        # An empty completion cannot be compared, and PostgreSQL cannot store NUL.
        if line.text.strip() and "\x00" not in line.text and line.prompt_key in prompts:
            yield CompletionDraft(
                prompts[line.prompt_key],
                policy_id,
                line.text,
                line.settings,
                tokens=line.tokens,
                finished=line.finished,
            )
