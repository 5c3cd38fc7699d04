"""Reads of comparisons."""

from collections.abc import Sequence

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, joinedload, selectinload

from app.assignments.queries import page_of_answers
from app.comparisons.tables import ComparedCompletion, Comparison, ComparisonSource
from app.completions.tables import Completion
from app.errors import NotFound
from app.kit.i18n import gettext as _
from app.rounds.tables import Item


def _whole() -> Select[Comparison]:
    return select(Comparison).options(
        joinedload(Comparison.prompt),
        joinedload(Comparison.item).joinedload(Item.round),
        joinedload(Comparison.labeler),
        joinedload(Comparison.guideline),
        joinedload(Comparison.form),
        selectinload(Comparison.completions).joinedload(ComparedCompletion.completion).joinedload(Completion.policy),
    )


def comparison(session: Session, public_id: str) -> Comparison:
    """Return a comparison with all it points to; raise NotFound if the id is unknown."""
    found = session.scalar(_whole().where(Comparison.public_id == public_id))
    if found is None:
        raise NotFound(_("Comparison not found."))
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
    """Return one page of comparisons, newest first, and the next cursor.

    `round_number`, `labeler` (public id or user name) and `source` select those of one round, labeler and source.
    """
    whole = _whole() if source is None else _whole().where(Comparison.source == source)
    return page_of_answers(session, whole, Comparison, cursor, limit, round_number=round_number, labeler=labeler)


def ranked(comparison: Comparison) -> list[ComparedCompletion]:
    """Return the completions, best first: ties in the order in which they were shown, unranked ones last."""
    return sorted(comparison.completions, key=lambda one: (one.tier is None, one.tier or 0, one.shown_position))
