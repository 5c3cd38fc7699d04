"""The order of the loop's steps. Each step of a plan is a row; advance() starts the next one in the transaction that
ends one.

The steps of a full cycle: base (only if none exists), snapshot_sft, sft, sft_for_ppo, snapshot_rm, reward_model,
snapshot_ppo, ppo, prompts (of the next round), sample_<source>, round. Before the first comparisons exist, a reward
model has nothing to train on: the plan then skips from sft_for_ppo to the next round.
"""

from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import queue
from app.accounts.rules import record
from app.accounts.tables import Account
from app.assignments import closing
from app.assignments import rules as assignments
from app.checkpoints.queries import newest
from app.checkpoints.tables import CheckpointRole
from app.database import utc_now
from app.errors import BadInput, Conflict, PlumblineError
from app.jobs import rules as jobs
from app.jobs.tables import Job, JobState
from app.kit.i18n import gettext as _
from app.kit.words import word
from app.plans import queries, steps
from app.plans.schemas import PlanConfig, Source
from app.plans.tables import Plan, PlanState, PlanStep, StepKind, StepName, StepState
from app.rounds.tables import Round, RoundPurpose, RoundState
from app.snapshots.left_out import listed, way_out
from app.snapshots.queries import of_round as snapshots_of
from app.snapshots.tables import Snapshot, SnapshotState
from training.contract.records import Purpose

_OF_JOB = {
    JobState.QUEUED: StepState.RUNNING,
    JobState.RUNNING: StepState.RUNNING,
    JobState.FINISHED: StepState.FINISHED,
    JobState.FAILED: StepState.FAILED,
    JobState.CANCELLED: StepState.CANCELLED,
}
_OF_SNAPSHOT = {
    SnapshotState.QUEUED: StepState.RUNNING,
    SnapshotState.WRITING: StepState.RUNNING,
    SnapshotState.READY: StepState.FINISHED,
    SnapshotState.FAILED: StepState.FAILED,
}


