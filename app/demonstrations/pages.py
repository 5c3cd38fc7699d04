"""Admin pages for demonstrations, and the length and preview for a labeler's editor."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import JSONResponse

from app.assignments import changes
from app.database import reading
from app.demonstrations import lengths, queries
from app.guidelines import rules as guidelines
from app.kit.cursors import round_number
from app.kit.text import Text, TypedText
from app.web.auth import admin, signed_in
from app.web.responses import page
from app.web.templates import environment

router = APIRouter(include_in_schema=False)
PAGE = 50


@router.post("/writing/shown")
def shown(request: Request, text: Annotated[TypedText, Form(max_length=50_000)] = "") -> Response:
    """Return a text's length and its preview, for the editor's script."""
    signed_in(request)
    with reading() as session:
        tokenizer = lengths.tokenizer(session)
    length = lengths.measure(text, tokenizer)
    html = environment().get_template("demonstrations/preview.html").render(text=text)
    return JSONResponse({"length": str(length), "over": length.over, "html": html})


@router.get("/admin/demonstrations")
def demonstrations(request: Request, round: Text = "", labeler: Text = "", cursor: Text | None = None) -> Response:
    """List submitted demonstrations, newest first."""
    account = admin(request)
    number = round_number(round)
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
def demonstration(request: Request, id: str) -> Response:
    """Show a demonstration, with the sources of all its parts."""
    account = admin(request)
    with reading() as session:
        found = queries.demonstration(session, id)
        earlier = changes.versions(session, found.item_id, found.labeler_id)
    asked = guidelines.questions(found.form) if found.form else []
    return page(request, "demonstrations/one.html", account, found=found, questions=asked, earlier=earlier)
