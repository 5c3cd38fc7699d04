"""The desk over REST: figures, lists, and actions on submitted and upcoming assignments."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.assignments import changes, queries, rules, slots
from app.database import reading, transaction
from app.desk import overview
from app.desk.overview import Listing
from app.desk.schemas import AssignmentOut, DayOut, LineOut, LinePage, NextIn, PartOut, VersionOut
from app.desk.submit import withdraw
from app.desk.task_json import shown
from app.errors import Conflict
from app.kit.clock import midnight
from app.kit.i18n import gettext as _
from app.kit.text import Text
from app.web.auth import api_account
from app.web.quick import quick
from app.web.responses import as_json

router = APIRouter(prefix="/api/v1/assignments", tags=["assignments"])


@router.get("")
@quick
def listed(
    request: Request,
    state: Listing = Listing.UNFINISHED,
    cursor: Text | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> LinePage:
    """List the labeler's assignments: unfinished, submitted, skipped, or left over from closed rounds; newest first."""
    labeler = api_account(request, "work")
    with reading() as session:
        lines, following = overview.page(session, labeler, state, cursor, limit)
    return LinePage(items=[_line(one, state) for one in lines], next_cursor=following)


def _line(one: overview.Line, listing: Listing) -> LineOut:
    state = "editing" if one.editing else None if listing is Listing.UNFINISHED else listing.value
    return LineOut(
        id=one.id,
        kind=one.kind,
        round=one.round,
        prompt=None if one.hidden else one.messages,
        at=one.at,
        state=state or ("held" if one.held else "lost"),
        reason=one.reason,
    )


@router.get("/day")
@quick
def figures(request: Request) -> DayOut:
    """Get today's count and active time, and the labeler's progress in each open round."""
    labeler = api_account(request, "work")
    with reading() as session:
        counted = overview.figures(session, labeler, midnight())
        parts = overview.parts(session, labeler)
    return DayOut(**counted._asdict(), rounds=[PartOut(**part._asdict()) for part in parts])


@router.get("/{id}/versions")
@quick
def versions(request: Request, id: str) -> list[VersionOut]:
    """List the labeler's earlier submissions for an assignment, oldest first."""
    labeler = api_account(request, "work")
    with reading() as session:
        found = queries.assignment(session, id, labeler)
        return [VersionOut.of(one, found.item.kind) for one in changes.versions(session, found.item_id, labeler.id)]


@router.post("/{id}/undo", response_model=AssignmentOut)
@quick
def undo(request: Request, id: str) -> Response:
    """Withdraw a submission of the last ten seconds; it becomes a draft again, under the same lease."""
    labeler = api_account(request, "work")
    with transaction() as session:
        found = queries.assignment(session, id, labeler)
        changes.check(found)
        withdraw(session, found, labeler)
    return as_json(*shown(id, labeler))


@router.post("/{id}/edit", response_model=AssignmentOut)
@quick
def edit(request: Request, id: str) -> Response:
    """Open a submission for editing until its round closes; it counts until it is submitted again."""
    return _change(request, id, changes.begin)


@router.post("/{id}/leave", response_model=AssignmentOut)
@quick
def leave(request: Request, id: str) -> Response:
    """Discard the changes of an edited submission; the submitted version remains."""
    return _change(request, id, changes.leave)


def _change(request: Request, id: str, verb: Callable) -> Response:
    labeler = api_account(request, "work")
    with transaction() as session:
        verb(session, queries.assignment(session, id, labeler), labeler)
    return as_json(*shown(id, labeler))


@router.post(
    "/{id}/resume", response_model=AssignmentOut, responses={409: {"description": "Others now hold all of its slots."}}
)
@quick
def resume(request: Request, id: str) -> Response:
    """Resume an assignment that the labeler began or skipped."""
    labeler = api_account(request, "work")
    with transaction() as session:
        taken = rules.resume(session, queries.assignment(session, id, labeler), labeler)
    if taken is None:
        raise Conflict(_("Somebody else has this item now. What you wrote is kept; you can still submit it."))
    return as_json(*shown(taken.public_id, labeler))


@router.post(
    "/{id}/discard",
    status_code=204,
    responses={409: {"description": "The labeler holds the assignment, or has submitted it."}},
)
@quick
def discard(request: Request, id: str) -> None:
    """Delete a draft that can no longer be continued, for instance because its round has closed."""
    labeler = api_account(request, "work")
    with transaction() as session:
        changes.discard(session, queries.assignment(session, id, labeler), labeler)


@router.post(
    "/{id}/ahead", response_model=AssignmentOut, responses={204: {"description": "No assignment comes after it."}}
)
@quick
def ahead(request: Request, id: str, given: NextIn | None = None) -> Response:
    """Reserve what `next` will return after this one, for two minutes; it yields to labelers who find nothing else."""
    labeler = api_account(request, "work")
    with transaction() as session:
        current = queries.assignment(session, id, labeler)
        ready = rules.reserve_next(session, labeler, current, given.round if given else None)
    return as_json(*shown(ready.public_id, labeler)) if ready else Response(status_code=204)


@router.delete("/ahead", status_code=204)
@quick
def give_back(request: Request) -> None:
    """Release the reserved assignment at once."""
    labeler = api_account(request, "work")
    with transaction() as session:
        slots.give_back(session, labeler)
