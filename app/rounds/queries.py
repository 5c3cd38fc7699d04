"""Reads of rounds and their items, and of the prompts that a plan selects."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Select, exists, func, select
from sqlalchemy.orm import Session, joinedload, selectinload

from app.kit import cursors
from app.prompts.queries import in_collections
from app.prompts.tables import Prompt, PromptSource
from app.rounds.tables import ONBOARDING, Item, ItemCompletion, ItemKind, Round, RoundState
from training.contract.records import Split


def round_(session: Session, public_id: str) -> Round | None:
    """Return a round with its guideline and form."""
    return session.scalar(_whole().where(Round.public_id == public_id))


def _whole() -> Select[Round]:
    return select(Round).options(joinedload(Round.guideline), joinedload(Round.form))


def by_number(session: Session, number: int) -> Round | None:
    """Return the round with this number."""
    return session.scalar(_whole().where(Round.number == number))


def rounds(session: Session, cursor: str | None, limit: int) -> tuple[Sequence[Round], str | None]:
    """Return one page of rounds, newest first, and the next cursor; practice and screening are left out."""
    found = _whole().where(Round.purpose.not_in(ONBOARDING))
    return cursors.page(session, found, Round, cursor, limit, by=Round.number)


def next_number(session: Session) -> int:
    """Return the number of the next new round."""
    return max(session.scalar(select(func.max(Round.number))) or 0, 0) + 1


def items_by_kind(session: Session, round_ids: Iterable[int]) -> dict[int, dict[ItemKind, int]]:
    """Count each round's items by kind."""
    rows = session.execute(
        select(Item.round_id, Item.kind, func.count())
        .where(Item.round_id.in_(list(round_ids)))
        .group_by(Item.round_id, Item.kind)
    )
    found: dict[int, dict[ItemKind, int]] = {}
    for round_id, kind, count in rows:
        found.setdefault(round_id, {})[kind] = count
    return found


def sizes(session: Session, round: Round) -> list[tuple[int, int]]:
    """Return (K, number of comparison items with K completions), largest K first."""
    each = (
        select(func.count(ItemCompletion.completion_id).label("k"))
        .select_from(Item)
        .join(ItemCompletion, ItemCompletion.item_id == Item.id)
        .where(Item.round_id == round.id)
        .group_by(Item.id)
        .subquery()
    )
    rows = session.execute(select(each.c.k, func.count()).group_by(each.c.k).order_by(each.c.k.desc()))
    return [(k, count) for k, count in rows]


def items(session: Session, round: Round, after: int, limit: int) -> Sequence[Item]:
    """Return items in the order they are handed out, from a position on, with prompt and completions."""
    return session.scalars(
        select(Item)
        .where(Item.round_id == round.id, Item.position >= after)
        .options(
            joinedload(Item.prompt),
            selectinload(Item.completions).joinedload(ItemCompletion.completion),
        )
        .order_by(Item.position)
        .limit(limit)
    ).all()


def is_reserved(item: type[Item] = Item, round: type[Round] = Round) -> ColumnElement[bool]:
    """Match the items that a round reserves for people: a share, rounded down and spread evenly over the positions."""
    return (item.position * round.reserved_percent) % 100 >= 100 - round.reserved_percent


def open_rounds(session: Session) -> Sequence[Round]:
    """Return the open rounds, by number."""
    return session.scalars(_whole().where(Round.state == RoundState.OPEN).order_by(Round.number)).all()


class Candidate(NamedTuple):
    """A prompt that a plan may select."""

    id: int
    public_id: str
    text_sha256: str
    split: Split
    withdrawn: bool


def candidates(
    session: Session,
    *,
    prompts: Sequence[str] = (),
    collections: Sequence[str] = (),
    splits: Sequence[str] = (),
    use_cases: Sequence[str] = (),
    sources: Sequence[str] = (),
    but_source: PromptSource | None = None,
    unasked: ItemKind | None = None,
    but_round: int | None = None,
) -> list[Candidate]:
    """Return the prompts of a filter; `unasked` leaves out those that another round uses for this kind of item."""
    found = select(
        Prompt.id, Prompt.public_id, Prompt.text_sha256, Prompt.split, Prompt.withdrawn_at.is_not(None)
    ).order_by(Prompt.id)
    if not prompts:  # a withdrawn prompt that is named is reported as left out
        found = found.where(Prompt.withdrawn_at.is_(None))
        if but_source is not None:
            found = found.where(Prompt.source != but_source)
    for column, values in (
        (Prompt.public_id, prompts),
        (Prompt.split, splits),
        (Prompt.use_case, use_cases),
        (Prompt.source, sources),
    ):
        if values:
            found = found.where(column.in_(list(values)))
    if collections:
        found = found.where(in_collections(collections))
    if unasked is not None:
        asked = exists().where(Item.prompt_id == Prompt.id, Item.kind == unasked)
        if but_round is not None:
            asked = asked.where(Item.round_id != but_round)
        found = found.where(~asked)
    return [Candidate(*row) for row in session.execute(found)]
