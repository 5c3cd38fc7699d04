"""A labeler's day in figures and lists: tasks waiting, unfinished, submitted or skipped, and progress by round."""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import ColumnElement, Text, case, cast, func, literal, null, or_, select, tuple_
from sqlalchemy.orm import Session, aliased

from app.accounts.tables import Account
from app.assignments import order, slots
from app.assignments.offering import quoted
from app.assignments.tables import Assignment, Draft, Skip, SkipReason
from app.kit.cursors import last_shown, no_cursor
from app.prompts.tables import Prompt
from app.rounds.tables import ONBOARDING, Item, ItemKind, Round, RoundState

MOST_WAITING = 1000  # waiting tasks are counted up to here


class Listing(StrEnum):
    """A list of the labeler's own assignments."""

    UNFINISHED = "unfinished"  # held, begun and not submitted, or being edited; can be continued
    CLOSED = "closed"  # begun, but its round closed, or closed to the labeler's pool, before it was submitted
    SUBMITTED = "submitted"
    SKIPPED = "skipped"


class Line(NamedTuple):
    """One line of a list."""

    id: str  # of the assignment
    kind: ItemKind
    round: int
    messages: list[dict]
    at: datetime  # last saved, submitted or skipped
    held: bool
    open: bool  # whether its round is open to the labeler
    hidden: bool  # the prompt is sensitive, and the labeler has not chosen to see it
    editing: bool
    reason: SkipReason | None
    version: int  # of the draft
    item_id: int


def page(
    session: Session, labeler: Account, listing: Listing, cursor: str | None = None, limit: int = 20
) -> tuple[Sequence[Line], str | None]:
    """Return one page of a list, newest first, and the next cursor."""
    own, any_slot = aliased(Assignment), aliased(Assignment)
    some_slot = select(any_slot.public_id).where(any_slot.item_id == Draft.item_id).limit(1).scalar_subquery()
    at = {
        Listing.UNFINISHED: Draft.updated_at,
        Listing.CLOSED: Draft.updated_at,
        Listing.SUBMITTED: Draft.submitted_at,
        Listing.SKIPPED: Skip.at,
    }[listing]
    passed = listing is Listing.SKIPPED
    query = (
        select(
            func.coalesce(own.public_id, some_slot),
            Item.kind,
            Round.number,
            Prompt.messages,
            at,
            own.id.is_not(None),
            _open_to(labeler),
            Prompt.sensitive & Draft.warned_at.is_(None),
            Draft.reopened_at.is_not(None) & (Round.state == RoundState.OPEN),
            Skip.reason if passed else null(),
            Draft.version,
            Item.id,
        )
        .select_from(Draft)
        .join(Item, Item.id == Draft.item_id)
        .join(Round, Round.id == Item.round_id)
        .join(Prompt, Prompt.id == Item.prompt_id)
        .outerjoin(own, (own.item_id == Draft.item_id) & (own.labeler_id == Draft.labeler_id))
        .where(Draft.labeler_id == labeler.id)
        .order_by(at.desc(), Draft.item_id.desc())
        .limit(limit + 1)
    )
    if passed:
        query = query.join(Skip, (Skip.item_id == Draft.item_id) & (Skip.labeler_id == Draft.labeler_id))
    elif listing is Listing.SUBMITTED:
        query = query.where(Draft.submitted_at.is_not(None))
    else:
        skipped = select(Skip.item_id).where(Skip.labeler_id == labeler.id)
        query = query.where(Draft.item_id.not_in(skipped))
        if listing is Listing.CLOSED:
            query = query.where(_left(labeler))
        else:
            editing = Draft.reopened_at.is_not(None) & (Round.state == RoundState.OPEN)
            query = query.where(or_(_begun(labeler, own), editing))
    if cursor:
        moment, item = _parse(cursor)
        shown = last_shown(session, Item, item)
        query = query.where(tuple_(at, Draft.item_id) < tuple_(literal(moment, at.type), shown))
    rows = [Line(*row) for row in session.execute(query)]
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], f"{last.at.timestamp():.6f}-{session.get_one(Item, last.item_id).public_id}"


