"""Conversations over REST for those who may read everything, and suggestions for a labeler at work."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from app.assignments import changes
from app.conversations import queries, rules, suggesting
from app.conversations.schemas import ConversationOut, ConversationPage, SuggestionOut
from app.database import reading, transaction
from app.desk.schemas import VersionOut
from app.kit.text import Text
from app.rounds.tables import ItemKind
from app.web.auth import api_account

router = APIRouter(tags=["conversations"])
Number = Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Number of a round.")]


@router.get("/api/v1/conversations")
def list_conversations(
    request: Request,
    round: Number = None,
    labeler: Annotated[Text, Query(max_length=80, description="Public id or user name of an account.")] = "",
    cursor: Text | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> ConversationPage:
    """List conversations, newest first."""
    api_account(request, "read")
    with reading() as session:
        found, following = queries.page(session, cursor, limit, round_number=round, labeler=labeler)
        return ConversationPage(items=[ConversationOut.of(one) for one in found], next_cursor=following)


@router.get("/api/v1/conversations.jsonl", response_class=StreamingResponse)
def export(request: Request, round: Number = None):
    """Export every conversation (of a round), oldest first: one JSON object per line, as in the list."""
    api_account(request, "read")
    return StreamingResponse(_lines(round), media_type="application/jsonl")


def _lines(round: int | None) -> Iterator[bytes]:
    with reading() as session:
        for one in queries.every(session, round):
            yield ConversationOut.of(one).model_dump_json().encode() + b"\n"


@router.get("/api/v1/conversations/{id}")
def read_conversation(request: Request, id: str) -> ConversationOut:
    """Get a conversation."""
    api_account(request, "read")
    with reading() as session:
        return ConversationOut.of(queries.conversation(session, id))


@router.get("/api/v1/conversations/{id}/versions")
def read_versions(request: Request, id: str) -> list[VersionOut]:
    """List the labeler's earlier submissions, oldest first; lists and snapshots use the latest."""
    api_account(request, "read")
    with reading() as session:
        found = queries.conversation(session, id).conversation
        earlier = changes.versions(session, found.item_id, found.labeler_id)
    return [VersionOut.of(version, ItemKind.CONVERSATION) for version in earlier]


@router.post("/api/v1/conversations/{id}/alternatives", status_code=202)
def sample_again(request: Request, id: str) -> ConversationOut:
    """Resample failed alternatives; 404 if none failed."""
    by = api_account(request, "write")
    with transaction() as session:
        rules.try_again(session, id, by)
    with reading() as session:
        return ConversationOut.of(queries.conversation(session, id))


@router.post(
    "/api/v1/assignments/{id}/suggestions",
    status_code=201,
    tags=["assignments"],
    responses={
        503: {"description": "No suggestion is available right now; write the message yourself, or try again later."}
    },
)
def suggest(request: Request, id: str) -> SuggestionOut:
    """Get a model-written suggestion for the draft's next message."""
    labeler = api_account(request, "work")
    made = suggesting.suggest(labeler, id)
    return SuggestionOut(id=made.public_id, role=made.role, text=made.text)
