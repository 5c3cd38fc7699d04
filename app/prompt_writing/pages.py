"""Pages on which labelers write prompts and admins call for them."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.datastructures import FormData

from app.accounts.tables import Account
from app.config import settings
from app.database import reading, transaction
from app.errors import BadInput, Conflict, PlumblineError
from app.kit.clock import time_of_day
from app.kit.i18n import gettext as _
from app.kit.i18n import ngettext
from app.prompt_writing import rules as writing
from app.prompt_writing import submitting
from app.prompt_writing.schemas import FewShotExample, WritingCallIn, WritingContent
from app.prompt_writing.tables import WRITTEN, Writing
from app.prompts import messages
from app.prompts.rules import prompt
from app.prompts.tables import PromptSource
from app.web.auth import admin, signed_in
from app.web.responses import flash, form_data, page, redirect
from training.contract.records import UseCase

router = APIRouter(include_in_schema=False)
Posted = Annotated[FormData, Depends(form_data)]
PAIRS = 3  # shown for a new few-shot prompt


@router.get("/prompts/write")
def writings(request: Request) -> Response:
    """Show the open calls and the labeler's own writings."""
    account = signed_in(request)
    with reading() as session:
        wanted = writing.calls(session, only_open=True)
        own = writing.own(session, account)
    return page(request, "prompt_writing/writings.html", account, wanted=wanted, own=own)


@router.post("/prompts/write")
def begin(request: Request, form: Posted) -> Response:
    """Start a writing for a call, or resume the labeler's draft for it."""
    account = signed_in(request)
    with transaction() as session:
        made = writing.begin(session, writing.find_call(session, str(form.get("call", ""))), account)
    return redirect(f"/prompts/write/{made.public_id}")


@router.get("/prompts/write/{id}")
def piece(request: Request, id: str, pairs: int = 0) -> Response:
    """Show one writing: its editor, or the prompts that it became."""
    account = signed_in(request)
    with reading() as session:
        found = writing.find(session, id, account)
        made = writing.prompts_of(session, found)
    if found.submitted_at:
        return page(request, "prompt_writing/written.html", account, piece=found, content=_content(found), prompts=made)
    return _editor(request, account, found, _content(found), pairs=pairs)


def _content(found: Writing) -> WritingContent:
    return WritingContent.model_validate(found.content)


def _editor(
    request: Request,
    account: Account,
    found: Writing,
    content: WritingContent,
    *,
    pairs: int = 0,
    error: PlumblineError | None = None,
) -> Response:
    rows = max(min(pairs, 50), PAIRS, len(content.pairs))
    shown = [*content.pairs, *(FewShotExample() for _row in range(rows - len(content.pairs)))]
    length, over = _length(content)
    return page(
        request,
        "prompt_writing/write.html",
        account,
        error.status if error else 200,
        piece=found,
        content=content,
        pairs=shown,
        error=error,
        alike=isinstance(error, submitting.Alike),
        length=length,
        over=over,
        use_cases=list(UseCase),
    )


def _length(content: WritingContent) -> tuple[str, bool]:
    """Return the prompt's length in tokens, as a phrase for its writer, and whether it is too long."""
    tokens = messages.count_tokens([content.text], settings().tokenizer)
    said = _("%(n)d of %(limit)d tokens") if settings().tokenizer else _("about %(n)d of %(limit)d tokens (estimated)")
    return said % {"n": tokens, "limit": messages.MAX_TOKENS}, tokens > messages.MAX_TOKENS


def _given(form: FormData) -> WritingContent:
    sides = zip(form.getlist("input"), form.getlist("completion"), strict=False)
    pairs = [FewShotExample(input=str(given), completion=str(answer)) for given, answer in sides]
    try:
        return WritingContent(
            text=str(form.get("text", "")),
            instruction=str(form.get("instruction", "")),
            pairs=[pair for pair in pairs if pair],
            use_case=str(form.get("use_case", "")) or None,
        )
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise BadInput(_("A text can have at most 20,000 characters; shorten %(field)s.") % {"field": where}) from error


def _version(form: FormData) -> int:
    given = str(form.get("version", ""))
    return int(given) if given.isdecimal() and len(given) < 10 else -1


