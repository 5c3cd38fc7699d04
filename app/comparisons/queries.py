"""Reading comparisons."""

from collections.abc import Sequence

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


def page(
    session: Session,
    cursor: str | None,
    limit: int,
    *,
    round_number: int | None = None,
    labeler: str = "",
    source: ComparisonSource | None = None,
) -> tuple[Sequence[Comparison], str | None]:
    """One page of them, the newest first, and the next cursor; of a round, of a labeler (public id or user name)."""
    query = _whole().order_by(Comparison.id.desc()).limit(limit + 1)
    if cursor:
        older = select(Comparison.id).where(Comparison.public_id == cursor).scalar_subquery()
        query = query.where(Comparison.id < older)
    if round_number is not None:
        of_round = select(Item.id).join(Round, Round.id == Item.round_id).where(Round.number == round_number)
        query = query.where(Comparison.item_id.in_(of_round))
    if labeler:
        known = select(Account.id).where((Account.public_id == labeler) | (Account.username == labeler.lower()))
        query = query.where(Comparison.labeler_id.in_(known))
    if source is not None:
        query = query.where(Comparison.source == source)
    found = session.scalars(query).all()
    return found[:limit], found[limit - 1].public_id if len(found) > limit else None


def ranked(comparison: Comparison) -> list[ComparedCompletion]:
    """Its completions, the best first, ties in the order in which they were shown, unranked ones last."""
    return sorted(comparison.completions, key=lambda one: (one.tier is None, one.tier or 0, one.shown_position))
