"""The desk, its lists, and actions on submitted and upcoming tasks."""

from itertools import groupby
from operator import attrgetter

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from app.assignments import changes, queries, rules, slots
from app.database import reading, transaction
from app.desk import overview
from app.desk.form_posts import acting, chosen_round
from app.desk.overview import Listing
from app.desk.submit import withdraw
from app.errors import Conflict
from app.guidelines.rules import NotRead
from app.kit.clock import midnight
from app.kit.i18n import gettext as _
from app.kit.text import Text
from app.onboarding import rules as onboarding
from app.reports import queries as reports
from app.web.auth import signed_in
from app.web.quick import quick
from app.web.responses import page, redirect

router = APIRouter(include_in_schema=False)
SHOWN_ON_DESK = 5


@router.get("/")
@quick
def desk(request: Request) -> Response:
    """Show what is waiting, unfinished and done."""
    labeler = signed_in(request)
    with reading() as session:
        parts = overview.parts(session, labeler)
        context = {
            "waiting": sum(part.waiting for part in parts),
            "rounds": [(number, list(kinds)) for number, kinds in groupby(parts, key=attrgetter("round"))],
            "held": slots.unfinished(session, labeler) is not None,
            "closed": overview.page(session, labeler, Listing.CLOSED, limit=SHOWN_ON_DESK)[0],
            "figures": overview.figures(session, labeler, midnight()),
            "unfinished": overview.page(session, labeler, Listing.UNFINISHED, limit=SHOWN_ON_DESK)[0],
            "submitted": overview.page(session, labeler, Listing.SUBMITTED, limit=SHOWN_ON_DESK)[0],
            "onboarding": onboarding.onboarding_status(session, labeler),
            "replies": reports.answered(session, labeler),
            "undo": changes.undoable(session, labeler),
        }
    return page(request, "desk/overview.html", labeler, 200, **context)


@router.get("/work/{listing}")
@quick
def listed(request: Request, listing: Listing, cursor: Text | None = None) -> Response:
    """Show a whole list, page by page."""
    labeler = signed_in(request)
    with reading() as session:
        lines, following = overview.page(session, labeler, listing, cursor)
    return page(request, "desk/listed.html", labeler, listing=listing, lines=lines, following=following)


@router.post("/assignments/{id}/discard")
@quick
def discard(request: Request, id: str) -> Response:
    """Delete a draft that can no longer be continued."""
    labeler = acting(request)
    try:
        with transaction() as session:
            changes.discard(session, queries.assignment(session, id, labeler), labeler)
    except Conflict as refused:
        return _told(f"/assignments/{id}", refused.message)
    return _told("/", _("Draft discarded."))


# --- Submitted ---


@router.post("/assignments/{id}/undo")
@quick
def undo(request: Request, id: str) -> Response:
    """Withdraw a submission made a moment ago; it becomes a draft again."""
    labeler = acting(request)
    try:
        with transaction() as session:
            found = queries.assignment(session, id, labeler)
            changes.check(found)
            withdraw(session, found, labeler)
    except Conflict as refused:
        return _told(f"/assignments/{id}", refused.message)
    return _told(f"/assignments/{id}", _("Submission withdrawn; it is a draft again. Submit it when it is ready."))


@router.post("/assignments/{id}/edit")
@quick
def edit(request: Request, id: str) -> Response:
    """Open a submission for editing."""
    labeler = acting(request)
    try:
        with transaction() as session:
            changes.begin(session, queries.assignment(session, id, labeler), labeler)
    except Conflict as refused:
        return _told(f"/assignments/{id}", refused.message)
    return redirect(f"/assignments/{id}")


@router.post("/assignments/{id}/leave")
@quick
def leave(request: Request, id: str) -> Response:
    """Discard the changes of an edited submission; the submitted version remains."""
    labeler = acting(request)
    with transaction() as session:
        changes.leave(session, queries.assignment(session, id, labeler), labeler)
    return _told(f"/assignments/{id}", _("Changes discarded. Your submission remains as it was."))


def _told(url: str, note: str) -> Response:
    return redirect(url, note)


# --- Upcoming ---


@router.post("/assignments/{id}/ahead")
@quick
def ahead(request: Request, id: str) -> Response:
    """Reserve the next task so that a script can prefetch its page; return its address, or 204 if nothing follows."""
    labeler = acting(request)
    try:
        with transaction() as session:
            current = queries.assignment(session, id, labeler)
            ready = rules.reserve_next(session, labeler, current, chosen_round(request, labeler))
    except NotRead:
        ready = None
    return JSONResponse({"next": f"/assignments/{ready.public_id}"}) if ready else Response(status_code=204)


@router.post("/assignments/ahead/give-back")
@quick
def give_back(request: Request) -> Response:
    """Release the reserved task at once when the labeler leaves the page."""
    labeler = acting(request)
    with transaction() as session:
        slots.give_back(session, labeler)
    return Response(status_code=204)
