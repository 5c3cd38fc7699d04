"""Task pages. Each step is a post that saves the draft; scripts post the same forms and get JSON."""

import secrets
from functools import partial
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from app.accounts.tables import Account
from app.assignments import changes, drafts, queries, rules, slots
from app.assignments.locks import one_at_a_time
from app.assignments.queries import LabelerState
from app.assignments.tables import SkipReason
from app.config import settings
from app.database import reading, transaction
from app.demonstrations.schemas import DemonstrationContent
from app.demonstrations.writing import beside
from app.desk.form_posts import (
    acting,
    active_seconds,
    choose_round,
    chosen_round,
    from_script,
    keep,
    kept_for_later,
    posting_labeler,
    seen_version,
    to_message,
)
from app.desk.submit import submit as submit_answer
from app.desk.task_view import Work, find_work, stands_as
from app.errors import BadInput, Conflict, NotFound, PlumblineError
from app.guidelines.forms import letters
from app.guidelines.rules import NotRead
from app.kit.clock import time_of_day
from app.kit.i18n import gettext as _
from app.kit.text import Text, TypedText
from app.rounds.tables import ONBOARDING, ItemKind
from app.web.auth import signed_in
from app.web.quick import quick, run_quickly
from app.web.responses import TextForm, flash, page, redirect, text_form

router = APIRouter(include_in_schema=False)
Posted = Annotated[TextForm, Depends(text_form)]


# --- The next task ---


@router.post("/assignments/next")
@quick
def next_assignment(request: Request, round: Annotated[TypedText | None, Form(max_length=400)] = None) -> Response:
    """Go to the next task, or to the desk if none is left; `round` is a number, empty (all) or absent (as before)."""
    labeler = acting(request)
    if round is None:
        return _to_next(request, labeler, chosen_round(request, labeler))
    return _to_next(request, labeler, int(round) if round.isdecimal() and len(round) < 10 else None)


def _to_next(
    request: Request, labeler: Account, round: int | None, note: str = "", undo: str | None = None
) -> Response:
    nothing = _("No more tasks to do.")
    try:
        with transaction() as session:
            claimed = rules.claim(session, labeler, round)
            stands = stands_as(claimed) if claimed else None
    except NotRead as unread:
        response = _go(request, f"/guidelines/{unread.public_id}/changes", f"{note} {unread.message}".strip())
        choose_round(request, response, labeler, round)
        return response
    except NotFound as unknown:  # the round is not open to this labeler, or no longer
        claimed, stands, nothing, round = None, None, unknown.message, None
    if claimed is not None:
        response = _go(request, f"/assignments/{claimed.public_id}", note, stands=stands, undo=undo)
    else:
        if round is not None:
            nothing = _("No more tasks to do in round %(number)s.") % {"number": round}
        response, round = _go(request, "/", f"{note} {nothing}".strip()), None
    choose_round(request, response, labeler, round)
    return response


def _go(request: Request, url: str, note: str, **told: str | None) -> Response:
    """Redirect with a note; a script gets the address as JSON, and the note with it if a task follows."""
    response: Response
    if not from_script(request):
        response = redirect(url)
    elif url.startswith("/assignments/"):
        return JSONResponse({"next": url, "note": note, **told})
    else:
        response = JSONResponse({"next": url})
    if note:
        flash(response, note)
    return response


# --- One task ---


@router.get("/assignments/{id}")
@quick
def assignment(request: Request, id: str, at: Text = "") -> Response:
    """Show a task; `at` is a letter or `ranking`."""
    return _show(request, signed_in(request), id, at)


def _show(
    request: Request, labeler: Account, id: str, at: str = "", status: int = 200, error: PlumblineError | None = None
):
    with reading() as session:
        work = find_work(session, id, labeler)
        undo = changes.undoable(session, labeler)
        submitted = work.standing is LabelerState.SUBMITTED
        extra = submitted and queries.filled_slot(session, work.assignment.item_id, labeler.id) is None
    context: dict[str, object] = {
        "work": work,
        "content": work.content,
        "error": error,
        "key": secrets.token_hex(8),
        "flag_keys": letters(work.flags),
        "lease_seconds": settings().lease_minutes * 60,
        "reasons": _reasons(),
        "stands": stands_as(work.assignment),
        "may_change": changes.may_change(work.assignment),
        "undo": undo,
        "extra": extra,
    }
    if work.standing is LabelerState.SUBMITTED and work.assignment.item.round.purpose in ONBOARDING:
        return redirect(f"/onboarding/exercises/{id}")
    if work.standing is not LabelerState.SUBMITTED and work.warns:
        return page(request, "desk/warning.html", labeler, work=work)
    if work.standing is LabelerState.SUBMITTED:
        return page(request, "desk/submitted.html", labeler, status, **context)
    if isinstance(work.content, DemonstrationContent):
        context |= beside(work.content, work.assignment.item.round)
        return page(request, "demonstrations/write.html", labeler, status, **context)
    if work.kind is ItemKind.CONVERSATION:
        return page(request, "conversations/write.html", labeler, status, at=at, **context)
    if at not in (*work.letters, "ranking"):
        at = work.left[0] if work.left else "ranking"
    template = "comparisons/rank.html" if at == "ranking" else "comparisons/rate.html"
    return page(request, template, labeler, status, at=at, **context)


