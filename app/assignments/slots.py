"""Who holds which slot of an item, decided by the conditions of single UPDATE statements.

Between labelers, PostgreSQL's SKIP LOCKED keeps one from waiting for another; SQLite has one writer. The statements
are built once and take their values as parameters: building them costs more than running them.
"""

from collections.abc import Callable
from datetime import datetime
from enum import Enum
from functools import lru_cache

from sqlalchemy import (
    Integer,
    ScalarSelect,
    Select,
    SQLColumnExpression,
    String,
    Update,
    and_,
    bindparam,
    case,
    delete,
    func,
    literal_column,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.orm import Session, aliased

from app.accounts.tables import Account
from app.assignments import offering, order
from app.assignments.offering import OfferConditions, none, offered, own, values
from app.assignments.offering import me as _me
from app.assignments.tables import Assignment, AssignmentState, Draft, OwnItem
from app.config import settings
from app.database import ONE, UTCDateTime, fixed, run, utc_now
from app.rounds.tables import Item, ItemKind, Round, RoundPriority, RoundState

_item = bindparam("item", type_=Integer)
_UNRESERVED = {"ahead_for_id": None, "ahead_until": None}
AHEAD_SECONDS = 120  # how long a slot is reserved as a labeler's next page
_LEASED, _SUBMITTED = fixed(AssignmentState.LEASED), fixed(AssignmentState.SUBMITTED)
_held = and_(Assignment.item_id == _item, Assignment.labeler_id == _me, Assignment.state == _LEASED)


class Offers(Enum):
    """Which free slots `take_next` looks for."""

    NONE = 0  # only the labeler's unfinished one
    FREE = 1  # open and unreserved slots
    ALL = 2  # also reserved ones and those whose lease ran out; each in its order


def take_next(session: Session, labeler: Account, round: int | None, offers: Offers) -> str | None:
    """Lease the labeler's unfinished slot of an open round (the one with this number), keeping its fence.

    Without one, lease the first on offer, as far as `offers` goes. Return the slot's public id.
    """
    statement = _next(settings().lease_minutes, OfferConditions.by(labeler, round), offers)
    given = values(labeler, round) if offers is not Offers.NONE else own(labeler, round)
    return run(session, statement, given).scalar()


def unfinished(session: Session, labeler: Account) -> int | None:
    """Return the unfinished slot that `take_next` would lease."""
    return run(session, _own_first(False), own(labeler, None)).scalar()


def other_unfinished(session: Session, item_id: int, labeler: Account, round: int | None = None) -> int | None:
    """Return the unfinished slot that `take_next` would lease once this item is done."""
    return run(session, _own_first(round is not None, other=True), {**own(labeler, round), "item": item_id}).scalar()


def reserve(session: Session, labeler: Account, round: int | None = None) -> int | None:
    """Reserve the first slot on offer, so that its page can be prepared; keep an earlier reservation if it is free.

    The slot stays open, and the reservation is short: others take the slot if nothing else is on offer for them.
    """
    asked, given = OfferConditions.by(labeler, round), values(labeler, round)
    if again := run(session, _reserve(offering.reserved, asked), given).scalar():
        return again
    give_back(session, labeler)  # such as one in a round that has closed: a labeler has one at most
    return run(session, _reserve(offering.unreserved, asked), given).scalar()


def give_back(session: Session, labeler: Account) -> None:
    """End the labeler's reservation, and delete its draft if nothing was written."""
    reserved = select(Assignment.item_id).where(Assignment.ahead_for_id == labeler.id)
    untouched = delete(Draft).where(
        Draft.labeler_id == labeler.id,
        Draft.version == 0,
        Draft.item_id.in_(reserved),
        none(Assignment, Assignment.item_id == Draft.item_id, Assignment.labeler_id == labeler.id),
    )
    session.execute(untouched.execution_options(synchronize_session=False))
    free = update(Assignment).where(Assignment.ahead_for_id == labeler.id).values(**_UNRESERVED)
    session.execute(_quick(free))


def reopen(session: Session, item_id: int, labeler: Account) -> int | None:
    """Re-lease the slot that the labeler's submission filled, under the same fence."""
    return run(session, _reopen(settings().lease_minutes), {"me": labeler.id, "item": item_id}).scalar()


def take(session: Session, item_id: int, labeler: Account) -> int | None:
    """Lease the labeler's own slot of this item, else a free one; return its id."""
    return run(session, _of_item(settings().lease_minutes), {"me": labeler.id, "item": item_id}).scalar()


def fill(session: Session, item_id: int, labeler: Account, at: datetime) -> int | None:
    """Fill the slot that `take` would lease with an answer submitted at `at`; return its id."""
    return run(session, _fill(), {"me": labeler.id, "item": item_id, "at": at}).scalar()


def renew(session: Session, item_id: int, labeler: Account, fence: int | None = None) -> datetime | None:
    """Renew the lease, even one that ran out if nobody else took the slot; return its end, or None if it is lost."""
    values = {"me": labeler.id, "item": item_id, "given": fence}
    return run(session, _renew(settings().lease_minutes, fence is not None), values).scalar()


def renew_given(session: Session, public_id: str, labeler: Account, fence: int) -> datetime | None:
    """Renew the lease of the labeler's slot of the item behind this id; return its end, or None if it is not held."""
    values = {"me": labeler.id, "of": public_id, "given": fence}
    return run(session, _renew_given(settings().lease_minutes), values).scalar()


def release(session: Session, item_id: int, labeler: Account) -> None:
    """Free the labeler's slot of this item."""
    run(session, _release(), {"me": labeler.id, "item": item_id})


def count_waiting(session: Session, labeler: Account, at_most: int) -> dict[tuple[RoundPriority, int, ItemKind], int]:
    """Count items with a free slot for this labeler, up to `at_most`, by the round's priority, its number and kind."""
    statement = _count(OfferConditions.by(labeler, None))
    rows = run(session, statement, {**values(labeler, None), "at_most": at_most})
    return {tuple(key): count for *key, count in rows}


# --- Statements ---


def _first(slots: Select, slot: type[Assignment], *, skip_locked: bool) -> Select:
    """Select and lock the first of the slots; with `skip_locked`, the first that no other transaction has locked."""
    return slots.limit(ONE).with_for_update(skip_locked=skip_locked, of=slot)


def _lease_until(minutes: float) -> utc_now:
    return utc_now(minutes * 60)


def _hand(slot_id, returned: SQLColumnExpression = Assignment.id, **values) -> Update:
    """Build the UPDATE that assigns a slot to the labeler; a new holder gets a new fence."""
    mine = or_(Assignment.labeler_id == _me, Assignment.ahead_for_id == _me)
    return _quick(
        update(Assignment)
        .where(Assignment.id == slot_id)
        .values(
            labeler_id=_me,
            fence=case((mine, Assignment.fence), else_=Assignment.fence + 1),
            claimed_at=case((Assignment.labeler_id == _me, Assignment.claimed_at), else_=utc_now()),
            **_UNRESERVED,
            **values,
        )
        .returning(returned)
    )


def _quick(statement: Update) -> Update:
    return statement.execution_options(synchronize_session=False)


def _own(slot: type[Assignment], one_round: bool) -> Select:
    item, round = aliased(Item), aliased(Round)
    found = (
        select(slot.id)
        .join(item, item.id == slot.item_id)
        .join(round, round.id == item.round_id)
        .where(
            slot.labeler_id == _me,
            slot.state == _LEASED,
            round.state == fixed(RoundState.OPEN),
            none(OwnItem, OwnItem.item_id == slot.item_id, OwnItem.labeler_id == _me),
        )
        .order_by(slot.position, slot.id)
    )
    return found.where(round.number == offering.number) if one_round else found


@lru_cache
def _own_first(one_round: bool, other: bool = False) -> Select:
    slot = aliased(Assignment)
    found = _own(slot, one_round).limit(ONE)
    return found.where(slot.item_id != _item) if other else found


@lru_cache
def _next(lease_minutes: float, asked: OfferConditions, offers: Offers) -> Update:
    # Separate look-ups, because an OR would sort the whole queue. Abandoned slots come before new ones, but not
    # before a round of a higher priority. The last look-up runs only if the others found nothing, and takes slots
    # reserved for other labelers: a reservation keeps nobody from working.
    def found(free: Callable, turn: int = 0) -> Select:
        slot = aliased(Assignment)
        slots = offered(slot, asked).where(free(slot))
        return _first(slots.add_columns(slot.position, literal_column(str(turn)).label("turn")), slot, skip_locked=True)

    def id_of(free: Callable) -> ScalarSelect:
        return select(found(free).subquery().c.id).scalar_subquery()

    unfinished = aliased(Assignment)
    look_ups = [_first(_own(unfinished, asked.one_round), unfinished, skip_locked=False).scalar_subquery()]
    if offers is Offers.FREE:
        look_ups.append(id_of(offering.unreserved))
    elif offers is Offers.ALL:
        both = union_all(*(select(found(free, turn).subquery()) for turn, free in enumerate(_BOTH))).subquery()
        earlier = select(both.c.id).order_by(order.level(both.c.position), both.c.turn).limit(ONE).scalar_subquery()
        look_ups += [id_of(offering.reserved), earlier, id_of(offering.fresh)]
    slot_id = func.coalesce(*look_ups) if len(look_ups) > 1 else look_ups[0]
    until = _lease_until(lease_minutes)
    return _hand(slot_id, Assignment.public_id, state=AssignmentState.LEASED, lease_until=until)


_BOTH = (offering.abandoned, offering.unreserved)


@lru_cache
def _reserve(which: Callable, asked: OfferConditions) -> Update:
    slot = aliased(Assignment)
    mine = Assignment.ahead_for_id == _me
    first = _first(offered(slot, asked).where(which(slot)), slot, skip_locked=True)
    return _quick(
        update(Assignment)
        .where(Assignment.id == first.scalar_subquery())
        .values(
            ahead_for_id=_me,
            ahead_until=utc_now(AHEAD_SECONDS),
            fence=case((mine, Assignment.fence), else_=Assignment.fence + 1),
        )
        .returning(Assignment.id)
    )


@lru_cache
def _reopen(lease_minutes: float) -> Update:
    filled = and_(Assignment.item_id == _item, Assignment.labeler_id == _me, Assignment.state == _SUBMITTED)
    again = {"state": AssignmentState.LEASED, "submitted_at": None, "lease_until": _lease_until(lease_minutes)}
    return _quick(update(Assignment).where(filled).values(**again).returning(Assignment.id))


def _slot_of_item():
    mine, other = aliased(Assignment), aliased(Assignment)
    held = select(mine.id).where(mine.item_id == _item, mine.labeler_id == _me, mine.state == _LEASED)
    free = select(other.id).where(other.item_id == _item, or_(offering.abandoned(other), offering.fresh(other)))
    free = free.order_by(case((other.ahead_for_id == _me, 0), (other.ahead_for_id.is_(None), 1), else_=2), other.slot)
    # No SKIP LOCKED on the labeler's own slot: the same labeler's heartbeat must not make it look lost.
    return func.coalesce(
        _first(held, mine, skip_locked=False).scalar_subquery(), _first(free, other, skip_locked=True).scalar_subquery()
    )


@lru_cache
def _of_item(lease_minutes: float) -> Update:
    return _hand(_slot_of_item(), state=AssignmentState.LEASED, lease_until=_lease_until(lease_minutes))


@lru_cache
def _fill() -> Update:
    at = bindparam("at", type_=UTCDateTime)
    return _hand(_slot_of_item(), state=AssignmentState.SUBMITTED, lease_until=None, submitted_at=at)


@lru_cache
def _renew(lease_minutes: float, fenced: bool) -> Update:
    renewed = update(Assignment).where(_held).values(lease_until=_lease_until(lease_minutes))
    if fenced:
        renewed = renewed.where(Assignment.fence == bindparam("given", type_=Integer))
    return _quick(renewed.returning(Assignment.lease_until))


@lru_cache
def _renew_given(lease_minutes: float) -> Update:
    asked = aliased(Assignment)
    item = select(asked.item_id).where(asked.public_id == bindparam("of", type_=String)).scalar_subquery()
    held = and_(
        Assignment.item_id == item,
        Assignment.labeler_id == _me,
        Assignment.state == _LEASED,
        Assignment.fence == bindparam("given", type_=Integer),
    )
    renewed = update(Assignment).where(held).values(lease_until=_lease_until(lease_minutes))
    return _quick(renewed.returning(Assignment.lease_until))


@lru_cache
def _release() -> Update:
    free = {"state": AssignmentState.OPEN, "labeler_id": None, "lease_until": None, "claimed_at": None}
    return _quick(update(Assignment).where(_held).values(**free))


@lru_cache
def _count(asked: OfferConditions) -> Select:
    slot = aliased(Assignment)
    free = offered(slot, asked).where(or_(offering.abandoned(slot), offering.fresh(slot))).order_by(None)
    items = free.with_only_columns(slot.item_id, maintain_column_froms=True).distinct()
    counted = items.limit(bindparam("at_most", type_=Integer)).subquery()
    return (
        select(Round.priority, Round.number, Item.kind, func.count())
        .join(Item, Item.round_id == Round.id)
        .join(counted, counted.c.item_id == Item.id)
        .group_by(Round.priority, Round.number, Item.kind)
    )
