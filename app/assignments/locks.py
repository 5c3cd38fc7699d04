"""What a transaction waits for, so that two of them cannot both act on what they read."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.tables import Account
from app.rounds.tables import Item, Round, RoundState


def one_at_a_time(session: Session, labeler: Account) -> None:
    """Let other requests of this labeler wait; on SQLite, which has one writer, they wait anyway."""
    session.execute(select(Account.id).where(Account.id == labeler.id).with_for_update(key_share=True))


def is_open(session: Session, item_id: int) -> bool:
    """Whether the item's round is open, and stays so to the end of the transaction.

    A shared lock: whoever closes the round waits for us, so a closed round never gains an answer that counts.
    """
    state = session.scalar(
        select(Round.state)
        .join(Item, Item.round_id == Round.id)
        .where(Item.id == item_id)
        .with_for_update(read=True, of=Round)
    )
    return state is RoundState.OPEN
