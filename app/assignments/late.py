"""Late answers, submitted when their item had no slot left. They take slots that become free, earliest answer first.

Code that frees a slot lets them take it at once; `reconcile` finds the slots whose lease ran out. Nothing is filled
after a round has closed, so a closed round never gains an answer that counts.
"""

from collections.abc import Callable
from typing import Any, Protocol

from sqlalchemy import ColumnElement, case, or_, select, update
from sqlalchemy.orm import Session, aliased

from app.accounts.tables import Account
from app.assignments.offering import abandoned, fresh, none
from app.assignments.tables import Assignment, AssignmentState, Draft
from app.rounds.tables import ONBOARDING, Item, ItemKind, Round, RoundState


class _Answer(Protocol):
    assignment_id: int | None
    surplus: bool


Then = Callable[[Session, Any], None]  # called when a late answer counts
_answers: dict[ItemKind, tuple[type[_Answer], Then]] = {}


def register(kind: ItemKind, table: type[_Answer], then: Then = lambda _session, _answer: None) -> None:
    """Register the table of answers to items of a kind, and what to call when a late one counts."""
    _answers[kind] = table, then


def fill(
    session: Session, items: ColumnElement[bool], *, left_by: Account | None = None, closing: bool = False
) -> None:
    """Let late answers to the items that match a condition (on Item) take free slots.

    Free slots are those that nobody holds, those whose lease ran out, and those held by `left_by`, who has withdrawn
    an answer. In a round that is being closed, all unfilled slots are free.
    """
    held = aliased(Assignment)
    answered = none(held, held.item_id == Draft.item_id, held.labeler_id == Draft.labeler_id)
    late = session.execute(
        select(Draft.item_id, Draft.labeler_id, Draft.submitted_at, Item.kind)
        .join(Item, Item.id == Draft.item_id)
        .where(items, Draft.submitted_at.is_not(None), answered)
        .order_by(Draft.submitted_at, Draft.labeler_id)
        .with_for_update(of=Draft)  # an undo of the answer waits for this transaction, or this for the undo
    ).all()
    for item_id, labeler_id, submitted_at, kind in late:
        slot = session.scalar(
            update(Assignment)
            .where(Assignment.id == _free_slot(item_id, left_by, closing))
            .values(
                state=AssignmentState.SUBMITTED,
                labeler_id=labeler_id,
                fence=Assignment.fence + 1,
                claimed_at=submitted_at,
                submitted_at=submitted_at,
                lease_until=None,
                ahead_for_id=None,
                ahead_until=None,
            )
            .returning(Assignment.id)
            .execution_options(synchronize_session=False)
        )
        if slot is not None:
            _count(session, kind, item_id, labeler_id, slot)


def reconcile(session: Session) -> None:
    """Let late answers of open rounds take slots whose lease ran out, or that were freed as the answers came in."""
    # Lock the rounds before the slots, as closing a round does.
    rounds = select(Round.id).where(Round.state == RoundState.OPEN, Round.purpose.not_in(ONBOARDING)).order_by(Round.id)
    open_ = session.scalars(rounds.with_for_update(read=True)).all()
    slot = aliased(Assignment)
    free = select(slot.id).where(slot.item_id == Item.id, or_(fresh(slot), abandoned(slot)))
    fill(session, Item.round_id.in_(open_) & free.exists())


def _free_slot(item_id: int, left_by: Account | None, closing: bool):
    slot = aliased(Assignment)
    free = [fresh(slot), abandoned(slot)]
    if left_by is not None:
        free.append((slot.state == AssignmentState.LEASED) & (slot.labeler_id == left_by.id))
    if closing:
        free.append(slot.state == AssignmentState.LEASED)
    first = select(slot.id).where(slot.item_id == item_id, or_(*free))
    first = first.order_by(case((fresh(slot), 0), else_=1), slot.ahead_for_id.is_not(None), slot.slot).limit(1)
    return first.with_for_update(of=slot).scalar_subquery()


def _count(session: Session, kind: ItemKind, item_id: int, labeler_id: int, slot: int) -> None:
    table, then = _answers[kind]
    answer = session.scalars(select(table).filter_by(item_id=item_id, labeler_id=labeler_id)).one()
    answer.surplus, answer.assignment_id = False, slot
    session.flush()
    then(session, answer)
