"""Writing prompts over REST: calls, the labeler's own writings, drafts and submission."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app.database import reading, transaction
from app.kit.text import Text
from app.prompt_writing import rules as writing
from app.prompt_writing import submitting
from app.prompt_writing.schemas import WritingCallIn, WritingCallOut, WritingContent, WritingOut
from app.web.auth import api_account

router = APIRouter(prefix="/api/v1", tags=["writing prompts"])


class WritingIn(BaseModel):
    """A new writing for a call."""

    model_config = ConfigDict(extra="forbid")

    call: Text
    content: WritingContent = WritingContent()


class WritingDraft(BaseModel):
    """A draft or a submission."""

    model_config = ConfigDict(extra="forbid")

    content: WritingContent
    version: int = Field(
        ge=0,
        le=2**31 - 1,
        description="The version that was read; if it is out of date, the answer is a 409 with the current draft.",
    )
    alike: bool = Field(False, description="When submitting: store the prompt although a similar one exists.")


@router.get("/writing-calls")
def list_calls(request: Request, all: bool = False) -> dict[str, list[WritingCallOut]]:
    """List calls for prompts; only open ones, unless `all` is set."""
    api_account(request, "work")
    with reading() as session:
        return {"items": [WritingCallOut.of(*one) for one in writing.calls(session, only_open=not all)]}


@router.post("/writing-calls", status_code=201)
def call(request: Request, given: WritingCallIn) -> WritingCallOut:
    """Ask labelers to write prompts."""
    by = api_account(request, "write")
    with transaction() as session:
        return WritingCallOut.of(writing.call(session, given, by), 0)


@router.post("/writing-calls/{id}/close", status_code=204)
def close(request: Request, id: str) -> None:
    """Close a call: no more prompts are wanted."""
    by = api_account(request, "write")
    with transaction() as session:
        writing.close(session, writing.find_call(session, id), by)


@router.get("/writings")
def list_writings(request: Request) -> dict[str, list[WritingOut]]:
    """List the labeler's own writings, drafts included, newest first."""
    labeler = api_account(request, "work")
    with reading() as session:
        return {"items": [WritingOut.of(one) for one in writing.own(session, labeler)]}


@router.post("/writings", status_code=201)
def begin(request: Request, given: WritingIn) -> WritingOut:
    """Start a writing for a call, or resume the labeler's draft for it."""
    labeler = api_account(request, "work")
    with transaction() as session:
        made = writing.begin(session, writing.find_call(session, given.call), labeler)
        if made.version == 0:
            writing.save(session, made, given.content, 0)
        return WritingOut.of(made)


@router.get("/writings/{id}")
def read(request: Request, id: str) -> WritingOut:
    """Get one of the labeler's own writings."""
    labeler = api_account(request, "work")
    with reading() as session:
        found = writing.find(session, id, labeler)
        return WritingOut.of(found, writing.prompts_of(session, found))


@router.put("/writings/{id}")
def keep(request: Request, id: str, given: WritingDraft) -> WritingOut:
    """Save a draft."""
    labeler = api_account(request, "work")
    with transaction() as session:
        found = writing.find(session, id, labeler)
        return WritingOut.of(writing.save(session, found, given.content, given.version))


@router.post("/writings/{id}/submit")
def submit(request: Request, id: str, given: WritingDraft) -> WritingOut:
    """Submit a writing; K pairs become K prompts, each with its own completion as a demonstration."""
    labeler = api_account(request, "work")
    with transaction() as session:
        found = writing.find(session, id, labeler)
        made = submitting.hand_in(session, found, labeler, given.content, version=given.version, alike=given.alike)
        session.refresh(found)
        return WritingOut.of(found, made)


@router.delete("/writings/{id}", status_code=204, response_class=Response)
def discard(request: Request, id: str) -> None:
    """Discard a draft."""
    labeler = api_account(request, "work")
    with transaction() as session:
        writing.discard(session, writing.find(session, id, labeler))
