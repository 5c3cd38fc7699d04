"""Finding snapshots, and the work that one freezes, streamed in the order of the prompts' text hashes."""

from collections.abc import Iterator

from sqlalchemy import Select, and_, false, or_, select
from sqlalchemy.orm import Session, contains_eager, joinedload, load_only, selectinload

from app.comparisons.tables import ComparedCompletion, Comparison, ComparisonSource
from app.completions.tables import Completion
from app.conversations.tables import Conversation
from app.demonstrations.tables import Demonstration
from app.errors import NotFound
from app.guidelines.tables import Guideline
from app.i18n import gettext as _
from app.lists import last_shown
from app.prompts.queries import in_collections
from app.prompts.tables import Prompt, PromptCollection, PromptSource
from app.rounds.tables import Item, Round, RoundPurpose, RoundState
from app.snapshots.schemas import SnapshotFilter
from app.snapshots.tables import Snapshot, SnapshotState
from training.records import Purpose


def find(session: Session, public_id: str) -> Snapshot:
    """The snapshot with this public id; raises NotFound."""
    found = session.scalar(select(Snapshot).where(Snapshot.public_id == public_id))
    if found is None:
        raise NotFound(_("There is no snapshot %(id)s.") % {"id": public_id})
    return found


def listing(session: Session, cursor: str | None = None, limit: int = 50) -> tuple[list[Snapshot], str | None]:
    """One page of the snapshots, the newest first, and the cursor of the next."""
    query = select(Snapshot).order_by(Snapshot.id.desc()).limit(limit + 1)
    if cursor:
        query = query.where(Snapshot.id < last_shown(session, Snapshot, cursor))
    found = list(session.scalars(query))
    return found[:limit], found[limit - 1].public_id if len(found) > limit else None


def ready(session: Session) -> list[Snapshot]:
    """Every snapshot that a job can be started with, the newest first."""
    return list(
        session.scalars(select(Snapshot).where(Snapshot.state == SnapshotState.READY).order_by(Snapshot.id.desc()))
    )


def of_round(session: Session, round: Round) -> list[Snapshot]:
    """The snapshots that hold, or are about to hold, answers of a round, the oldest first."""
    made = select(Snapshot).where(Snapshot.purpose != Purpose.PPO, Snapshot.state != SnapshotState.FAILED)
    made = made.options(load_only(Snapshot.public_id, Snapshot.name, Snapshot.state, Snapshot.filter))
    return [one for one in session.scalars(made.order_by(Snapshot.id)) if round.number in (one.filter["rounds"] or [])]


def closed_training_rounds(session: Session) -> list[int]:
    """Numbers of the closed rounds whose answers train."""
    query = select(Round.number).where(Round.state == RoundState.CLOSED, Round.purpose == RoundPurpose.TRAINING)
    return list(session.scalars(query.order_by(Round.number)))


def nameable_rounds(session: Session) -> list[Round]:
    """Closed rounds that a snapshot may name, the newest first."""
    query = select(Round).where(
        Round.state == RoundState.CLOSED, Round.purpose.in_((RoundPurpose.TRAINING, RoundPurpose.EVALUATION))
    )
    return list(session.scalars(query.order_by(Round.number.desc())))


def rounds_by_number(session: Session, numbers: list[int]) -> dict[int, Round]:
    """The rounds with these numbers."""
    return {found.number: found for found in session.scalars(select(Round).where(Round.number.in_(numbers)))}


def imported_collections(session: Session) -> list[str]:
    """Names of the collections that comparisons were imported into."""
    query = select(Comparison.collection).where(Comparison.source == ComparisonSource.IMPORT).distinct()
    return sorted(session.scalars(query))


def written_collections(session: Session) -> list[str]:
    """Names of the collections with few-shot pairs that labelers wrote."""
    query = (
        select(PromptCollection.name)
        .join(Completion, Completion.prompt_id == PromptCollection.prompt_id)
        .join(Demonstration, Demonstration.completion_id == Completion.id)
        .where(Demonstration.item_id.is_(None))
        .distinct()
    )
    return sorted(session.scalars(query))


