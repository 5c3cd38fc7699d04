"""Plans over REST."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from app.assignments import closing
from app.database import reading, transaction
from app.kit.text import Text
from app.plans import queries, rules
from app.plans.schemas import PlanIn, PlanOut, PlanPage, RetryIn, StepOut
from app.plans.tables import Plan
from app.rounds.rules import round_
from app.web.auth import api_account

router = APIRouter(tags=["plans"])
Limit = Annotated[int, Query(ge=1, le=500)]


def out(plan: Plan) -> PlanOut:
    """Return a plan as its REST representation."""
    steps = [
        StepOut(
            name=step.name,
            kind=step.kind,
            state=step.state,
            job=step.job.public_id if step.job else None,
            snapshot=step.snapshot.public_id if step.snapshot else None,
        )
        for step in plan.steps
    ]
    return PlanOut(
        id=plan.public_id,
        name=plan.name,
        state=plan.state,
        round=plan.round.public_id,
        next_round=plan.next_round.public_id if plan.next_round else None,
        config=plan.config,
        error=plan.error,
        steps=steps,
        created_at=plan.created_at,
    )


@router.get("/api/v1/plans")
def list_plans(request: Request, cursor: Text | None = None, limit: Limit = 100) -> PlanPage:
    """List plans, newest first."""
    api_account(request, "read")
    with reading() as session:
        found, following = queries.listing(session, cursor, limit)
        return PlanPage(items=[out(plan) for plan in found], next_cursor=following)


@router.post("/api/v1/plans", status_code=201)
def start_plan(request: Request, given: PlanIn) -> PlanOut:
    """Close a round, train on it, and create the next round. Needs `confirm` if the round has unsubmitted drafts."""
    by = api_account(request, "jobs")
    with transaction() as session, closing.asks_for_confirm():
        round = round_(session, given.round)
        plan = rules.start(session, round, given.config, by, name=given.name, confirmed=given.confirm)
        return out(queries.find(session, plan.public_id))


@router.get("/api/v1/plans/{id}")
def read_plan(request: Request, id: str) -> PlanOut:
    """Get one plan with its steps."""
    api_account(request, "read")
    with reading() as session:
        return out(queries.find(session, id))


@router.post("/api/v1/plans/{id}/retry")
def retry_plan(request: Request, id: str, given: RetryIn) -> PlanOut:
    """Retry the failed step, optionally with overrides for its config in `set`."""
    by = api_account(request, "jobs")
    with transaction() as session:
        rules.retry(session, queries.find(session, id), by, given.set)
        return out(queries.find(session, id))


@router.post("/api/v1/plans/{id}/cancel")
def cancel_plan(request: Request, id: str) -> PlanOut:
    """Cancel a plan and the job it waits for."""
    by = api_account(request, "jobs")
    with transaction() as session:
        rules.cancel(session, queries.find(session, id), by)
        return out(queries.find(session, id))
