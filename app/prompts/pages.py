"""Admin pages of the prompt bank."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ValidationError
from starlette.datastructures import FormData

from app.completions import queries as completions
from app.config import settings
from app.database import reading, transaction
from app.errors import BadInput
from app.guidelines import rules as guidelines
from app.guidelines.defaults import PROMPT_FORM
from app.guidelines.queries import newest_form
from app.guidelines.tables import FormKind
from app.kit import cursors
from app.kit.i18n import gettext as _
from app.kit.text import Text
from app.prompts import findings, messages, queries, rules
from app.prompts.findings import Shown
from app.prompts.schemas import PromptQuery
from app.prompts.tables import Prompt, PromptSource
from app.web.auth import admin
from app.web.responses import form_data, page, redirect
from training.contract.records import Split, UseCase

router = APIRouter(include_in_schema=False)
PAGE = 50


@router.get("/admin/prompts")
def prompts(request: Request, cursor: Text | None = None) -> Response:
    """List prompts, searched and filtered."""
    account = admin(request)
    given = {name: value for name, value in request.query_params.items() if value and name in PromptQuery.model_fields}
    try:
        wanted = PromptQuery(**given)
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        if error.errors()[0]["type"] == "string_too_long":
            raise BadInput(f"{field}: {error.errors()[0]['msg']}", field=field) from error
        raise BadInput(_("“%(value)s” is not a valid %(field)s.") % {"field": field, "value": given[field]}) from error
    with reading() as session:
        matching = queries.matching(session, q=wanted.q, withdrawn=wanted.withdrawn, columns=wanted.columns())
        found, following = cursors.page(session, matching, Prompt, cursor, PAGE)
        count = queries.count(session, matching)
        collections, languages = queries.collections(session), queries.languages(session)
        waiting = sum(findings.counts(session).values())
    return page(
        request,
        "prompts/list.html",
        account,
        prompts=found,
        wanted=wanted,
        filtered=bool(given),
        address=urlencode(given),
        following=following,
        count=count,
        collections=collections,
        written_in=languages,
        waiting=waiting,
        splits=list(Split),
        use_cases=list(UseCase),
        sources=list(PromptSource),
    )


def _use_case(value: str) -> UseCase | None:
    try:
        return UseCase(value) if value else None
    except ValueError as error:
        raise BadInput(_("“%(value)s” is not a valid use case.") % {"value": value}, field="use_case") from error


@router.get("/admin/prompts/{id}")
def prompt(request: Request, id: str) -> Response:
    """Show a prompt with its completions, near-duplicates, personal data and answers."""
    account = admin(request)
    with reading() as session:
        found = rules.prompt(session, id)
        written = completions.of_prompt(session, found)
        near, personal = queries.near(session, found), findings.of_prompt(session, found)
        form = newest_form(session, FormKind.PROMPT)
        questions = guidelines.questions(form) if form else PROMPT_FORM
    return page(
        request,
        "prompts/one.html",
        account,
        prompt=found,
        completions=written,
        near=near,
        personal=[Shown.of(one) for one in personal],
        questions=questions,
        tokens=messages.tokens(messages.canonical(found.messages)),
        estimated=not settings().tokenizer,
        use_cases=list(UseCase),
    )


@router.post("/admin/prompts/{id}")
def describe(request: Request, id: str, form: Annotated[FormData, Depends(form_data)]) -> Response:
    """Save a prompt's use case and answers."""
    account = admin(request)
    answers = {question.name: form.get(question.name) == "yes" for question in PROMPT_FORM if form.get(question.name)}
    with transaction() as session:
        found = rules.prompt(session, id)
        rules.describe(session, found, use_case=_use_case(str(form.get("use_case", ""))), answers=answers, by=account)
    return _back(found, _("Saved."))


@router.post("/admin/prompts/{id}/withdraw")
def withdraw(request: Request, id: str) -> Response:
    """Withdraw a prompt from lists and new rounds."""
    account = admin(request)
    with transaction() as session:
        found = rules.prompt(session, id)
        rules.withdraw(session, found, account)
    return _back(found, _("Prompt withdrawn. New rounds leave it out; existing answers stay."))


@router.post("/admin/prompts/{id}/restore")
def restore(request: Request, id: str) -> Response:
    """Restore a withdrawn prompt."""
    account = admin(request)
    with transaction() as session:
        found = rules.prompt(session, id)
        rules.restore(session, found, account)
    return _back(found, _("Prompt restored."))


def _back(prompt: Prompt, note: str):
    return redirect(f"/admin/prompts/{prompt.public_id}", note)
