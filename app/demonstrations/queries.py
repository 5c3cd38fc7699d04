"""Reading demonstrations."""

from collections.abc import Sequence

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


def page(
    session: Session,
    cursor: str | None,
    limit: int,
    *,
    round_number: int | None = None,
    labeler: str = "",
) -> tuple[Sequence[Demonstration], str | None]:
    """One page of them, the newest first, and the next cursor; of a round, of a labeler (public id or user name)."""
    query = _whole().order_by(Demonstration.id.desc()).limit(limit + 1)
    if cursor:
        older = select(Demonstration.id).where(Demonstration.public_id == cursor).scalar_subquery()
        query = query.where(Demonstration.id < older)
    if round_number is not None:
        of_round = select(Item.id).join(Round, Round.id == Item.round_id).where(Round.number == round_number)
        query = query.where(Demonstration.item_id.in_(of_round))
    if labeler:
        known = select(Account.id).where((Account.public_id == labeler) | (Account.username == labeler.lower()))
        query = query.where(Demonstration.labeler_id.in_(known))
    found = session.scalars(query).all()
    return found[:limit], found[limit - 1].public_id if len(found) > limit else None