def _reasons() -> dict[SkipReason, str]:
    return {
        SkipReason.UNCLEAR: _("The task is unclear"),
        SkipReason.NEEDS_EXPERTISE: _("It needs knowledge I do not have"),
        SkipReason.HARMFUL: _("I would rather not read this"),
        SkipReason.BROKEN: _("Something is broken"),
        SkipReason.OTHER: _("Another reason"),
    }


@router.post("/assignments/{id}/draft")
async def keep_draft(request: Request, id: str, form: Posted) -> Response:
    """Save a step as the draft and go to the next one; a script gets the outcome as JSON."""
    waits = form.get("do") == "suggest"  # for a policy to answer
    return await (run_in_threadpool if waits else run_quickly)(partial(_keep_draft, request, id, form))


def _keep_draft(request: Request, id: str, form: TextForm) -> Response:
    labeler, hindrance = posting_labeler(request)
    for_script = from_script(request)
    if hindrance:
        response = kept_for_later(request, labeler, id, form, hindrance)
        sign_in = response.headers.get("location")
        return JSONResponse({"sign_in": sign_in}, 401) if for_script and sign_in else response
    try:
        with transaction() as session:
            work, saved = keep(session, labeler, id, form)
    except Conflict as conflict:
        if for_script:
            return _told(conflict)
        return _show_conflict(request, labeler, id, form, conflict)
    if for_script:
        return JSONResponse(
            {
                "version": saved.version,
                "saved": _("Saved %(time)s") % {"time": time_of_day(saved.at)},
                "lost": rules.why_lost(work.assignment) if work.standing is LabelerState.LOST else None,
            }
        )
    return _to_step(labeler, id, work, form, saved)


def _to_step(labeler: Account, id: str, work: Work, form: TextForm, saved: drafts.Saved) -> Response:
    """Redirect to where the form's button leads: `do` is go_on, save, or at:<letter or ranking>."""
    at, do = form.get("rated", ""), form.get("do", "save")
    note = ""
    if work.kind is ItemKind.CONVERSATION and do != "save":
        return to_message(labeler, id, do, form.get("text", ""))
    if do == "go_on" and not form.get(f"rating.{at}"):
        note = _("Rate the completion from 1 to 7, then continue.")
    elif do == "go_on":
        left = work.left_in(work.with_form(form))
        at = next((letter for letter in left if letter > at), left[0] if left else "ranking")
    elif do.startswith("at:"):
        at = do.removeprefix("at:")
    else:
        at = at or "ranking"
        note = _("Saved %(time)s") % {"time": time_of_day(saved.at)}
    response = redirect(
        f"/assignments/{id}?at={quote(at)}" if work.kind is ItemKind.COMPARISON else f"/assignments/{id}"
    )
    if note:
        flash(response, note)
    return response


