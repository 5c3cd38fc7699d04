"""Admin pages to list, create, change, delete and try policies."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from pydantic import ValidationError

from app.accounts.tables import Account
from app.completions import queries as completions
from app.config import settings
from app.database import reading, transaction
from app.errors import BadInput, NotFound, PlumblineError
from app.kit.i18n import gettext as _
from app.kit.text import TypedText
from app.policies import queries, rules
from app.policies.schemas import PolicyIn
from app.serving import rules as serving
from app.web.auth import admin
from app.web.responses import FormText, page, redirect

router = APIRouter(include_in_schema=False)


def _what_it_is(
    description: Annotated[TypedText, Form(max_length=4000)] = "",
    endpoint_url: Annotated[TypedText, Form(max_length=4000)] = "",
    endpoint_model: FormText = "",
    key_variable: FormText = "",
) -> dict[str, str]:
    """Collect the fields that both forms share: a policy's description, address, model and key variable."""
    return {
        "description": description.strip(),
        "endpoint_url": endpoint_url.strip(),
        "endpoint_model": endpoint_model.strip(),
        "key_variable": key_variable.strip(),
    }


WhatItIs = Annotated[dict[str, str], Depends(_what_it_is)]


@router.get("/admin/policies")
def policies(request: Request) -> Response:
    """List every policy with the number of its completions."""
    account = admin(request)
    with reading() as session:
        found = queries.policies(session)
        counts = completions.count_by_policy(session)
    return page(request, "policies/list.html", account, policies=found, counts=counts)


@router.get("/admin/policies/new")
def new_policy(request: Request) -> Response:
    """Show the form for an imported policy or an endpoint."""
    given = {
        "name": "", "kind": "endpoint", "description": "", "endpoint_url": "", "endpoint_model": "", "key_variable": "",
    }  # fmt: skip
    return _new_page(request, admin(request), given)


def _new_page(request: Request, account: Account, given: dict, error: PlumblineError | None = None):
    status = error.status if error else 200
    keys = settings().endpoint_key_names
    return page(request, "policies/new.html", account, status, given=given, error=error, keys=keys)


@router.post("/admin/policies/new")
def create(request: Request, what: WhatItIs, name: FormText = "", kind: FormText = "imported") -> Response:
    """Create a policy."""
    account = admin(request)
    given = {"name": name, "kind": kind, **what}
    try:
        new = _checked(given)
        with transaction() as session:
            made = rules.create(session, new, account)
    except PlumblineError as error:
        return _new_page(request, account, given, error)
    return redirect(f"/admin/policies/{made.public_id}", _("Created the policy %(name)s.") % {"name": made.name})


def _checked(given: dict[str, str]) -> PolicyIn:
    try:
        return PolicyIn(**{**given, "endpoint_url": given["endpoint_url"] or None})
    except ValidationError as error:
        field = str((error.errors()[0]["loc"] or ["endpoint_url"])[0])
        messages = {
            "name": _("The name must have 1 to 120 characters."),
            "kind": _("Choose imported or endpoint."),
            "description": _("Keep it under 2,000 characters."),
            "endpoint_url": _(
                "An endpoint needs an address, such as http://127.0.0.1:8001/v1, without user name, password or "
                "question mark. Leave address, model and key empty for an imported policy."
            ),
            "endpoint_model": _("The model's name can have at most 200 characters."),
            "key_variable": _("Choose one of the listed variables."),
        }
        raise BadInput(messages[field], field=field) from error


@router.post("/admin/policies/{id}/change")
def change(request: Request, id: str, what: WhatItIs) -> Response:
    """Change a policy's description, address, model or key variable."""
    account = admin(request)
    try:
        with transaction() as session:
            found = rules.policy(session, id)
            rules.change(session, found, _checked({"name": found.name, "kind": found.kind, **what}), account)
    except NotFound:
        raise
    except PlumblineError as error:
        return _policy_page(request, account, id, error.status, changing=(what, error))
    return redirect(f"/admin/policies/{id}", _("Changed the policy %(name)s.") % {"name": found.name})


@router.post("/admin/policies/{id}/delete")
def delete(request: Request, id: str) -> Response:
    """Delete a policy that has no completions or suggestions."""
    account = admin(request)
    with transaction() as session:
        found = rules.policy(session, id)
        rules.delete(session, found, account)
    return redirect("/admin/policies", _("Deleted the policy %(name)s.") % {"name": found.name})


@router.get("/admin/policies/{id}")
def policy(request: Request, id: str) -> Response:
    """Show a policy with its newest completions."""
    return _policy_page(request, admin(request), id)


def _policy_page(
    request: Request,
    account: Account,
    id: str,
    status: int = 200,
    trial: dict | None = None,
    changing: tuple[dict, PlumblineError] | None = None,
):
    with reading() as session:
        found = rules.policy(session, id)
        newest = completions.newest_of_policy(session, found, 20)
        count, prompts = completions.count_by_policy(session).get(found.id, (0, 0))
    return page(
        request,
        "policies/one.html",
        account,
        status,
        policy=found,
        completions=newest,
        count=count,
        prompts=prompts,
        trial=trial,
        given=changing[0] if changing else found,
        error=changing[1] if changing else None,
        keys=settings().endpoint_key_names,
    )


@router.post("/admin/policies/{id}/try")
def try_(request: Request, id: str, question: Annotated[TypedText, Form(max_length=4000)] = "") -> Response:
    """Ask the policy a question and show its answer or error; neither is saved."""
    account = admin(request)
    with reading() as session:
        found = rules.policy(session, id)
    question = question.strip() or _("Hello!")
    try:
        written, seconds = serving.trial(found, question)
    except PlumblineError as error:
        trial = {"question": question, "written": None, "error": error, "seconds": 0.0}
        return _policy_page(request, account, id, error.status, trial)
    trial = {"question": question, "written": written.text, "error": None, "seconds": seconds}
    return _policy_page(request, account, id, 200, trial)
