"""Policies for admins: what there is, what they wrote, and making one by hand."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from pydantic import ValidationError

from app.completions import queries as completions
from app.database import reading, transaction
from app.errors import BadInput, PlumblineError
from app.i18n import gettext as _
from app.policies import queries, rules
from app.policies.schemas import PolicyIn
from app.web import Text, admin, flash, page, redirect

router = APIRouter(include_in_schema=False)


@router.get("/admin/policies")
def policies(request: Request):
    """Every policy and how much it wrote."""
    account = admin(request)
    with reading() as session:
        found = queries.policies(session)
        counts = completions.count_by_policy(session)
    return page(request, "policies/list.html", account, policies=found, counts=counts)


@router.get("/admin/policies/new")
def new_policy(request: Request):
    """The form for an imported policy or an endpoint."""
    given = {"name": "", "kind": "endpoint", "description": "", "endpoint_url": ""}
    return page(request, "policies/new.html", admin(request), given=given, error=None)


@router.post("/admin/policies/new")
def create(
    request: Request,
    name: Text = "",
    kind: Text = "imported",
    description: Annotated[str, Form(max_length=4000)] = "",
    endpoint_url: Annotated[str, Form(max_length=4000)] = "",
):
    """Make a policy."""
    account = admin(request)
    given = {"name": name, "kind": kind, "description": description.strip(), "endpoint_url": endpoint_url.strip()}
    try:
        new = _checked(given)
        with transaction() as session:
            made = rules.create(session, new, account)
    except PlumblineError as error:
        return page(request, "policies/new.html", account, error.status, given=given, error=error)
    response = redirect(f"/admin/policies/{made.public_id}")
    flash(response, _("Made the policy %(name)s.") % {"name": made.name})
    return response


def _checked(given: dict[str, str]) -> PolicyIn:
    try:
        return PolicyIn(**{**given, "endpoint_url": given["endpoint_url"] or None})
    except ValidationError as error:
        field = str((error.errors()[0]["loc"] or ["endpoint_url"])[0])
        messages = {
            "name": _("A name has 1 to 120 characters."),
            "kind": _("Choose imported or endpoint."),
            "description": _("Keep it under 2,000 characters."),
            "endpoint_url": _("An endpoint, and nothing else, has an address such as http://127.0.0.1:8001/v1."),
        }
        raise BadInput(messages[field], field=field) from error


@router.get("/admin/policies/{id}")
def policy(request: Request, id: str):
    """One policy with the newest of its completions."""
    account = admin(request)
    with reading() as session:
        found = rules.policy(session, id)
        newest = completions.newest_of_policy(session, found, 20)
        count, prompts = completions.count_by_policy(session).get(found.id, (0, 0))
    return page(request, "policies/one.html", account, policy=found, completions=newest, count=count, prompts=prompts)
