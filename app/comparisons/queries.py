"""Reading comparisons."""

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload, selectinload

from app.accounts.tables import Account
from app.comparisons.tables import ComparedCompletion, Comparison, ComparisonSource
from app.completions.tables import Completion
from app.errors import NotFound
from app.i18n import gettext as _
from app.rounds.tables import Item, Round


def by_labeler(session: Session, item_id: int, labeler: Account) -> Comparison | None:
    """What this labeler handed in for an item."""
    return session.scalar(select(Comparison).where(Comparison.item_id == item_id, Comparison.labeler_id == labeler.id))


def _whole():
    return select(Comparison).options(
        joinedload(Comparison.prompt),
        joinedload(Comparison.item).joinedload(Item.round),
        joinedload(Comparison.labeler),
        joinedload(Comparison.guideline),
        joinedload(Comparison.form),
        selectinload(Comparison.completions).joinedload(ComparedCompletion.completion).joinedload(Completion.policy),
    )


def comparison(session: Session, public_id: str) -> Comparison:
    """A comparison with all it points to, or NotFound."""
    found = session.scalar(_whole().where(Comparison.public_id == public_id))
    if found is None:
        raise NotFound(_("There is no such comparison."))
    return found


def comparisons(
    session: Session,
    *,
    round_number: int | None = None,
    labeler: str = "",
    source: ComparisonSource | None = None,
    after: int = 0,
    before: int | None = None,
    limit: int = 100,
) -> list[Comparison]:
    """Comparisons by id: the oldest after one or the newest before one; of a round, of a labeler (public id)."""
    query = _whole().where(Comparison.id > after).limit(limit)
    if before is None:
        query = query.order_by(Comparison.id)
    else:
        query = query.where(Comparison.id < before).order_by(Comparison.id.desc())
    if round_number is not None:
        query = query.join(Item, Item.id == Comparison.item_id).join(Round, Round.id == Item.round_id)
        query = query.where(Round.number == round_number)
    if labeler:
        query = query.join(Account, Account.id == Comparison.labeler_id).where(Account.public_id == labeler)
    if source is not None:
        query = query.where(Comparison.source == source)
    return list(session.scalars(query))


def ranked(comparison: Comparison) -> list[ComparedCompletion]:
    """Its completions, the best first, ties in the order in which they were shown, unranked ones last."""
    return sorted(comparison.completions, key=lambda one: (one.tier is None, one.tier or 0, one.shown_position))
