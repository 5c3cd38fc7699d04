"""Reports over REST: a labeler's own with the scope `work`, all reports for admins."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from app.assignments import queries as assignments
from app.database import reading, transaction
from app.kit.text import Text
from app.reports import queries, rules
from app.reports.schemas import OwnReportOut, OwnReportPage, ReportIn, ReportOut, ReportPage
from app.web.auth import api_account

router = APIRouter(prefix="/api/v1", tags=["reports"])
Limit = Annotated[int, Query(ge=1, le=500)]


# --- A labeler's own ---


@router.post("/assignments/{id}/report", status_code=201)
def make(request: Request, id: str, body: ReportIn) -> OwnReportOut:
    """Report a problem with one of the labeler's assignments; work on it can continue."""
    labeler = api_account(request, "work")
    with transaction() as session:
        made = rules.make(session, assignments.assignment(session, id, labeler), labeler, body.text)
        return OwnReportOut.of(queries.report(session, made.public_id, labeler))


@router.get("/reports/mine")
def list_own(request: Request, cursor: Text | None = None, limit: Limit = 100) -> OwnReportPage:
    """List the labeler's own reports, newest first."""
    labeler = api_account(request, "work")
    with reading() as session:
        found, following = queries.page(session, cursor, limit, labeler=labeler)
        return OwnReportPage(items=[OwnReportOut.of(one) for one in found], next_cursor=following)


@router.post("/reports/mine/{id}")
def add(request: Request, id: str, body: ReportIn) -> OwnReportOut:
    """Add a message to one of the labeler's own reports."""
    labeler = api_account(request, "work")
    with transaction() as session:
        rules.add(session, queries.report(session, id, labeler), labeler, body.text)
        session.expire_all()
        return OwnReportOut.of(queries.report(session, id, labeler))


@router.post("/reports/mine/{id}/seen", status_code=204)
def see(request: Request, id: str) -> None:
    """Mark the reply to a report as read."""
    labeler = api_account(request, "work")
    with transaction() as session:
        rules.see(session, queries.report(session, id, labeler))


# --- All reports ---


@router.get("/reports")
def list_reports(
    request: Request, resolved: bool | None = None, cursor: Text | None = None, limit: Limit = 100
) -> ReportPage:
    """List reports, newest first; optionally only the open or only the resolved ones."""
    api_account(request, "read")
    with reading() as session:
        found, following = queries.page(session, cursor, limit, resolved=resolved)
        return ReportPage(items=[ReportOut.of(one) for one in found], next_cursor=following)


@router.get("/reports/{id}")
def read_report(request: Request, id: str) -> ReportOut:
    """Get a report."""
    api_account(request, "read")
    with reading() as session:
        return ReportOut.of(queries.report(session, id))


@router.post("/reports/{id}/reply")
def reply(request: Request, id: str, body: ReportIn) -> ReportOut:
    """Reply to a report; the labeler sees the reply on the desk."""
    admin = api_account(request, "write")
    with transaction() as session:
        rules.reply(session, queries.report(session, id), admin, body.text)
        session.expire_all()
        return ReportOut.of(queries.report(session, id))


@router.post("/reports/{id}/resolve")
def resolve(request: Request, id: str) -> ReportOut:
    """Resolve a report; repeating this changes nothing."""
    admin = api_account(request, "write")
    with transaction() as session:
        rules.resolve(session, queries.report(session, id), admin)
        session.expire_all()
        return ReportOut.of(queries.report(session, id))
