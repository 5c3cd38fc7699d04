"""Who holds which slot of an item, decided by the conditions of single UPDATE statements.

Between labelers PostgreSQL's SKIP LOCKED keeps one from waiting for another; SQLite has one writer. The statements are
built once and take their values as parameters: building them costs more than running them.
"""

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache

from sqlalchemy import (
    Integer,
    String,
    Text,
    UnaryExpression,
    Update,
    and_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session, aliased

from app.accounts.tables import Account, AccountKind
from app.assignments.tables import Assignment, AssignmentState, Draft, Skip
from app.config import settings
from app.database import UTCDateTime, utc_now
from app.prompts.tables import Prompt
from app.rounds.tables import ONBOARDING, Item, ItemKind, Round, RoundPurpose, RoundState

_me = bindparam("me", type_=Integer)
_item = bindparam("item", type_=Integer)
_pool = bindparam("pool", type_=String)
_UNRESERVED = {"ahead_for_id": None, "ahead_until": None}
AHEAD_SECONDS = 120  # how long a slot is reserved for the labeler whose next page it is
_held = and_(Assignment.item_id == _item, Assignment.labeler_id == _me, Assignment.state == AssignmentState.LEASED)


def take_unfinished(session: Session, labeler: Account) -> int | None:
    """Give the labeler the own unfinished work of an open round again, under the same fence; returns its id."""
    return session.scalar(_unfinished(settings().lease_minutes), {"me": labeler.id})


def take_next(session: Session, labeler: Account) -> int | None:
    """Give the labeler the first slot that waits; returns its id."""
    statement = _next(settings().lease_minutes, labeler.kind is AccountKind.SIMULATED, labeler.avoids_sensitive)
    return session.scalar(statement, {"me": labeler.id, "pool": _named(labeler.pool)})


def other_unfinished(session: Session, item_id: int, labeler: Account) -> int | None:
    """What `take_unfinished` would give once this item is done."""
    return session.scalar(_other_unfinished(), {"me": labeler.id, "item": item_id})


def reserve(session: Session, labeler: Account) -> int | None:
    """Reserve the first slot that waits, so that its page can be prepared; the same one again while it is free.

    The slot stays open, and the reservation is short: others take the slot when nothing else waits for them.
    """
    values = {"me": labeler.id, "pool": _named(labeler.pool)}
    how = (labeler.kind is AccountKind.SIMULATED, labeler.avoids_sensitive)
    if again := session.scalar(_reserve(_reserved, *how), values):
        return again
    give_back(session, labeler)  # one whose round closed, for example: a labeler has one at most
    return session.scalar(_reserve(_unreserved, *how), values)


def give_back(session: Session, labeler: Account) -> None:
    """End the labeler's reservation; that nothing was begun there is forgotten."""
    reserved = select(Assignment.item_id).where(Assignment.ahead_for_id == labeler.id)
    untouched = delete(Draft).where(
        Draft.labeler_id == labeler.id,
        Draft.version == 0,
        Draft.item_id.in_(reserved),
        _none(Assignment.item_id == Draft.item_id, Assignment.labeler_id == labeler.id),
    )
    session.execute(untouched.execution_options(synchronize_session=False))
    free = update(Assignment).where(Assignment.ahead_for_id == labeler.id).values(**_UNRESERVED)
    session.execute(_quick(free))


def reopen(session: Session, item_id: int, labeler: Account) -> int | None:
    """Put the slot that the labeler filled back into the labeler's hands, under the same fence."""
    return session.scalar(_reopen(settings().lease_minutes), {"me": labeler.id, "item": item_id})


def take(session: Session, item_id: int, labeler: Account) -> int | None:
    """Give the labeler the slot of this item that is the labeler's, else one that nobody holds; returns its id."""
    return session.scalar(_of_item(settings().lease_minutes), {"me": labeler.id, "item": item_id})


def fill(session: Session, item_id: int, labeler: Account, at: datetime) -> int | None:
    """The same slot, handed in at a time."""
    return session.scalar(_fill(), {"me": labeler.id, "item": item_id, "at": at})


def renew(session: Session, item_id: int, labeler: Account, fence: int | None = None) -> datetime | None:
    """Start the lease anew, also one that ran out while nobody else asked; None if it is lost."""
    values = {"me": labeler.id, "item": item_id, "given": fence}
    return session.scalar(_renew(settings().lease_minutes, fence is not None), values)


def release(session: Session, item_id: int, labeler: Account) -> None:
    """Give the labeler's slot of this item back."""
    session.execute(_release(), {"me": labeler.id, "item": item_id})


def count_waiting(session: Session, labeler: Account, at_most: int) -> dict[tuple[int, ItemKind], int]:
    """How many items have a free slot for this labeler, by round number and kind, counted up to `at_most` in all."""
    statement = _count(labeler.kind is AccountKind.SIMULATED, labeler.avoids_sensitive)
    rows = session.execute(statement, {"me": labeler.id, "pool": _named(labeler.pool), "at_most": at_most})
    return {(number, kind): count for number, kind, count in rows}


# --- Conditions ---


def _named(pool: str) -> str:
    return f'"{pool}"'  # as it stands in the JSON list Round.pools


def _abandoned(slot):
    return and_(slot.state == AssignmentState.LEASED, slot.lease_until < utc_now())


def _fresh(slot):
    return slot.state == AssignmentState.OPEN


def _unreserved(slot):
    return and_(_fresh(slot), or_(slot.ahead_for_id.is_(None), slot.ahead_until < utc_now()))


def _reserved(slot):
    return and_(_fresh(slot), slot.ahead_for_id == _me)


def _offered(slot, simulated: bool, avoids_sensitive: bool):
    """Slots the labeler may be given, in the order in which they are handed out; free or not is the caller's part."""
    own, item, round = aliased(Assignment), aliased(Item), aliased(Round)
    withheld = [*ONBOARDING]  # everybody has slots of their own there
    if simulated:
        withheld.append(RoundPurpose.DEMO)  # readable texts wait for a person; no rubric judges them
    offered = (
        select(slot.id)
        .join(item, item.id == slot.item_id)
        .join(round, round.id == item.round_id)
        .where(
            round.state == RoundState.OPEN,
            round.purpose.not_in(withheld),
            cast(round.pools, Text).contains(_pool),
            _none(own.item_id == slot.item_id, own.labeler_id == _me),
            _none(Skip.item_id == slot.item_id, Skip.labeler_id == _me),
            _none(Draft.item_id == slot.item_id, Draft.labeler_id == _me, Draft.submitted_at.is_not(None)),
        )
        .order_by(slot.position, slot.id)
    )
    if avoids_sensitive:
        offered = offered.join(Prompt, Prompt.id == item.prompt_id).where(~Prompt.sensitive)
    return offered


def _none(*conditions) -> UnaryExpression:
    return ~exists().where(*conditions)


def _first(slots, slot, *, skip_locked: bool):
    """The first of the slots; with `skip_locked`, the first that no other transaction is just taking."""
    return slots.limit(1).with_for_update(skip_locked=skip_locked, of=slot).scalar_subquery()


# --- Statements ---


def _lease_until(minutes: float) -> utc_now:
    return utc_now(minutes * 60)


def _hand(slot_id, **values) -> Update:
    """The UPDATE that puts a slot into the labeler's hands; a new holder means a new fence."""
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
        .returning(Assignment.id)
    )


