"""Making the next round in the background: sampled completions are read into the bank, then the round is made."""

import logging

from sqlalchemy import update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.checkpoints import sampling
from app.database import reading, transaction, utc_now
from app.errors import PlumblineError
from app.jobs.tables import Job
from app.plans import next_round, queries, rules, steps
from app.plans.tables import Plan, PlanState, PlanStep, StepState
from app.queue import celery

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
    except OperationalError as error:  # the database is away or busy: once the lease ends, the step is taken up again
        log.warning("the next round of plan %s waits for the database: %s", taken, error)
    except Exception as error:
        reason = error.message if isinstance(error, PlumblineError) else f"{type(error).__name__}: {error}"
        if not isinstance(error, PlumblineError):
            log.exception("the next round of plan %s could not be made", taken)
        with transaction() as session:
            rules.fail_round(session, step, reason)


def _take_in(plan_id: int) -> None:
    """Store what the plan's sample jobs wrote as completions of their checkpoints' policies."""
    with reading() as session:
        steps_of = session.get_one(Plan, plan_id).steps
        sampled = [session.get_one(Job, step.job_id) for step in steps_of if step.name.startswith("sample_")]

    def alive(session: Session) -> None:
        session.execute(
            update(PlanStep)
            .where(PlanStep.plan_id == plan_id, PlanStep.name == "round")
            .values(lease_until=utc_now(steps.LEASE_SECONDS))
        )

    for job in sampled:
        sampling.take_in(job, alive)


@celery.task(name="plans.reconcile")
def reconcile() -> None:
    """Take on what a lost message or a dead worker left standing."""
    with transaction() as session:
        rules.reconcile(session)
