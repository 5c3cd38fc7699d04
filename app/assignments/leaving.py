"""Freeing at once what an account can no longer work on; its drafts stay."""

from sqlalchemy import ColumnElement, Text, cast, select
from sqlalchemy.orm import Session

from app.accounts import rules as accounts
from app.accounts.tables import Account
from app.assignments import late, slots
from app.assignments.offering import quoted
from app.assignments.tables import Assignment, AssignmentState
from app.rounds.tables import ONBOARDING, Item, Round, RoundState


def change_account(session: Session, account: Account, *, by: Account | None, **changes) -> Account:
    """Change an account through accounts.rules; if that disables, pauses or moves it, free the slots it cannot keep."""
    pool = account.pool
    changed = accounts.change_account(session, account, by=by, **changes)
    if changed.disabled_at or changed.paused:
        slots.give_back(session, changed)
    if changed.disabled_at:
        _release(session, changed, Round.id > 0)
    elif changed.pool is not pool:
        slots.give_back(session, changed)
        _release(session, changed, ~cast(Round.pools, Text).contains(quoted(changed.pool)))
    return changed


def _release(session: Session, account: Account, rounds: ColumnElement[bool]) -> None:
    """Free the slots that an account holds in open rounds, except in practice and screening, where all are its own."""
    held = session.execute(
        select(Assignment.item_id, Item.round_id)
        .join(Item, Item.id == Assignment.item_id)
        .join(Round, Round.id == Item.round_id)
        .where(
            Assignment.labeler_id == account.id,
            Assignment.state == AssignmentState.LEASED,
            Round.state == RoundState.OPEN,
            Round.purpose.not_in(ONBOARDING),
            rounds,
        )
    ).all()
    # Lock the rounds before the slots, as closing a round does.
    open_ = select(Round.id).where(Round.id.in_({one.round_id for one in held}), Round.state == RoundState.OPEN)
    still_open = set(session.scalars(open_.order_by(Round.id).with_for_update(read=True)))
    items = [one.item_id for one in held if one.round_id in still_open]
    for item_id in items:
        slots.release(session, item_id, account)
    if items:
        late.fill(session, Item.id.in_(items))
