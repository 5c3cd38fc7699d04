"""Making the next round in the background: sampled completions are read into the bank, then the round is made."""

import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from sqlalchemy import select, update

from app.checkpoints import rules as checkpoints
from app.completions.rules import CompletionDraft, add_all
from app.database import reading, transaction, utc_now
from app.errors import PlumblineError
from app.jobs import rules as jobs
from app.plans import next_round, queries, rules, steps
from app.plans.tables import Plan, PlanState, PlanStep, StepState
from app.prompts.tables import Prompt
from app.queue import celery
from app.snapshots.freezing import prompt_key
from app.snapshots.tables import SnapshotMember
from training import records

CHUNK = 500  # completions stored in one transaction

log = logging.getLogger(__name__)


@celery.task(name="plans.make_round")
def make_round(id: int) -> None:
    """Make the next round of step `id`, if nobody else does or did; storing completions twice changes nothing."""
    with transaction() as session:
        taken = session.scalar(
            update(PlanStep)
            .where(PlanStep.id == id, PlanStep.state == StepState.RUNNING)
            .values(lease_until=utc_now(steps.LEASE_SECONDS))
            .returning(PlanStep.plan_id)
        )
    if taken is None:
        return
    with reading() as session:
        step = session.get_one(PlanStep, id)
    try:
        _take_in(taken)
        with transaction() as session:
            plan = queries.locked(session, taken)
            if plan.state is PlanState.RUNNING and plan.next_round_id is None:
                next_round.make(session, plan)
                rules.advance(session, plan.id)
    except Exception as error:
        reason = error.message if isinstance(error, PlumblineError) else f"{type(error).__name__}: {error}"
        if not isinstance(error, PlumblineError):
            log.exception("the next round of plan %s could not be made", taken)
        with transaction() as session:
            rules.fail_round(session, step, reason)


def _take_in(plan_id: int) -> None:
    """Store what the plan's sample jobs wrote as completions of their checkpoints' policies."""
    with reading() as session:
        plan = session.get_one(Plan, plan_id)
        snapshot = steps.step_snapshot(plan, "prompts")
        if snapshot is None:
            return
        frozen = select(Prompt).join(SnapshotMember, SnapshotMember.prompt_id == Prompt.id)
        prompts = {
            prompt_key(prompt): prompt.id
            for prompt in session.scalars(frozen.where(SnapshotMember.snapshot_id == snapshot.id))
        }
        folders = {
            source: jobs.folder(steps.step_job(plan, f"sample_{source}")) for source in steps.shares(plan)
            if steps.step_job(plan, f"sample_{source}")
        }  # fmt: skip
    for source, folder in folders.items():
        with transaction() as session:
            plan = session.get_one(Plan, plan_id)
            policy = checkpoints.make_policy(session, steps.network(session, plan, source))
        for chunk in _chunks(folder / "completions.jsonl", policy.id, prompts):
            with transaction() as session:
                add_all(session, chunk)
                session.execute(
                    update(PlanStep)
                    .where(PlanStep.plan_id == plan_id, PlanStep.name == "round")
                    .values(lease_until=utc_now(steps.LEASE_SECONDS))
                )


def _chunks(path: Path, policy_id: int, prompts: dict[str, int]) -> Iterator[list[CompletionDraft]]:
    """What a sample job wrote, a few hundred at a time; an empty text is nothing to compare."""
    drafts = (
        CompletionDraft(
            prompts[line.prompt_key], policy_id, line.text, line.settings, tokens=line.tokens, finished=line.finished
        )
        for line in records.read(path, records.SampledCompletion)
        if line.text.strip() and "\x00" not in line.text and line.prompt_key in prompts
    )
    while chunk := list(islice(drafts, CHUNK)):
        yield chunk


@celery.task(name="plans.reconcile")
def reconcile() -> None:
    """Take on what a lost message or a dead worker left standing."""
    with transaction() as session:
        rules.reconcile(session)
