"""Writing prompts over REST: what is wanted, one's own pieces, drafts, handing in."""

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
    """A piece for a call."""

    model_config = ConfigDict(extra="forbid")

    call: Text
    content: WritingContent = WritingContent()


class WritingDraft(BaseModel):
    """A draft, or what is handed in."""

    model_config = ConfigDict(extra="forbid")

    content: WritingContent
    version: int = Field(ge=0, le=2**31 - 1, description="As it was read; another one is a 409 with what stands.")
    alike: bool = Field(False, description="On handing in: store it although something is nearly the same.")


@router.get("/writing-calls")
def list_calls(request: Request, all: bool = False) -> dict[str, list[WritingCallOut]]:
    """What labelers are asked to write; only what is still wanted, unless `all`."""
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
    """Nothing more is wanted."""
    by = api_account(request, "write")
    with transaction() as session:
        writing.close(session, writing.find_call(session, id), by)


@router.get("/writings")
def list_writings(request: Request) -> dict[str, list[WritingOut]]:
    """What one has written, drafts too, the newest first."""
    labeler = api_account(request, "work")
    with reading() as session:
        return {"items": [WritingOut.of(one) for one in writing.own(session, labeler)]}


@router.post("/writings", status_code=201)
def begin(request: Request, given: WritingIn) -> WritingOut:
    """Begin a piece, or take up the draft that was begun for this call."""
    labeler = api_account(request, "work")
    with transaction() as session:
        made = writing.begin(session, writing.find_call(session, given.call), labeler)
        if made.version == 0:
            writing.save(session, made, given.content, 0)
        return WritingOut.of(made)


@router.get("/writings/{id}")
def read(request: Request, id: str) -> WritingOut:
    """One piece of one's own."""
    labeler = api_account(request, "work")
    with reading() as session:
        found = writing.find(session, id, labeler)
        return WritingOut.of(found, writing.prompts_of(session, found))


@router.put("/writings/{id}")
def keep(request: Request, id: str, given: WritingDraft) -> WritingOut:
    """Keep a draft."""
    labeler = api_account(request, "work")
    with transaction() as session:
        found = writing.find(session, id, labeler)
        return WritingOut.of(writing.save(session, found, given.content, given.version))


@router.post("/writings/{id}/submit")
def submit(request: Request, id: str, given: WritingDraft) -> WritingOut:
    """Hand it in; K pairs become K prompts, each with its own completion as a demonstration."""
    labeler = api_account(request, "work")
    with transaction() as session:
        found = writing.find(session, id, labeler)
        made = submitting.hand_in(session, found, labeler, given.content, version=given.version, alike=given.alike)
        session.refresh(found)
        return WritingOut.of(found, made)


@router.delete("/writings/{id}", status_code=204, response_class=Response)
def discard(request: Request, id: str) -> None:
    """Throw a draft away."""
    labeler = api_account(request, "work")
    with transaction() as session:
        writing.discard(session, writing.find(session, id, labeler))