def start(
    session: Session,
    round: Round,
    config: PlanConfig | dict | None = None,
    by: Account | None = None,
    *,
    name: str = "",
    confirmed: bool = False,
) -> Plan:
    """Close the round and start its plan; raise BadInput or Conflict if it cannot be trained on.

    Raises closing.Unfinished if labelers have unsubmitted drafts in the round and closing is not `confirmed`.
    """
    try:
        config = PlanConfig.model_validate(config or {}).model_copy(deep=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", field="config") from error
    if round.purpose is not RoundPurpose.TRAINING:
        raise BadInput(
            _("Round %(number)s is for %(purpose)s; plans train only on training rounds.")
            % {"number": round.number, "purpose": word(round.purpose)},
            field="round",
        )
    session.refresh(round, ["state"], with_for_update=True)  # no other transaction can reopen it meanwhile
    if round.state is RoundState.DRAFT:
        raise BadInput(
            _("Round %(number)s is a draft; open it and let labelers work on it first.") % {"number": round.number},
            field="round",
        )
    if round.state is RoundState.OPEN:
        closing.close(session, round, confirmed=confirmed)
        record(session, by, "round.close", round.public_id)
    steps.check_collections(session, config)
    demonstrations, left_out = steps.count_answers(session, Purpose.SFT, config)
    if not demonstrations:
        none = _(
            "No closed training round has demonstrations, which the first model is trained on. Open a round that "
            "asks for some, or train a reward model on rankings alone: Jobs → New job."
        )
        why = _("Left out: %(what)s.") % {"what": listed(left_out)} + " " + way_out(left_out) if left_out else ""
        raise BadInput(f"{none} {why}".strip(), field="also" if left_out else "round")
    if config.collections is None:
        config.collections = queries.collections_of(session, round)
    if config.base is None and (known := newest(session, CheckpointRole.BASE)):
        config.base = known.public_id
    steps.check(session, config)
    plan = Plan(
        name=name.strip() or _("Train on round %(number)s") % {"number": round.number},
        round_id=round.id,
        config=config.model_dump(mode="json"),
        created_by_id=by.id if by else None,
    )
    try:
        with session.begin_nested():
            session.add(plan)
    except IntegrityError as error:
        raise Conflict(_("A plan already trains on this round."), field="round") from error
    for number, step in enumerate(_steps(session, plan, config), 1):
        session.add(PlanStep(plan_id=plan.id, number=number, name=step, kind=step.kind))
    session.flush()
    record(session, by, "plan.start", plan.public_id, round=round.public_id)
    return advance(session, plan.id)


def reopen_round(session: Session, round: Round) -> None:
    """Reopen a closed round; raise Conflict if an unfinished plan or snapshot depends on its answers."""
    session.refresh(round, ["state"], with_for_update=True)
    plan = queries.of_round(session, round)
    if plan is not None and plan.state is not PlanState.FINISHED:
        raise Conflict(
            _("The plan “%(name)s” trains on round %(number)s; wait until the plan finishes, or cancel it.")
            % {"name": plan.name, "number": round.number}
        )
    if unwritten := [one for one in snapshots_of(session, round) if one.state is not SnapshotState.READY]:
        raise Conflict(
            _("The snapshot “%(name)s” is being written from round %(number)s; reopen the round when it is ready.")
            % {"name": unwritten[0].name, "number": round.number}
        )
    assignments.reopen_round(session, round)


def _steps(session: Session, plan: Plan, config: PlanConfig) -> list[StepName]:
    trains_ppo = steps.count_answers(session, Purpose.RM, config)[0] > 0
    names = [] if config.base else [StepName.BASE]
    names += [StepName.SNAPSHOT_SFT, StepName.SFT, StepName.SFT_FOR_PPO]
    if trains_ppo:
        names += [StepName.SNAPSHOT_RM, StepName.REWARD_MODEL, StepName.SNAPSHOT_PPO, StepName.PPO]
    if config.next_round:
        if config.next_round.prompts:
            there = {Source.SFT, Source.BASE} | ({Source.POLICY} if trains_ppo else set())
            if queries.last_policy(session, plan):
                there.add(Source.PREVIOUS)
            mix = steps.mix(config.next_round, there)
            names += [StepName.PROMPTS, *(StepName(f"sample_{source}") for source in mix)]
        names.append(StepName.ROUND)
    return names


def advance_after(session: Session, *, job: Job | None = None, snapshot: Snapshot | None = None) -> None:
    """Advance the plans that wait for this job or snapshot; called in the transaction that changed it."""
    session.flush()
    for id in queries.waiting_for(session, job=job, snapshot=snapshot):
        advance(session, id)


def advance(session: Session, plan_id: int) -> Plan:
    """Advance a plan as far as possible now; finished steps are not repeated."""
    plan = queries.locked(session, plan_id)
    if plan.state in (PlanState.FINISHED, PlanState.CANCELLED):
        return plan
    plan.state, plan.error = PlanState.RUNNING, ""
    for step in plan.steps:
        if step.state is StepState.FINISHED:
            continue
        error = ""
        if step.state is StepState.WAITING:
            error = _begin(session, plan, step)
        if not error:
            step.state, error = _look(session, plan, step)
        if error:
            step.state = StepState.FAILED if step.state is StepState.WAITING else step.state
            plan.state, plan.error = PlanState.FAILED, f"{step.name}: {error}"
        if step.state is not StepState.FINISHED:
            break
    else:
        plan.state = PlanState.FINISHED
    session.flush()
    return plan


def _begin(session: Session, plan: Plan, step: PlanStep) -> str:
    """Start a step; return why it could not be started, or ""."""
    try:
        with session.begin_nested():
            if step.kind is StepKind.SNAPSHOT:
                step.snapshot_id = steps.queue_snapshot(session, plan, step.name).id
            elif step.kind is StepKind.JOB:
                step.job_id = steps.queue_job(session, plan, step.name).id
            else:
                step.lease_until = utc_now(steps.LEASE_SECONDS)
                queue.send(session, "plans.make_round", step.id)
            session.flush()
            session.expire(step, ["job", "snapshot"])  # the next step may read them in this transaction
    except PlumblineError as error:
        return error.message
    return ""


def _look(session: Session, plan: Plan, step: PlanStep) -> tuple[StepState, str]:
    """Return a started step's state and its error message, "" if it has not failed."""
    if step.kind is StepKind.SNAPSHOT:
        snapshot = session.get_one(Snapshot, step.snapshot_id, populate_existing=True)
        return _OF_SNAPSHOT[snapshot.state], snapshot.error
    if step.kind is StepKind.JOB:
        job = session.get_one(Job, step.job_id, populate_existing=True)
        if job.state is JobState.CANCELLED:
            return StepState.CANCELLED, _("its job was canceled")
        return _OF_JOB[job.state], job.error
    return StepState.RUNNING if plan.next_round_id is None else StepState.FINISHED, ""


def fail_round(session: Session, step_id: int, error: str) -> None:
    """Record that the next round could not be created."""
    step = session.get_one(PlanStep, step_id)
    plan = queries.locked(session, step.plan_id)
    if plan.state is PlanState.RUNNING:
        step.state, step.lease_until = StepState.FAILED, None
        plan.state, plan.error = PlanState.FAILED, f"{step.name}: {error}"


def retry(session: Session, plan: Plan, by: Account | None, set: dict | None = None) -> Plan:
    """Retry the failed step: resume its job as it is, or start a new one with the overrides in `set`.

    Raises Conflict if the plan has not failed, BadInput if the step takes no overrides.
    """
    plan = queries.locked(session, plan.id)
    if plan.state is not PlanState.FAILED:
        raise Conflict(_("Only a failed plan can be retried; this one is %(state)s.") % {"state": word(plan.state)})
    step = next(step for step in plan.steps if step.state is not StepState.FINISHED)
    if step.job_id is not None and not set:
        job = session.get_one(Job, step.job_id)
        if job.state in (JobState.FAILED, JobState.CANCELLED):
            jobs.resume(session, job, by)
    else:
        if set:
            if step.kind is not StepKind.JOB:
                raise BadInput(
                    _("Only a step with a job takes overrides; leave the field empty to retry."), field="set"
                )
            config = steps.with_changes(plan.config, step.name, set)
            steps.check(session, PlanConfig.model_validate(config))
            plan.config = config
        step.state, step.job_id, step.snapshot_id = StepState.WAITING, None, None
    session.flush()
    record(session, by, "plan.retry", plan.public_id, step=step.name, set=set or {})
    return advance(session, plan.id)


def cancel(session: Session, plan: Plan, by: Account | None) -> Plan:
    """Cancel a plan, and the job it waits for unless another plan waits too; finished steps are kept."""
    plan = queries.locked(session, plan.id)
    if plan.state in (PlanState.FINISHED, PlanState.CANCELLED):
        raise Conflict(_("The plan is already %(state)s.") % {"state": word(plan.state)})
    for step in plan.steps:
        if step.state is StepState.FINISHED:
            continue
        job = step.job if step.job is not None and step.job.state in (JobState.QUEUED, JobState.RUNNING) else None
        if job is not None and queries.waiting_for(session, job=job, snapshot=None) == [plan.id]:
            jobs.cancel(session, job, by)
        step.state, step.lease_until = StepState.CANCELLED, None
    plan.state = PlanState.CANCELLED
    record(session, by, "plan.cancel", plan.public_id)
    session.flush()
    return plan


def reconcile(session: Session) -> None:
    """Advance every running plan and resend requests for next rounds whose lease has expired."""
    for id in queries.running(session):
        advance(session, id)
    for step in queries.round_steps(session, PlanStep.lease_until < utc_now()):
        step.lease_until = utc_now(steps.LEASE_SECONDS)
        queue.send(session, "plans.make_round", step.id)
