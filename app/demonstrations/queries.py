"""Reading demonstrations."""

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from app.accounts.tables import Account
from app.demonstrations.tables import Demonstration
from app.errors import NotFound
from app.i18n import gettext as _
from app.rounds.tables import Item, Round


def by_labeler(session: Session, item_id: int, labeler: Account) -> Demonstration | None:
    """What this labeler handed in for an item."""
    return session.scalar(
        select(Demonstration)
        .where(Demonstration.item_id == item_id, Demonstration.labeler_id == labeler.id)
        .options(joinedload(Demonstration.completion))
    )


def _whole():
    return select(Demonstration).options(
        joinedload(Demonstration.item).options(joinedload(Item.prompt), joinedload(Item.round)),
        joinedload(Demonstration.completion),
        joinedload(Demonstration.labeler),
        joinedload(Demonstration.guideline),
    )


def demonstration(session: Session, public_id: str) -> Demonstration:
    """A demonstration with all it points to, or NotFound."""
    found = session.scalar(_whole().where(Demonstration.public_id == public_id))
    if found is None:
        raise NotFound(_("There is no such demonstration."))
    return found


def demonstrations(
    session: Session,
    *,
    round_number: int | None = None,
    labeler: str = "",
    after: int = 0,
    before: int | None = None,
    limit: int = 100,
) -> list[Demonstration]:
    """Demonstrations by id: the oldest after one or the newest before one; of a round, of a labeler (public id)."""
    query = _whole().where(Demonstration.id > after).limit(limit)
    if before is None:
        query = query.order_by(Demonstration.id)
    else:
        query = query.where(Demonstration.id < before).order_by(Demonstration.id.desc())
    if round_number is not None:
        query = query.join(Item, Item.id == Demonstration.item_id).join(Round, Round.id == Item.round_id)
        query = query.where(Round.number == round_number)
    if labeler:
        query = query.join(Account, Account.id == Demonstration.labeler_id).where(Account.public_id == labeler)
    return list(session.scalars(query))
