"""Rounds over REST."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session

from app.accounts import rules as accounts
from app.accounts.tables import Account
from app.assignments import closing, handing_out
from app.assignments import rules as assignments
from app.assignments.progress import progress, without_labeler
from app.database import reading, transaction
from app.kit.text import Text
from app.plans.rules import reopen_round
from app.rounds import queries, rules
from app.rounds.schemas import CloseIn, ItemOut, ItemsOut, RoundChange, RoundIn, RoundOut, RoundsOut
from app.rounds.tables import Round
from app.web.auth import api_account

router = APIRouter(prefix="/api/v1/rounds", tags=["rounds"])
Limit = Annotated[int, Query(ge=1, le=500)]


def _out(session: Session, found: Sequence[Round]) -> list[RoundOut]:
    ids = [round.id for round in found]
    items, done, stuck = queries.items_by_kind(session, ids), progress(session, ids), without_labeler(session, ids)
    return [
        RoundOut.of(round, items.get(round.id, {}), done[round.id]._asdict(), stuck.get(round.id, 0)) for round in found
    ]


@router.get("")
def list_rounds(request: Request, cursor: Text | None = None, limit: Limit = 100) -> RoundsOut:
    """List rounds, newest first."""
    api_account(request, "read")
    with reading() as session:
        found, following = queries.rounds(session, cursor, limit)
        return RoundsOut(items=_out(session, found), next_cursor=following)


@router.post("", status_code=201)
def create(request: Request, given: RoundIn) -> RoundOut:
    """Create a draft round and its items."""
    by = api_account(request, "write")
    with transaction() as session:
        made = rules.create(
            session,
            name=given.name,
            plan=given.plan,
            purpose=given.purpose,
            overlap=given.overlap,
            pools=given.pools,
            guideline=given.guideline,
            priority=given.priority,
            reserved_for_people=given.reserved_for_people,
            by=by,
        )
        rules.resample_items(session, made)
        session.refresh(made)
        return _out(session, [made])[0]


@router.get("/{id}")
def read(request: Request, id: str) -> RoundOut:
    """Get a round with its progress."""
    api_account(request, "read")
    with reading() as session:
        return _out(session, [rules.round_(session, id)])[0]


@router.patch("/{id}")
def change(request: Request, id: str, given: RoundChange) -> RoundOut:
    """Change how a round's tasks are handed out."""
    by = api_account(request, "write")
    with transaction() as session:
        round = rules.round_(session, id)
        handing_out.change(session, round, by, **given.model_dump())
        return _out(session, [round])[0]


@router.delete("/{id}", status_code=204)
def discard(request: Request, id: str) -> None:
    """Delete a draft round."""
    by = api_account(request, "write")
    with transaction() as session:
        rules.discard(session, rules.round_(session, id), by)


@router.get("/{id}/items")
def list_items(
    request: Request,
    id: str,
    cursor: Annotated[int, Query(ge=0, le=1_000_000, description="Position to start from.")] = 0,
    limit: Limit = 100,
) -> ItemsOut:
    """List the round's items in the order they are handed out."""
    api_account(request, "read")
    with reading() as session:
        found = queries.items(session, rules.round_(session, id), cursor, limit + 1)
    items = [
        ItemOut(
            id=item.public_id,
            position=item.position,
            kind=item.kind,
            prompt=item.prompt.public_id,
            completions=[member.completion.public_id for member in item.completions],
        )
        for item in found[:limit]
    ]
    return ItemsOut(items=items, next_cursor=found[limit].position if len(found) > limit else None)


@router.post("/{id}/prepare")
def prepare(request: Request, id: str) -> RoundOut:
    """Resample a draft's items, for example after prompts or completions were added."""
    return _act(id, api_account(request, "write"), "round.prepare", rules.resample_items)


@router.post("/{id}/open")
def open_(request: Request, id: str) -> RoundOut:
    """Open a draft round for labelers."""
    return _act(id, api_account(request, "write"), "round.open", assignments.open_round)


@router.post(
    "/{id}/close", responses={409: {"description": "There are unsubmitted drafts; `current` counts what is open."}}
)
def close_(request: Request, id: str, given: CloseIn | None = None) -> RoundOut:
    """Close an open round; with unsubmitted drafts, only with `confirm`. Its answers can then be frozen."""
    by = api_account(request, "write")
    with closing.asks_for_confirm():
        return _act(id, by, "round.close", partial(closing.close, confirmed=bool(given and given.confirm)))


@router.post(
    "/{id}/reopen", responses={409: {"description": "The round is not closed, or a plan or snapshot needs it."}}
)
def reopen(request: Request, id: str) -> RoundOut:
    """Reopen a closed round; existing snapshots of it stay as they are."""
    return _act(id, api_account(request, "write"), "round.reopen", reopen_round)


def _act(id: str, by: Account, name: str, act: Callable[[Session, Round], object]) -> RoundOut:
    with transaction() as session:
        round = rules.round_(session, id)
        act(session, round)
        accounts.record(session, by, name, subject=round.public_id, number=round.number)
        session.flush()
        session.refresh(round)
        return _out(session, [round])[0]
