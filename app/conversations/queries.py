"""Reads of conversations, suggestions and alternatives."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, joinedload, selectinload

from app.accounts.tables import Account
from app.conversations.tables import Alternatives, AlternativesState, Conversation, ConversationMessage, Suggestion
from app.errors import NotFound
from app.kit import cursors
from app.kit.i18n import gettext as _
from app.rounds.tables import Item, Round

BATCH = 200


class Whole(NamedTuple):
    """A conversation with all its suggestions, by the message's position, and its alternatives."""

    conversation: Conversation
    suggestions: dict[int, list[Suggestion]]
    alternatives: Alternatives | None


def suggestions(session: Session, item_id: int, labeler_id: int, position: int | None = None) -> list[Suggestion]:
    """Return the suggestions that a labeler got for an item (for one message of it), newest first."""
    query = select(Suggestion).where(Suggestion.item_id == item_id, Suggestion.labeler_id == labeler_id)
    if position is not None:
        query = query.where(Suggestion.position == position)
    return list(session.scalars(query.order_by(Suggestion.id.desc())))


def _rows(round_number: int | None = None, labeler: str = "") -> Select[Conversation]:
    query = select(Conversation).options(
        joinedload(Conversation.item).options(joinedload(Item.prompt), joinedload(Item.round)),
        joinedload(Conversation.labeler),
        joinedload(Conversation.guideline),
        selectinload(Conversation.messages).joinedload(ConversationMessage.suggestion).joinedload(Suggestion.policy),
    )
    if round_number is not None:
        of_round = select(Item.id).join(Round, Round.id == Item.round_id).where(Round.number == round_number)
        query = query.where(Conversation.item_id.in_(of_round))
    if labeler:
        known = select(Account.id).where((Account.public_id == labeler) | (Account.username == labeler.lower()))
        query = query.where(Conversation.labeler_id.in_(known))
    return query


def _whole(session: Session, rows: Sequence[Conversation]) -> list[Whole]:
    items = [row.item_id for row in rows]
    found: dict[tuple[int, int], dict[int, list[Suggestion]]] = {}
    for one in session.scalars(
        select(Suggestion)
        .where(Suggestion.item_id.in_(items))
        .options(joinedload(Suggestion.policy))
        .order_by(Suggestion.id)
    ):
        found.setdefault((one.item_id, one.labeler_id), {}).setdefault(one.position, []).append(one)
    later = {
        one.conversation_id: one
        for one in session.scalars(
            select(Alternatives)
            .where(Alternatives.conversation_id.in_([row.id for row in rows]))
            .options(joinedload(Alternatives.prompt), joinedload(Alternatives.item))
        )
    }
    return [Whole(row, found.get((row.item_id, row.labeler_id), {}), later.get(row.id)) for row in rows]


def conversation(session: Session, public_id: str) -> Whole:
    """Return a conversation with all that belongs to it; raise NotFound if the id is unknown."""
    row = session.scalar(_rows().where(Conversation.public_id == public_id))
    if row is None:
        raise NotFound(_("Conversation not found."))
    return _whole(session, [row])[0]


def page(
    session: Session, cursor: str | None, limit: int, *, round_number: int | None = None, labeler: str = ""
) -> tuple[list[Whole], str | None]:
    """Return one page of conversations, newest first, and the next cursor.

    `round_number` and `labeler` (public id or user name) select those of one round and of one labeler.
    """
    found, following = cursors.page(session, _rows(round_number, labeler), Conversation, cursor, limit)
    return _whole(session, found), following


def every(session: Session, round_number: int | None = None) -> Iterator[Whole]:
    """Yield all conversations (of a round), oldest first, loading BATCH at a time."""
    rows = session.scalars(_rows(round_number).order_by(Conversation.id)).yield_per(BATCH)
    while some := list(islice(rows, BATCH)):
        yield from _whole(session, some)


def being_sampled(session: Session, round_id: int) -> int:
    """Count a round's conversations whose alternatives are still being sampled and may join the round."""
    of_round = select(func.count()).select_from(Alternatives).join(Alternatives.conversation).join(Conversation.item)
    going_on = Alternatives.state.in_([AlternativesState.QUEUED, AlternativesState.SAMPLING])
    return session.scalar(of_round.where(Item.round_id == round_id, going_on)) or 0


def alternatives(session: Session, id: int) -> Alternatives:
    """Return the row of some alternatives, with everything that sampling needs."""
    return session.scalars(
        select(Alternatives)
        .where(Alternatives.id == id)
        .options(
            joinedload(Alternatives.prompt),
            joinedload(Alternatives.conversation)
            .joinedload(Conversation.item)
            .options(joinedload(Item.round), joinedload(Item.prompt)),
        )
    ).one()
