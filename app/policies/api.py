"""Policies over REST."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from app.database import reading, transaction
from app.kit.text import Text
from app.policies import queries, rules
from app.policies.schemas import PoliciesOut, PolicyChange, PolicyIn, PolicyOut, TrialIn, TrialOut
from app.policies.tables import Policy
from app.serving import rules as serving
from app.web.auth import api_account

router = APIRouter(prefix="/api/v1/policies", tags=["policies"])


@router.get("")
def list_policies(
    request: Request, cursor: Text | None = None, limit: Annotated[int, Query(ge=1, le=500)] = 100
) -> PoliciesOut:
    """List policies, newest first."""
    api_account(request, "read")
    with reading() as session:
        found, following = queries.page(session, cursor, limit)
    return PoliciesOut(items=[PolicyOut.of(policy) for policy in found], next_cursor=following)


@router.post("", status_code=201)
def create(request: Request, given: PolicyIn) -> PolicyOut:
    """Create an imported policy or an endpoint."""
    by = api_account(request, "write")
    with transaction() as session:
        made = rules.create(session, given, by)
        session.refresh(made)
    return PolicyOut.of(made)


@router.get("/{id}")
def read(request: Request, id: str) -> PolicyOut:
    """Get a policy."""
    api_account(request, "read")
    with reading() as session:
        return PolicyOut.of(rules.policy(session, id))


@router.patch("/{id}")
def change(request: Request, id: str, given: PolicyChange) -> PolicyOut:
    """Change an imported policy or an endpoint. Omitted fields stay unchanged."""
    by = api_account(request, "write")
    with transaction() as session:
        found = rules.policy(session, id)
        rules.change(session, found, _changed(found, given), by)
        return PolicyOut.of(found)


def _changed(policy: Policy, given: PolicyChange) -> PolicyIn:
    try:
        return rules.with_changes(policy, given.model_dump(exclude_unset=True))
    except ValidationError as error:
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in error.errors()]) from error


@router.delete("/{id}", status_code=204)
def delete(request: Request, id: str) -> None:
    """Delete an imported policy or an endpoint that has no completions or suggestions."""
    by = api_account(request, "write")
    with transaction() as session:
        rules.delete(session, rules.policy(session, id), by)


@router.post("/{id}/try", responses={502: {"description": "The policy did not answer; `detail` says why."}})
def try_(request: Request, id: str, given: TrialIn) -> TrialOut:
    """Ask an endpoint or a trained policy a question; neither question nor answer is saved."""
    api_account(request, "write")
    with reading() as session:
        found = rules.policy(session, id)
    written, seconds = serving.trial(found, given.question)
    return TrialOut(text=written.text, seconds=round(seconds, 3))
