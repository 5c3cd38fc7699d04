"""Demonstrations as admins read them."""

from fastapi import APIRouter, Request

from app.database import reading
from app.demonstrations import queries
from app.web import admin, page

router = APIRouter(include_in_schema=False)
PAGE = 50


@router.get("/admin/demonstrations")
def demonstrations(request: Request, round: str = "", labeler: str = "", cursor: str | None = None):
    """Who handed in what, the newest first."""
    account = admin(request)
    number = int(round) if round.isdecimal() and len(round) < 10 else None
    with reading() as session:
        found, following = queries.page(session, cursor, PAGE, round_number=number, labeler=labeler.strip())
    return page(
        request,
        "demonstrations/list.html",
        account,
        found=found,
        following=following,
        round=number or "",
        labeler=labeler,
    )


@router.get("/admin/demonstrations/{id}")
def demonstration(request: Request, id: str):
    """One of them, with where everything in it came from."""
    account = admin(request)
    with reading() as session:
        found = queries.demonstration(session, id)
    return page(request, "demonstrations/one.html", account, found=found)
