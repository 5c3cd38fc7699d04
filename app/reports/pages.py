"""Pages on which labelers write and read reports, and admins reply to them."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import JSONResponse

from app.accounts.tables import Account
from app.assignments import queries as assignments
from app.database import reading, transaction
from app.desk.form_posts import from_script, keep, kept_for_later, posting_labeler
from app.errors import BadInput
from app.kit.i18n import gettext as _
from app.kit.text import Text, TypedText
from app.reports import queries, rules
from app.web.auth import admin, signed_in
from app.web.responses import FormText, TextForm, page, redirect, text_form

router = APIRouter(include_in_schema=False)
PAGE = 50
Posted = Annotated[TextForm, Depends(text_form)]
Written = Annotated[TypedText, Form(max_length=20_000)]


# --- Labelers ---


@router.post("/assignments/{id}/report")
def make(request: Request, id: str, form: Posted) -> Response:
    """Report a problem with a task; the draft is saved, and work on it can continue."""
    labeler, hindrance = posting_labeler(request)
    if hindrance:
        return kept_for_later(request, labeler, id, form, hindrance)
    try:
        with transaction() as session:
            found = assignments.assignment(session, id, labeler)
            draft = assignments.draft(session, found, labeler)
            version = draft.version
            if assignments.labeler_state(found, labeler, draft) is not assignments.LabelerState.SUBMITTED:
                version = keep(session, labeler, id, form, force=True)[1].version
            rules.make(session, found, labeler, form.get("problem", ""))
    except BadInput as error:
        if from_script(request):
            return JSONResponse({"detail": error.message}, error.status)
        return redirect(f"/assignments/{id}", error.message)
    note = _("Report sent. The reply will appear on your desk. Continue with the task, or skip it.")
    if from_script(request):
        return JSONResponse({"note": note, "version": version})
    return redirect(f"/assignments/{id}", note)


@router.get("/reports")
def own(request: Request, cursor: Text | None = None) -> Response:
    """List the labeler's own reports, newest first."""
    labeler = signed_in(request)
    with reading() as session:
        found, following = queries.page(session, cursor, PAGE, labeler=labeler)
    return page(request, "reports/mine.html", labeler, found=found, following=following)


@router.get("/reports/{id}")
def own_report(request: Request, id: str) -> Response:
    """Show one of the labeler's own reports with its replies."""
    return _own(request, signed_in(request), id)


def _own(request: Request, labeler: Account, id: str, error: BadInput | None = None, text: str = ""):
    with reading() as session:
        found = queries.report(session, id, labeler)
    return page(
        request, "reports/one.html", labeler, error.status if error else 200, found=found, error=error, text=text
    )


@router.post("/reports/{id}")
def add(request: Request, id: str, text: Written = "") -> Response:
    """Add a message to one of the labeler's own reports."""
    labeler = signed_in(request)
    try:
        with transaction() as session:
            rules.add(session, queries.report(session, id, labeler), labeler, text)
    except BadInput as error:
        return _own(request, labeler, id, error, text)
    return redirect(f"/reports/{id}")


@router.post("/reports/{id}/seen")
def see(request: Request, id: str) -> Response:
    """Mark the reply as read, which removes it from the desk."""
    labeler = signed_in(request)
    with transaction() as session:
        rules.see(session, queries.report(session, id, labeler))
    return redirect("/")


# --- Admins ---


@router.get("/admin/reports")
def reports(request: Request, show: Text = "open", cursor: Text | None = None) -> Response:
    """List reports, newest first."""
    account = admin(request)
    resolved = {"open": False, "resolved": True}.get(show)
    with reading() as session:
        found, following = queries.page(session, cursor, PAGE, resolved=resolved)
    return page(request, "reports/admin.html", account, found=found, following=following, show=show)


@router.get("/admin/reports/{id}")
def report(request: Request, id: str) -> Response:
    """Show one report with its item."""
    return _one(request, admin(request), id)


def _one(request: Request, account: Account, id: str, error: BadInput | None = None, text: str = ""):
    with reading() as session:
        found = queries.report(session, id)
    return page(
        request, "reports/admin_one.html", account, error.status if error else 200, found=found, error=error, text=text
    )


@router.post("/admin/reports/{id}/reply")
def reply(request: Request, id: str, text: Written = "", then: FormText = "") -> Response:
    """Reply to a report, and resolve it if that button was pressed."""
    account = admin(request)
    try:
        with transaction() as session:
            found = queries.report(session, id)
            if text.strip() or then != "resolve":
                rules.reply(session, found, account, text)
            if then == "resolve":
                rules.resolve(session, found, account)
    except BadInput as error:
        return _one(request, account, id, error, text)
    return redirect(
        f"/admin/reports/{id}", _("Resolved.") if then == "resolve" else _("Reply sent. It is on the labeler's desk.")
    )
