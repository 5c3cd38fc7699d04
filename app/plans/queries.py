"""Queries for plans and what their steps produced."""

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session, joinedload, selectinload

from app.checkpoints.queries import chosen_of
from app.checkpoints.tables import Checkpoint
from app.errors import NotFound
from app.jobs.tables import Job, JobState
from app.kit import cursors
from app.kit.i18n import gettext as _
from app.plans.tables import Plan, PlanState, PlanStep, StepKind, StepName, StepState
from app.prompts.tables import Prompt, PromptCollection, PromptSource
from app.rounds.tables import Item, Round, RoundPurpose, RoundState
from app.snapshots.tables import Snapshot, SnapshotState

_WITH = (
    selectinload(Plan.steps).joinedload(PlanStep.job),
    selectinload(Plan.steps).joinedload(PlanStep.snapshot),
    joinedload(Plan.round),
    joinedload(Plan.next_round),
)


def find(session: Session, public_id: str) -> Plan:
    """Return the plan with this public id; raise NotFound."""
    query = select(Plan).where(Plan.public_id == public_id).options(*_WITH)
    found = session.scalar(query.execution_options(populate_existing=True))
    if found is None:
        raise NotFound(_("There is no plan %(id)s.") % {"id": public_id})
    return found


def locked(session: Session, id: int) -> Plan:
    """Read plan `id` and lock its row until the transaction ends."""
    session.execute(select(Plan.id).where(Plan.id == id).with_for_update())
    return session.scalars(
        select(Plan).where(Plan.id == id).options(*_WITH).execution_options(populate_existing=True)
    ).one()


def listing(session: Session, cursor: str | None = None, limit: int = 50) -> tuple[list[Plan], str | None]:
    """Return one page of plans, newest first, and the cursor of the next page."""
    return cursors.page(session, select(Plan).options(*_WITH), Plan, cursor, limit)


def of_round(session: Session, round: Round) -> Plan | None:
    """Return the round's plan that is not canceled, or None."""
    return session.scalar(select(Plan).where(Plan.round_id == round.id, Plan.state != PlanState.CANCELLED))


def running(session: Session) -> list[int]:
    """Return the ids of running plans."""
    return list(session.scalars(select(Plan.id).where(Plan.state == PlanState.RUNNING)))


def waiting_for(session: Session, *, job: Job | None, snapshot: Snapshot | None) -> list[int]:
    """Return the ids of running or failed plans with an unfinished step that waits for this job or snapshot."""
    assert (job is None) is not (snapshot is None)
    subject = PlanStep.snapshot_id == snapshot.id if snapshot is not None else PlanStep.job_id == (job and job.id)
    query = (
        select(PlanStep.plan_id)
        .join(Plan, Plan.id == PlanStep.plan_id)
        .where(
            subject,
            PlanStep.state != StepState.FINISHED,
            Plan.state.in_([PlanState.RUNNING, PlanState.FAILED]),
        )
    )
    return list(session.scalars(query.distinct()))


def startable_rounds(session: Session) -> list[Round]:
    """Return open or closed training rounds without a plan, newest first; canceled plans do not count."""
    query = (
        select(Round)
        .outerjoin(Plan, (Plan.round_id == Round.id) & (Plan.state != PlanState.CANCELLED))
        .where(
            Plan.id.is_(None),
            Round.purpose == RoundPurpose.TRAINING,
            Round.state.in_([RoundState.OPEN, RoundState.CLOSED]),
        )
    )
    return list(session.scalars(query.order_by(Round.number.desc())))


def collections_of(session: Session, round: Round) -> list[str]:
    """Return the collections of a round's prompts, not counting withdrawn prompts and use-case descriptions."""
    query = (
        select(PromptCollection.name)
        .join(Item, Item.prompt_id == PromptCollection.prompt_id)
        .join(Item.prompt)
        .where(Item.round_id == round.id, Prompt.withdrawn_at.is_(None), Prompt.source != PromptSource.USE_CASE)
    )
    return sorted(session.scalars(query.distinct()))


def last_policy(session: Session, plan: Plan) -> Checkpoint | None:
    """Return the PPO policy of the most recent earlier plan whose PPO step finished, or None."""
    step = session.scalar(
        select(PlanStep)
        .join(Plan, Plan.id == PlanStep.plan_id)
        .where(PlanStep.name == StepName.PPO, PlanStep.state == StepState.FINISHED, PlanStep.plan_id < plan.id)
        .order_by(PlanStep.plan_id.desc())
        .limit(1)
    )
    return chosen_of(session, step.job) if step is not None and step.job is not None else None


def same_job(session: Session, verb: str, config: dict, snapshot: Snapshot | None) -> Job | None:
    """Return a queued, running or finished job with this verb and config over data with the same content, or None."""
    query = select(Job).where(Job.verb == verb, Job.state.in_([JobState.FINISHED, JobState.RUNNING, JobState.QUEUED]))
    if snapshot is not None:
        query = query.join(Snapshot, Snapshot.id == Job.snapshot_id).where(
            Snapshot.state == SnapshotState.READY, Snapshot.content_sha256 == snapshot.content_sha256
        )
    wanted = {**config, "data": None}
    jobs = session.scalars(query.order_by(Job.id.desc()))
    return next((job for job in jobs if {**job.config, "data": None} == wanted), None)


def round_steps(session: Session, *conditions: ColumnElement[bool]) -> list[PlanStep]:
    """Return the running steps that create a next round."""
    query = (
        select(PlanStep)
        .join(Plan, Plan.id == PlanStep.plan_id)
        .where(
            PlanStep.kind == StepKind.ROUND,
            PlanStep.state == StepState.RUNNING,
            Plan.state == PlanState.RUNNING,
            *conditions,
        )
    )
    return list(session.scalars(query))
