"""Changing the order in which a round's tasks are handed out, and to whom."""

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.accounts.rules import record
from app.accounts.tables import Account
from app.assignments import order
from app.assignments.tables import Assignment
from app.rounds.schemas import percent
from app.rounds.tables import Item, Round, RoundPriority


def change(
    session: Session,
    round: Round,
    by: Account | None,
    *,
    priority: RoundPriority | None = None,
    reserved_for_people: float | None = None,
) -> None:
    """Change a round's priority and the share of its items reserved for people; labelers keep the slots they hold."""
    session.refresh(round, ["priority"], with_for_update=True)
    if reserved_for_people is not None:
        round.reserved_percent = percent(reserved_for_people)
    if priority is not None and priority is not round.priority:
        further = order.distance(round.priority, priority)
        round.priority = priority
        session.flush()  # write the round before its slots, as closing a round does
        items = select(Item.id).where(Item.round_id == round.id)
        moved = update(Assignment).where(Assignment.item_id.in_(items)).values(position=Assignment.position + further)
        session.execute(moved.execution_options(synchronize_session=False))
    session.flush()
    shown = {"priority": round.priority, "reserved_percent": round.reserved_percent}
    record(session, by, "round.change", subject=round.public_id, number=round.number, **shown)
