"""Policies over REST."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from app.database import reading, transaction
from app.kit.text import Text
from app.policies import queries, rules, serving
from app.policies.schemas import PoliciesOut, PolicyIn, PolicyOut, TrialIn, TrialOut
from app.web import api_account

router = APIRouter(prefix="/api/v1/policies", tags=["policies"])


@router.get("")
def list_policies(
    request: Request, cursor: Text | None = None, limit: Annotated[int, Query(ge=1, le=500)] = 100
) -> PoliciesOut:
    """Policies, the newest first."""
    api_account(request, "read")
    with reading() as session:
        found, following = queries.page(session, cursor, limit)
    return PoliciesOut(items=[PolicyOut.of(policy) for policy in found], next_cursor=following)


@router.post("", status_code=201)
def create(request: Request, given: PolicyIn) -> PolicyOut:
    """Make an imported policy or an endpoint."""
    by = api_account(request, "write")
    with transaction() as session:
        made = rules.create(session, given, by)
        session.refresh(made)
    return PolicyOut.of(made)


@router.get("/{id}")
def read(request: Request, id: str) -> PolicyOut:
    """One policy."""
    api_account(request, "read")
    with reading() as session:
        return PolicyOut.of(rules.policy(session, id))


@router.post("/{id}/try")
def try_(request: Request, id: str, given: TrialIn) -> TrialOut:
    """Put a question to an endpoint or a trained policy; nothing of it is kept. 502 says why it did not answer."""
    api_account(request, "write")
    with reading() as session:
        found = rules.policy(session, id)
    written, seconds = serving.trial(found, given.question)
    return TrialOut(text=written.text, seconds=round(seconds, 3))
