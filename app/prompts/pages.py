"""The prompt bank for admins, and the page where anybody signed in writes a prompt."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from pydantic import ValidationError
from starlette.datastructures import FormData

from app.accounts.tables import Account, Role
from app.completions import queries as completions
from app.completions import rules as completion_rules
from app.config import settings
from app.database import reading, transaction
from app.errors import BadInput, PlumblineError
from app.guidelines import rules as guidelines
from app.guidelines.defaults import PROMPT_FORM
from app.guidelines.queries import newest_form
from app.guidelines.tables import FormKind
from app.i18n import gettext as _
from app.i18n import ngettext
from app.prompts import messages, queries, rules
from app.prompts.schemas import PromptQuery
from app.prompts.tables import Prompt, PromptSource
from app.web import admin, flash, form_data, page, redirect, signed_in
from training.records import Split, UseCase

router = APIRouter(include_in_schema=False)
PAGE = 50
WRITTEN = {"plain": PromptSource.LABELER_PLAIN, "user-based": PromptSource.LABELER_USER_BASED}
CHOICES = {"splits": list(Split), "use_cases": list(UseCase), "sources": list(PromptSource)}


@router.get("/admin/prompts")
def prompts(request: Request, cursor: str | None = None):
    """The prompt bank, searched and filtered."""
    account = admin(request)
    given = {name: value for name, value in request.query_params.items() if value and name in PromptQuery.model_fields}
    try:
        wanted = PromptQuery(**given)
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        raise BadInput(_("There is no %(field)s “%(value)s”.") % {"field": field, "value": given[field]}) from error
    with reading() as session:
        matching = queries.matching(session, **wanted.filters())
        found, following = queries.page(session, matching, cursor, PAGE)
        count = queries.count(session, matching)
        collections = queries.collections(session)
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
        **CHOICES,
    )


@router.get("/prompts/write")
def write_page(request: Request, kind: str = "plain", pairs: Annotated[int, Query(ge=2, le=50)] = 4):
    """The form for a new prompt."""
    account = signed_in(request)
    return _write_page(request, account, kind, pairs, _given(FormData()))


def _write_page(
    request: Request, account: Account, kind: str, pairs: int, given: dict, error: PlumblineError | None = None
):
    with reading() as session:
        own = queries.page(session, queries.matching(session, owner=_owner(account)), None, 5)[0]
    return page(
        request,
        "prompts/write.html",
        account,
        error.status if error else 200,
        kind=kind if kind in (*WRITTEN, "few-shot") else "plain",
        pairs=max(pairs, len(given["pairs"])),
        given=given,
        error=error,
        own=own,
        max_tokens=messages.MAX_TOKENS,
        use_cases=CHOICES["use_cases"],
    )


def _owner(account: Account) -> str:
    return f"labeler {account.username}"


def _given(form: FormData) -> dict:
    pairs = [
        (str(given), str(completion))
        for given, completion in zip(form.getlist("input"), form.getlist("output"), strict=False)
    ]
    return {
        "prompt": str(form.get("prompt", "")),
        "instruction": str(form.get("instruction", "")),
        "use_case": str(form.get("use_case", "")),
        "collection": str(form.get("collection", "")),
        "pairs": [pair for pair in pairs if any(text.strip() for text in pair)],
    }


@router.post("/prompts/write")
def write(request: Request, form: Annotated[FormData, Depends(form_data)]):
    """Store a prompt, or the K prompts of K pairs."""
    account = signed_in(request)
    kind, given = str(form.get("kind", "plain")), _given(form)
    if more := str(form.get("more", "")):
        pairs = min(int(more), 50) if more.isdecimal() and len(more) < 4 else 4
        return _write_page(request, account, kind, pairs, given)
    try:
        made = _write(account, kind, given)
    except PlumblineError as error:
        return _write_page(request, account, kind, 4, given, error)
    response = redirect(f"/prompts/write?kind={kind}")
    flash(response, ngettext("Saved. Thank you.", "%(num)d prompts saved. Thank you.", made) % {"num": made})
    return response


def _write(account: Account, kind: str, given: dict) -> int:
    shared = {
        "use_case": _use_case(given["use_case"]),
        "owner": _owner(account),
        "collection": given["collection"].strip()[:120] if account.role is Role.ADMIN else "",
        "written_by": account,
    }
    if kind == "few-shot":
        with transaction() as session:
            pairs = given["pairs"]
            made = completion_rules.write_few_shot(session, instruction=given["instruction"], pairs=pairs, **shared)
            return len(made)
    if kind not in WRITTEN:
        raise BadInput(_("There is no kind “%(kind)s” of prompts.") % {"kind": kind}, field="kind")
    text = messages.clean_text(given["prompt"], "prompt")
    with transaction() as session:
        rules.add(session, messages=[{"role": "user", "text": text}], source=WRITTEN[kind], filters=True, **shared)
        return 1


def _use_case(value: str) -> UseCase | None:
    try:
        return UseCase(value) if value else None
    except ValueError as error:
        raise BadInput(_("There is no use case “%(value)s”.") % {"value": value}, field="use_case") from error


@router.get("/admin/prompts/{id}")
def prompt(request: Request, id: str):
    """One prompt with its completions and what is known about it."""
    account = admin(request)
    with reading() as session:
        found = rules.prompt(session, id)
        written = completions.of_prompt(session, found)
        form = newest_form(session, FormKind.PROMPT)
        questions = guidelines.questions(form) if form else PROMPT_FORM
    return page(
        request,
        "prompts/one.html",
        account,
        prompt=found,
        completions=written,
        questions=questions,
        tokens=messages.tokens(messages.canonical(found.messages)),
        estimated=not settings().tokenizer,
        use_cases=CHOICES["use_cases"],
    )


@router.post("/admin/prompts/{id}")
def describe(request: Request, id: str, form: Annotated[FormData, Depends(form_data)]):
    """Save what is known about a prompt."""
    account = admin(request)
    answers = {question.name: form.get(question.name) == "yes" for question in PROMPT_FORM if form.get(question.name)}
    with transaction() as session:
        found = rules.prompt(session, id)
        rules.describe(session, found, use_case=_use_case(str(form.get("use_case", ""))), answers=answers, by=account)
    return _back(found, _("Saved."))


@router.post("/admin/prompts/{id}/withdraw")
def withdraw(request: Request, id: str):
    """Take a prompt out of lists and new rounds."""
    account = admin(request)
    with transaction() as session:
        found = rules.prompt(session, id)
        rules.withdraw(session, found, account)
    return _back(found, _("Withdrawn: new rounds leave it out; what was answered for it stays."))


@router.post("/admin/prompts/{id}/restore")
def restore(request: Request, id: str):
    """Undo a withdrawal."""
    account = admin(request)
    with transaction() as session:
        found = rules.prompt(session, id)
        rules.restore(session, found, account)
    return _back(found, _("It is back."))


def _back(prompt: Prompt, note: str):
    response = redirect(f"/admin/prompts/{prompt.public_id}")
    flash(response, note)
    return response