@router.post("/prompts/write/{id}/draft")
def keep(request: Request, id: str, form: Posted) -> Response:
    """Save a draft; a script gets JSON, a form its page with room for two more pairs if it asks."""
    account = signed_in(request)
    script = request.headers.get("accept", "").startswith("application/json")
    given = _given(form)
    try:
        with transaction() as session:
            found = writing.save(session, writing.find(session, id, account), given, _version(form))
            saved = _("Saved %(time)s") % {"time": time_of_day(found.updated_at)}
    except Conflict as conflict:
        if script:
            return JSONResponse({"detail": conflict.message, "current": conflict.current}, 409)
        return _again(request, account, id, given, conflict)
    if script:
        length, over = _length(given)
        return JSONResponse({"version": found.version, "saved": saved, "length": length, "over": over})
    more = str(form.get("more", ""))
    response = redirect(
        f"/prompts/write/{id}" + (f"?pairs={quote(more)}" if more.isdecimal() and len(more) < 3 else "")
    )
    flash(response, saved)
    return response


def _again(request: Request, account: Account, id: str, given: WritingContent, error: PlumblineError) -> Response:
    with reading() as session:
        found = writing.find(session, id, account)
    return _editor(request, account, found, given, error=error)


@router.post("/prompts/write/{id}/submit")
def submit(request: Request, id: str, form: Posted) -> Response:
    """Submit a writing; if a similar prompt exists, ask for confirmation first."""
    account = signed_in(request)
    given = _given(form)
    try:
        with transaction() as session:
            found = writing.find(session, id, account)
            alike = form.get("alike") == "yes"
            made = len(submitting.hand_in(session, found, account, given, version=_version(form), alike=alike))
    except PlumblineError as error:
        if error.status not in (409, 422):
            raise
        with transaction() as session:
            found = writing.find(session, id, account)
            if found.submitted_at is None and found.version == _version(form):
                writing.save(session, found, given, found.version)
        return _again(request, account, id, given, error)
    return redirect(
        "/prompts/write",
        ngettext("Submitted. Thank you.", "Submitted as %(num)d prompts. Thank you.", made) % {"num": made},
    )


@router.post("/prompts/write/{id}/discard")
def discard(request: Request, id: str) -> Response:
    """Discard a draft."""
    account = signed_in(request)
    with transaction() as session:
        writing.discard(session, writing.find(session, id, account))
    return redirect("/prompts/write", _("Draft discarded."))


# --- Admins ---


@router.get("/admin/prompts/wanted")
def wanted(request: Request) -> Response:
    """Show the calls for prompts and their progress."""
    return _wanted_page(request, {"kind": PromptSource.LABELER_PLAIN, "use": "", "wanted": "50", "collection": ""})


def _wanted_page(request: Request, given: dict, error: PlumblineError | None = None) -> Response:
    account = admin(request)
    with reading() as session:
        found = writing.calls(session, only_open=False)
    status = error.status if error else 200
    return page(
        request, "prompt_writing/wanted.html", account, status, calls=found, given=given, error=error, kinds=WRITTEN
    )


@router.post("/admin/prompts/wanted")
def call(request: Request, form: Posted) -> Response:
    """Ask labelers for prompts."""
    account = admin(request)
    given = {name: str(form.get(name, "")).strip() for name in ("kind", "use", "wanted", "collection")}
    try:
        with transaction() as session:
            writing.call(session, _checked(given), account)
    except PlumblineError as error:
        return _wanted_page(request, given, error)
    return redirect("/admin/prompts/wanted", _("Request created. Labelers see it under “Write a prompt”."))


def _checked(given: dict[str, str]) -> WritingCallIn:
    try:
        return WritingCallIn(**{name: value for name, value in given.items() if value})
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        said = {
            "kind": _("Choose one of the three kinds."),
            "wanted": _("The number of prompts must be from 1 to 100,000."),
            "collection": _("The collection's name can have at most 120 characters."),
            "use": _("The description can have at most 20,000 characters."),
        }
        raise BadInput(said[field], field=field) from error


@router.post("/admin/prompts/wanted/{id}/close")
def close(request: Request, id: str) -> Response:
    """Close a call: no more prompts are wanted."""
    account = admin(request)
    with transaction() as session:
        writing.close(session, writing.find_call(session, id), account)
    return redirect("/admin/prompts/wanted")


@router.post("/admin/prompts/{id}/withdraw-piece")
def withdraw_piece(request: Request, id: str) -> Response:
    """Withdraw all prompts of the writing that this prompt came from."""
    account = admin(request)
    with transaction() as session:
        found = prompt(session, id)
        count = (
            writing.withdraw(session, session.get_one(Writing, found.writing_id), account) if found.writing_id else 0
        )
    return redirect(
        f"/admin/prompts/{id}",
        ngettext("%(num)d prompt withdrawn.", "%(num)d prompts withdrawn.", count) % {"num": count},
    )
