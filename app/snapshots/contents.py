"""The rows that a filter selects: counted by the reason why they are left out, and streamed if they are not."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select
from sqlalchemy.orm import Session, contains_eager, selectinload

from app.accounts.tables import Account, AccountKind
from app.comparisons.tables import ComparedCompletion, Comparison, ComparisonSource
from app.completions.tables import Completion
from app.conversations.tables import Conversation
from app.demonstrations.tables import Demonstration
from app.errors import Conflict
from app.kit.i18n import ngettext
from app.prompts.queries import in_collections
from app.prompts.tables import Prompt, PromptSource
from app.rounds.tables import Item, Round
from app.snapshots.left_out import KINDS, Kind, Reason, key
from app.snapshots.schemas import Also, SnapshotFilter
from app.snapshots.splits import HAS_OPEN_PERSONAL_DATA, Splits, of_answer
from training.contract.records import Pool, Purpose, Split

Row = Demonstration | Conversation | Comparison | Prompt
_ANSWERS: Mapping[Kind, type[Demonstration] | type[Conversation] | type[Comparison]] = {
    Kind.DEMONSTRATIONS: Demonstration,
    Kind.CONVERSATIONS: Conversation,
    Kind.COMPARISONS: Comparison,
}
_UNLESS_ASKED = {Also.SIMULATED: Reason.BY_SIMULATED_LABELERS, Also.DEMO: Reason.BY_DEMO_ACCOUNTS}


def check_examined(session: Session) -> None:
    """Raise Conflict while a prompt is unexamined, since its near-duplicates and personal data are still unknown."""
    waiting = select(func.count()).where(Prompt.language.is_(None), Prompt.withdrawn_at.is_(None))
    if count := session.scalar(waiting.select_from(Prompt)):
        raise Conflict(
            ngettext(
                "%(num)d prompt has not been checked for personal data and near-duplicates yet. Run "
                "`plumbline migrate` to check it, then freeze again.",
                "%(num)d prompts have not been checked for personal data and near-duplicates yet. Run "
                "`plumbline migrate` to check them, then freeze again.",
                count,
            )
            % {"num": count}
        )


def count_rows(
    session: Session, purpose: Purpose, filter: SnapshotFilter, splits: Splits | None = None
) -> tuple[Counter[Kind], dict[str, int]]:
    """Return how many rows of each kind a snapshot would hold, and how many are left out by reason.

    Without `splits`, neither splits nor conversations that repeat a prompt with open personal data are checked.
    """
    held: Counter[Kind] = Counter()
    left_out: dict[str, int] = {}
    for kind in chain(*KINDS[purpose]):
        counts = tally(session, kind, filter, splits)
        held[kind] = counts[None]
        left_out |= {key(kind, reason): counts[reason] for reason in Reason if counts[reason]}
    return held, left_out


def tally(session: Session, kind: Kind, filter: SnapshotFilter, splits: Splits | None = None) -> Counter[Reason | None]:
    """Count the rows of a kind by the reason why they are left out; None: they are not."""
    counts: Counter[Reason | None] = Counter()
    if splits is None:
        column = _reason(kind, filter).label("reason")
        rows = _meant(kind, filter).with_only_columns(column, maintain_column_froms=True).subquery()
        for reason, count in session.execute(select(rows.c.reason, func.count()).group_by(rows.c.reason)):
            counts[reason and Reason(reason)] += count
        return counts
    table = _ANSWERS.get(kind)
    pools = [table.pool] if table else []
    columns = (_reason(kind, filter), (table or Prompt).id, Prompt.folded_sha256, Prompt.split, *pools)
    query: Select = _meant(kind, filter).with_only_columns(*columns, maintain_column_froms=True)
    for reason, id, folded, own, *pool in session.execute(query):
        if reason is None:
            counts[_of_splits(kind, filter, splits, id, _split(kind, splits, id, folded, own, *pool))] += 1
        else:
            counts[Reason(reason)] += 1
    return counts


def rows(session: Session, kind: Kind, filter: SnapshotFilter, splits: Splits) -> Iterator[tuple[Row, Prompt, Split]]:
    """Yield (row, its prompt, its split) of what a snapshot holds, ordered by the hash of the prompt's text."""
    query = (
        _meant(kind, filter).where(_reason(kind, filter).is_(None)).order_by(Prompt.text_sha256).options(*_loaded(kind))
    )
    for row in session.scalars(query).yield_per(500):
        prompt = _prompt_of(row)
        split = _split(kind, splits, row.id, prompt.folded_sha256, prompt.split, getattr(row, "pool", Pool.TRAIN))
        if _of_splits(kind, filter, splits, row.id, split) is None:
            yield row, prompt, split


