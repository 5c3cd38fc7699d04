"""Admin pages for conversations, and the requests of the desk's script."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from app.assignments import changes
from app.conversations import queries, rules, suggesting
from app.conversations.schemas import opening
from app.conversations.tables import Origin
from app.database import reading, transaction
from app.desk.form_posts import acting
from app.errors import PlumblineError
from app.kit.cursors import round_number
from app.kit.i18n import gettext as _
from app.kit.text import Text
from app.prompts.tables import PromptSource
from app.web.auth import admin
from app.web.responses import page, redirect

router = APIRouter(include_in_schema=False)
PAGE = 50


@router.post("/assignments/{id}/suggest")
def suggest(request: Request, id: str) -> Response:
    """Return a suggestion, which the script shows next to the message being written."""
    labeler = acting(request)
    try:
        made = suggesting.suggest(labeler, id)
    except PlumblineError as error:
        if error.status == 404:
            raise
        return JSONResponse({"detail": error.message}, error.status)
    return JSONResponse({"id": made.public_id, "text": made.text})


@router.post("/assignments/{id}/suggest/prepare", status_code=204)
def prepare(request: Request, id: str) -> Response:
    """Start loading the model that will suggest messages, since the labeler has begun a conversation."""
    suggesting.load_policy(acting(request), id)
    return Response(status_code=204)


@router.get("/admin/conversations")
def conversations(request: Request, round: Text = "", labeler: Text = "", cursor: Text | None = None) -> Response:
    """List submitted conversations, newest first."""
    account = admin(request)
    number = round_number(round)
    with reading() as session:
        found, following = queries.page(session, cursor, PAGE, round_number=number, labeler=labeler.strip())
    return page(
        request,
        "conversations/list.html",
        account,
        found=found,
        following=following,
        round=number or "",
        labeler=labeler,
        origins=list(Origin),
    )


@router.get("/admin/conversations/{id}")
def conversation(request: Request, id: str) -> Response:
    """Show a conversation: each message with its suggestions, and what became of its alternatives."""
    account = admin(request)
    with reading() as session:
        whole = queries.conversation(session, id)
        earlier = changes.versions(session, whole.conversation.item_id, whole.conversation.labeler_id)
    prompt = whole.conversation.item.prompt
    return page(
        request,
        "conversations/one.html",
        account,
        whole=whole,
        found=whole.conversation,
        earlier=earlier,
        opening=opening(prompt),
        topic=prompt.messages[-1]["text"] if prompt.source is PromptSource.USE_CASE else "",
    )


@router.post("/admin/conversations/{id}/alternatives")
def sample_again(request: Request, id: str) -> Response:
    """Resample failed alternatives."""
    account = admin(request)
    with transaction() as session:
        rules.try_again(session, id, account)
    return redirect(f"/admin/conversations/{id}", _("The alternatives are being resampled."))