def _quick(statement: Update) -> Update:
    return statement.execution_options(synchronize_session=False)


def _own(slot):
    item, round = aliased(Item), aliased(Round)
    return (
        select(slot.id)
        .join(item, item.id == slot.item_id)
        .join(round, round.id == item.round_id)
        .where(slot.labeler_id == _me, slot.state == AssignmentState.LEASED, round.state == RoundState.OPEN)
        .order_by(slot.position, slot.id)
    )


@lru_cache
def _other_unfinished():
    slot = aliased(Assignment)
    return _own(slot).where(slot.item_id != _item).limit(1)


@lru_cache
def _unfinished(lease_minutes: float) -> Update:
    slot = aliased(Assignment)
    own = _own(slot)
    taken = {"state": AssignmentState.LEASED, "lease_until": _lease_until(lease_minutes)}
    return _hand(_first(own, slot, skip_locked=False), **taken)


@lru_cache
def _next(lease_minutes: float, simulated: bool, avoids_sensitive: bool) -> Update:
    # Single look-ups, because an OR would sort the whole queue; each runs only if those before it found none. The last
    # one takes what is reserved for somebody else: a reservation keeps nobody from working.
    candidates = []
    for free in (_reserved, _abandoned, _unreserved, _fresh):
        slot = aliased(Assignment)
        candidates.append(_first(_offered(slot, simulated, avoids_sensitive).where(free(slot)), slot, skip_locked=True))
    taken = {"state": AssignmentState.LEASED, "lease_until": _lease_until(lease_minutes)}
    return _hand(func.coalesce(*candidates), **taken)


@lru_cache
def _reserve(which: Callable, simulated: bool, avoids_sensitive: bool) -> Update:
    slot = aliased(Assignment)
    mine = Assignment.ahead_for_id == _me
    offered = _offered(slot, simulated, avoids_sensitive).where(which(slot))
    return _quick(
        update(Assignment)
        .where(Assignment.id == _first(offered, slot, skip_locked=True))
        .values(
            ahead_for_id=_me,
            ahead_until=utc_now(AHEAD_SECONDS),
            fence=case((mine, Assignment.fence), else_=Assignment.fence + 1),
        )
        .returning(Assignment.id)
    )


@lru_cache
def _reopen(lease_minutes: float) -> Update:
    filled = and_(
        Assignment.item_id == _item, Assignment.labeler_id == _me, Assignment.state == AssignmentState.SUBMITTED
    )
    again = {"state": AssignmentState.LEASED, "submitted_at": None, "lease_until": _lease_until(lease_minutes)}
    return _quick(update(Assignment).where(filled).values(**again).returning(Assignment.id))


def _slot_of_item():
    own, other = aliased(Assignment), aliased(Assignment)
    held = select(own.id).where(own.item_id == _item, own.labeler_id == _me, own.state == AssignmentState.LEASED)
    free = select(other.id).where(other.item_id == _item, or_(_abandoned(other), _fresh(other)))
    free = free.order_by(case((other.ahead_for_id == _me, 0), (other.ahead_for_id.is_(None), 1), else_=2), other.slot)
    # No SKIP LOCKED for the own one: a heartbeat of the same labeler must not make it look lost.
    return func.coalesce(_first(held, own, skip_locked=False), _first(free, other, skip_locked=True))


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
def _release() -> Update:
    free = {"state": AssignmentState.OPEN, "labeler_id": None, "lease_until": None, "claimed_at": None}
    return _quick(update(Assignment).where(_held).values(**free))


@lru_cache
def _count(simulated: bool, avoids_sensitive: bool):
    slot = aliased(Assignment)
    free = _offered(slot, simulated, avoids_sensitive).where(or_(_abandoned(slot), _fresh(slot))).order_by(None)
    items = free.with_only_columns(slot.item_id, maintain_column_froms=True).distinct()
    counted = items.limit(bindparam("at_most", type_=Integer)).subquery()
    return (
        select(Round.number, Item.kind, func.count())
        .join(Item, Item.round_id == Round.id)
        .join(counted, counted.c.item_id == Item.id)
        .group_by(Round.number, Item.kind)
    )