@router.post("/assignments/{id}/submit")
@quick
def submit(request: Request, id: str, form: Posted) -> Response:
    """Submit the task, then go to the next one unless the button says otherwise."""
    labeler, hindrance = posting_labeler(request)
    if hindrance:
        return kept_for_later(request, labeler, id, form, hindrance)
    try:
        with transaction() as session:
            one_at_a_time(session, labeler)
            work = find_work(session, id, labeler, keeps_round=True)
            stored = submit_answer(
                session,
                work.assignment,
                labeler,
                work.with_form(form),
                key=form.get("key", ""),
                version=seen_version(form),
                active_seconds=active_seconds(form),
            )
    except Conflict as conflict:
        if conflict.current is None:  # the round closed during an edit: the submission remains, the edit is a draft
            return _kept_as_draft(request, labeler, id, form, conflict)
        if from_script(request):
            return _told(conflict)
        return _show_conflict(request, labeler, id, form, conflict)
    except BadInput as error:
        return _kept_as_draft(request, labeler, id, form, error)
    note = _("Submitted.")
    if stored.surplus:
        note = _(
            "Submitted and kept as an extra answer: others had already answered this task, or its round had closed."
        )
    elif work.standing is LabelerState.EDITING:
        note = _("Submitted again; the earlier version is kept in the history.")
    if work.assignment.item.round.purpose in ONBOARDING:
        return _go(request, f"/onboarding/exercises/{id}", note)
    if form.get("do") == "stop":
        with transaction() as session:
            slots.give_back(session, labeler)
        return _go(request, "/", note)
    first = work.standing is not LabelerState.EDITING and changes.may_change(work.assignment)
    undo = f"/assignments/{id}/undo" if first and not stored.surplus else None
    return _to_next(request, labeler, chosen_round(request, labeler), note, undo)


def _kept_as_draft(request: Request, labeler: Account, id: str, form: TextForm, error: PlumblineError) -> Response:
    with transaction() as session:
        _work, saved = keep(session, labeler, id, form, force=True)
    if from_script(request):
        return JSONResponse({"detail": error.message, "field": error.field, "version": saved.version}, error.status)
    return _show(request, labeler, id, "ranking", error.status, error)


def _told(conflict: Conflict) -> Response:
    return JSONResponse({"detail": conflict.message, "current": conflict.current}, 409)


def _show_conflict(request: Request, labeler: Account, id: str, form: TextForm, conflict: Conflict) -> Response:
    """Show both versions side by side; nothing is lost and nothing is decided."""
    with reading() as session:
        work = find_work(session, id, labeler)
    action = "submit" if request.url.path.endswith("/submit") else "draft"
    resent = [(name, value) for name, value in form.multi_items() if name not in ("csrf_token", "version")]
    return page(
        request,
        "desk/conflict.html",
        labeler,
        conflict.status,
        work=work,
        yours=work.with_form(form),
        message=conflict.message,
        resent=resent,
        action=action,
    )


@router.post("/assignments/{id}/skip")
@quick
def skip(request: Request, id: str, form: Posted) -> Response:
    """Skip the task; what was written stays as a draft."""
    labeler, hindrance = posting_labeler(request)
    if hindrance:
        return kept_for_later(request, labeler, id, form, hindrance)
    try:
        if form.get("reason") not in set(SkipReason):
            raise BadInput(_("Choose a reason for skipping."), field="reason")
        with transaction() as session:
            work, _saved = keep(session, labeler, id, form, force=True)
            rules.skip(session, work.assignment, labeler, SkipReason(form["reason"]), form.get("note", ""))
    except BadInput as error:
        return _kept_as_draft(request, labeler, id, form, error)
    if work.assignment.item.round.purpose in ONBOARDING:
        return _go(request, "/onboarding", "")
    note, undo = _("Skipped; you will not see this task again."), f"/assignments/{id}/resume"
    return _to_next(request, labeler, chosen_round(request, labeler), note, undo)


@router.post("/assignments/{id}/show")
@quick
def show_sensitive(request: Request, id: str) -> Response:
    """Show a sensitive prompt to a labeler who was warned."""
    labeler = acting(request)
    with transaction() as session:
        rules.show_sensitive(session, queries.assignment(session, id, labeler), labeler)
    return redirect(f"/assignments/{id}")


@router.post("/assignments/{id}/resume")
@quick
def resume(request: Request, id: str) -> Response:
    """Resume an unfinished task."""
    labeler = acting(request)
    taken, note = None, _("Somebody else has this task now. What you wrote is here; you can still submit it.")
    try:
        with transaction() as session:
            taken = rules.resume(session, queries.assignment(session, id, labeler), labeler)
    except Conflict as refused:
        note = refused.message
    response = redirect(f"/assignments/{taken.public_id if taken else id}")
    if taken is None:
        flash(response, note)
    return response


@router.post("/assignments/{id}/heartbeat")
@quick
def heartbeat(request: Request, id: str, fence: Annotated[int, Form(ge=0, le=2**31 - 1)]) -> Response:
    """Renew the lease when a script reports that the labeler is still working."""
    labeler = acting(request)
    try:
        with transaction() as session:
            rules.heartbeat(session, queries.assignment(session, id, labeler), labeler, fence)
    except Conflict as lost:
        return JSONResponse({"detail": lost.message}, 409)
    return Response(status_code=204)
