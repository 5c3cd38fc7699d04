"""Creation of the next round in the background, after sampled completions have been stored."""

import logging
import time

from sqlalchemy import update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.checkpoints import sampling
from app.database import reading, transaction, utc_now
from app.errors import PlumblineError
from app.jobs.tables import Job
from app.kit.i18n import gettext as _
from app.plans import next_round, queries, rules, steps
from app.plans.tables import Plan, PlanState, PlanStep, StepName, StepState
from app.queue import celery

TRIES, PAUSE_SECONDS = 3, 10  # attempts while the database is unreachable or busy

log = logging.getLogger(__name__)


@celery.task(name="plans.make_round")
def make_round(id: int) -> None:
    """Create the next round of step `id` unless it exists; on failure the step fails with the reason."""
    for tries_left in reversed(range(TRIES)):
        try:
            return _make(id)
        except OperationalError as error:
            log.warning("the next round of step %s, %s tries left: %s", id, tries_left, error)
            reason = _("the database refused the round %(count)s times: %(error)s. Fix that and retry.") % {
                "count": TRIES,
                "error": error.orig,
            }
            if tries_left:
                time.sleep(PAUSE_SECONDS)
        except PlumblineError as error:
            reason = error.message
            break
        except Exception as error:
            log.exception("the next round of step %s could not be made", id)
            reason = f"{type(error).__name__}: {error}"
            break
    with transaction() as session:  # raises if the database is unreachable: the reconciler resumes the step
        rules.fail_round(session, id, reason)


def _make(id: int) -> None:
    """Store the sampled completions and create the round; running twice creates no duplicates."""
    with transaction() as session:
        plan_id = session.scalar(
            update(PlanStep)
            .where(PlanStep.id == id, PlanStep.state == StepState.RUNNING)
            .values(lease_until=utc_now(steps.LEASE_SECONDS))
            .returning(PlanStep.plan_id)
        )
    if plan_id is None:
        return
    _take_in(plan_id)
    with transaction() as session:
        plan = queries.locked(session, plan_id)
        if plan.state is PlanState.RUNNING and plan.next_round_id is None:
            next_round.make(session, plan)
            rules.advance(session, plan.id)


def _take_in(plan_id: int) -> None:
    """Store the completions of the plan's sampling jobs under their checkpoints' policies."""
    with reading() as session:
        steps_of = session.get_one(Plan, plan_id).steps
        sampled = [session.get_one(Job, step.job_id) for step in steps_of if step.name.startswith("sample_")]

    def alive(session: Session) -> None:
        session.execute(
            update(PlanStep)
            .where(PlanStep.plan_id == plan_id, PlanStep.name == StepName.ROUND)
            .values(lease_until=utc_now(steps.LEASE_SECONDS))
        )

    for job in sampled:
        sampling.take_in(job, alive)


@celery.task(name="plans.reconcile")
def reconcile() -> None:
    """Repair the effects of lost messages and dead workers."""
    with transaction() as session:
        rules.reconcile(session)