def _begun(labeler: Account, own: type[Assignment]) -> ColumnElement[bool]:
    """Match drafts that can be continued: opened or written, in a round that is open to the labeler."""
    begun = Draft.submitted_at.is_(None) & or_(own.id.is_not(None), Draft.version > 0)
    return begun & _open_to(labeler)


def _left(labeler: Account) -> ColumnElement[bool]:
    """Match unsubmitted drafts with a text or ranking whose round is no longer open to the labeler."""
    return Draft.submitted_at.is_(None) & (Draft.version > 0) & ~_open_to(labeler)


def _open_to(labeler: Account) -> ColumnElement[bool]:
    return (Round.state == RoundState.OPEN) & cast(Round.pools, Text).contains(quoted(labeler.pool))


def _parse(cursor: str) -> tuple[datetime, str]:
    moment, _dash, item = cursor.partition("-")
    try:
        return datetime.fromtimestamp(float(moment), UTC), item
    except (ValueError, OverflowError, OSError) as error:
        raise no_cursor(cursor) from error


class Figures(NamedTuple):
    """A labeler's counts."""

    submitted_today: int
    active_seconds_today: float
    submitted: int
    skipped: int
    unfinished: int
    closed: int  # begun, in a round that is no longer open to the labeler


def figures(session: Session, labeler: Account, midnight: datetime) -> Figures:
    """Count the labeler's answers since midnight and in total."""
    today = Draft.submitted_at >= midnight
    own, passed = aliased(Assignment), aliased(Skip)
    mine = (own.item_id == Draft.item_id) & (own.labeler_id == Draft.labeler_id)
    kept = passed.item_id.is_(None)
    done = session.execute(
        select(
            func.count(case((today, 1))),
            func.coalesce(func.sum(case((today, Draft.active_seconds))), 0.0),
            func.count(Draft.submitted_at),
            func.count(passed.item_id),
            func.count(case((_begun(labeler, own) & kept, 1))),
            func.count(case((_left(labeler) & kept, 1))),
        )
        .join(Item, Item.id == Draft.item_id)
        .join(Round, Round.id == Item.round_id)
        .outerjoin(own, mine)
        .outerjoin(passed, (passed.item_id == Draft.item_id) & (passed.labeler_id == Draft.labeler_id))
        .where(Draft.labeler_id == labeler.id)
    ).one()
    return Figures(*done)


class Part(NamedTuple):
    """One kind of task in an open round, and the labeler's progress with it."""

    round: int
    kind: ItemKind
    submitted: int  # by the labeler
    waiting: int  # for the labeler, counted up to MOST_WAITING over all rounds


def parts(session: Session, labeler: Account) -> list[Part]:
    """Return the open rounds that the labeler can work on or has worked on, by kind, in the order of assignment."""
    waiting = {} if labeler.paused else slots.count_waiting(session, labeler, MOST_WAITING)
    done = session.execute(
        select(Round.priority, Round.number, Item.kind, func.count())
        .select_from(Draft)
        .join(Item, Item.id == Draft.item_id)
        .join(Round, Round.id == Item.round_id)
        .where(
            Draft.labeler_id == labeler.id,
            Draft.submitted_at.is_not(None),
            Round.state == RoundState.OPEN,
            Round.purpose.not_in(ONBOARDING),
        )
        .group_by(Round.priority, Round.number, Item.kind)
    )
    submitted = {(priority, number, kind): count for priority, number, kind, count in done}
    keys = sorted(waiting.keys() | submitted.keys(), key=lambda key: (order.position(key[0], key[1], 0), key[2]))
    return [Part(*key[1:], submitted.get(key, 0), waiting.get(key, 0)) for key in keys]
