"""Admin pages for comparisons."""

from fastapi import APIRouter, Request, Response

from app.assignments import changes
from app.comparisons import queries
from app.database import reading
from app.kit.cursors import round_number
from app.kit.text import Text
from app.web.auth import admin
from app.web.responses import page

router = APIRouter(include_in_schema=False)
PAGE = 50


@router.get("/admin/comparisons")
def comparisons(request: Request, round: Text = "", labeler: Text = "", cursor: Text | None = None) -> Response:
    """List submitted comparisons, newest first."""
    account = admin(request)
    number = round_number(round)
    with reading() as session:
        found, following = queries.page(session, cursor, PAGE, round_number=number, labeler=labeler.strip())
    return page(
        request, "comparisons/list.html", account, found=found, following=following, round=number or "", labeler=labeler
    )


@router.get("/admin/comparisons/{id}")
def comparison(request: Request, id: str) -> Response:
    """Show a comparison, with the sources of all its parts."""
    account = admin(request)
    with reading() as session:
        found = queries.comparison(session, id)
        earlier = changes.versions(session, found.item_id, found.labeler_id)
    flags = {question["name"]: question["label"] for question in found.form.questions} if found.form else {}
    return page(
        request,
        "comparisons/one.html",
        account,
        found=found,
        ranked=queries.ranked(found),
        flags=flags,
        earlier=earlier,
    )
