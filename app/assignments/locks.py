"""Row locks that serialize a labeler's requests and keep a round open until commit."""

from functools import cache

from sqlalchemy import ColumnElement, Integer, Row, Select, bindparam, select
from sqlalchemy.orm import Session

from app.accounts.tables import Account
from app.database import run
from app.rounds.tables import Item, Round, RoundState


def one_at_a_time(session: Session, labeler: Account, *columns: ColumnElement) -> Row:
    """Make other requests of this labeler wait until commit; on SQLite, which has one writer, they wait anyway.

    Return the account's id and the columns, which may be a moment older than the lock.
    """
    return run(session, _locked(*columns), {"me": labeler.id}).one()


@cache
def _locked(*columns: ColumnElement) -> Select:
    found = select(Account.id, *columns).where(Account.id == bindparam("me", type_=Integer))
    return found.with_for_update(key_share=True, of=Account)


def is_open(session: Session, item_id: int) -> bool:
    """Return whether the item's round is open, and keep it so until the end of the transaction.

    The lock is shared: closing the round waits for this transaction, so a closed round never gains an answer that
    counts.
    """
    state = session.scalar(
        select(Round.state)
        .join(Item, Item.round_id == Round.id)
        .where(Item.id == item_id)
        .with_for_update(read=True, of=Round)
    )
    return state is RoundState.OPEN