def prompt_collections(session: Session) -> list[str]:
    """Names of the collections of prompts."""
    return sorted(session.scalars(select(PromptCollection.name).distinct()))


def demonstrations(session: Session, filter: SnapshotFilter) -> Iterator[Demonstration]:
    """Demonstrations of the filter's rounds, without surplus ones, and few-shot pairs of its collections."""
    pairs = and_(Demonstration.item_id.is_(None), in_collections(filter.collections))
    query = (
        select(Demonstration)
        .join(Demonstration.completion)
        .join(Completion.prompt)
        .outerjoin(Demonstration.item)
        .outerjoin(Item.round)
        .where(
            or_(Round.number.in_(filter.rounds or []), pairs if filter.collections else false()),
            Demonstration.surplus.is_(False),
        )
        .options(
            contains_eager(Demonstration.completion).contains_eager(Completion.prompt),
            joinedload(Demonstration.labeler),
        )
    )
    return session.scalars(_of_prompts(query, filter)).yield_per(500)


def conversations(session: Session, filter: SnapshotFilter) -> Iterator[Conversation]:
    """Conversations of the filter's rounds, without surplus ones."""
    query = (
        select(Conversation)
        .join(Conversation.item)
        .join(Item.round)
        .join(Item.prompt)
        .where(Round.number.in_(filter.rounds or []), Conversation.surplus.is_(False))
        .options(
            contains_eager(Conversation.item).contains_eager(Item.prompt),
            joinedload(Conversation.labeler),
            selectinload(Conversation.messages),
        )
    )
    return session.scalars(_of_prompts(query, filter)).yield_per(500)


def comparisons(session: Session, filter: SnapshotFilter) -> Iterator[Comparison]:
    """Comparisons by people in the filter's rounds, without surplus ones, and imported ones of its collections."""
    by_people = and_(
        Comparison.source == ComparisonSource.PERSON,
        Comparison.surplus.is_(False),
        Round.number.in_(filter.rounds or []),
    )
    imported = and_(Comparison.source == ComparisonSource.IMPORT, Comparison.collection.in_(filter.collections))
    query = (
        select(Comparison)
        .join(Comparison.prompt)
        .outerjoin(Comparison.item)
        .outerjoin(Item.round)
        .where(or_(by_people, imported if filter.collections else false()))
        .options(
            contains_eager(Comparison.prompt),
            contains_eager(Comparison.item).contains_eager(Item.round),
            joinedload(Comparison.labeler),
            selectinload(Comparison.completions)
            .joinedload(ComparedCompletion.completion)
            .joinedload(Completion.policy),
        )
    )
    return session.scalars(_of_prompts(query, filter)).yield_per(500)


def prompts(session: Session, filter: SnapshotFilter) -> Iterator[Prompt]:
    """Prompts named by the filter, or those of its collections."""
    query = select(Prompt)
    if filter.prompts is not None:
        query = query.where(Prompt.public_id.in_(filter.prompts))
    else:
        query = query.where(Prompt.source != PromptSource.USE_CASE)
        if filter.collections:
            query = query.where(in_collections(filter.collections))
    return session.scalars(_of_prompts(query, filter)).yield_per(500)


def _of_prompts(query: Select, filter: SnapshotFilter) -> Select:
    query = query.where(Prompt.withdrawn_at.is_(None)).order_by(Prompt.text_sha256)
    return query.where(Prompt.split.in_(filter.splits)) if filter.splits else query


def guideline_names(session: Session, ids: set[int]) -> tuple[str, ...]:
    """The guidelines' names with their versions, e.g. "training v1", in order."""
    found = session.execute(select(Guideline.name, Guideline.version).where(Guideline.id.in_(ids)))
    return tuple(f"{name} v{version}" for name, version in sorted(map(tuple, found)))