def _split(kind: Kind, splits: Splits, id: int, folded: str, own: Split, pool: Pool = Pool.TRAIN) -> Split:
    found = splits.of_conversation(id, own) if kind is Kind.CONVERSATIONS else splits.of_text(folded, own)
    return of_answer(found, pool)


def _of_splits(kind: Kind, filter: SnapshotFilter, splits: Splits, id: int, split: Split) -> Reason | None:
    """Return why a row is left out that its own columns admit, or None."""
    if kind is Kind.CONVERSATIONS and id in splits.with_open_personal_data:
        return Reason.OPEN_PERSONAL_DATA
    return Reason.OTHER_SPLITS if filter.splits and split not in filter.splits else None


def _meant(kind: Kind, filter: SnapshotFilter) -> Select:
    """Select the rows of the filter's rounds, collections and prompts, including those that are left out later."""
    of_rounds = Round.number.in_(filter.rounds or [])
    if kind is Kind.DEMONSTRATIONS:
        few_shot = and_(Demonstration.item_id.is_(None), in_collections(filter.collections))
        query: Select = select(Demonstration).join(Demonstration.completion).join(Completion.prompt)
        query = query.outerjoin(Demonstration.item).outerjoin(Item.round).join(Demonstration.labeler)
        return query.where(or_(of_rounds, few_shot))
    if kind is Kind.CONVERSATIONS:
        query = select(Conversation).join(Conversation.item).join(Item.round).join(Item.prompt)
        return query.join(Conversation.labeler).where(of_rounds)
    if kind is Kind.COMPARISONS:
        imported = and_(Comparison.item_id.is_(None), Comparison.collection.in_(filter.collections))
        query = select(Comparison).join(Comparison.prompt).outerjoin(Comparison.item).outerjoin(Item.round)
        return query.outerjoin(Comparison.labeler).where(or_(of_rounds, imported))
    if filter.prompts is not None:
        return select(Prompt).where(Prompt.public_id.in_(filter.prompts))
    return select(Prompt).where(in_collections(filter.collections)) if filter.collections else select(Prompt)


def _reason(kind: Kind, filter: SnapshotFilter) -> ColumnElement[str | None]:
    """Return the SQL expression for why a row is left out, from its columns; null: it is not."""
    table, withdrawn = _ANSWERS.get(kind), Prompt.withdrawn_at.is_not(None)
    if table is None:
        cases = [(Prompt.source == PromptSource.USE_CASE, Reason.DESCRIBING_USES), (withdrawn, Reason.WITHDRAWN)]
    else:
        cases = [(table.surplus.is_(True), Reason.SURPLUS), (withdrawn, Reason.OF_WITHDRAWN_PROMPTS)]
        unasked = [(also, reason) for also, reason in _UNLESS_ASKED.items() if also not in filter.also]
        cases += [(Account.kind == AccountKind(also), reason) for also, reason in unasked]
    if kind is Kind.COMPARISONS:
        cases = [(Comparison.source == ComparisonSource.AI_JUDGE, Reason.BY_AI_JUDGES), *cases]
    cases.append((HAS_OPEN_PERSONAL_DATA, Reason.OPEN_PERSONAL_DATA))
    return case(*((holds, reason.value) for holds, reason in cases), else_=None)


def _loaded(kind: Kind) -> tuple:
    """Return the loader options for what is read with a row."""
    if kind is Kind.DEMONSTRATIONS:
        prompt = contains_eager(Demonstration.completion).contains_eager(Completion.prompt)
        return prompt, contains_eager(Demonstration.labeler)
    if kind is Kind.CONVERSATIONS:
        prompt = contains_eager(Conversation.item).contains_eager(Item.prompt)
        return prompt, contains_eager(Conversation.labeler), selectinload(Conversation.messages)
    if kind is Kind.COMPARISONS:
        texts = selectinload(Comparison.completions).joinedload(ComparedCompletion.completion)
        round = contains_eager(Comparison.item).contains_eager(Item.round)
        return (
            contains_eager(Comparison.prompt),
            round,
            contains_eager(Comparison.labeler),
            texts.joinedload(Completion.policy),
        )
    return ()


def _prompt_of(row: Row) -> Prompt:
    if isinstance(row, Prompt):
        return row
    return row.item.prompt if isinstance(row, Conversation) else row.prompt
