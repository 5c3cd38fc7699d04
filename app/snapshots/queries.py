"""Queries for snapshots, and for what a snapshot's filter can name."""

from collections import Counter
from collections.abc import Iterable

from sqlalchemy import func, select
from sqlalchemy.orm import Session, load_only

from app.accounts.tables import Account, AccountKind
from app.comparisons.tables import Comparison, ComparisonSource
from app.completions.tables import Completion
from app.conversations.tables import Conversation
from app.demonstrations.tables import Demonstration
from app.errors import NotFound
from app.guidelines.tables import Guideline
from app.kit import cursors
from app.kit.i18n import gettext as _
from app.prompts.tables import Prompt, PromptCollection
from app.rounds.tables import Item, Round, RoundPurpose, RoundState
from app.snapshots.tables import Snapshot, SnapshotState
from training.contract.records import Purpose


def find(session: Session, public_id: str) -> Snapshot:
    """Return the snapshot with this public id, or raise NotFound."""
    found = session.scalar(select(Snapshot).where(Snapshot.public_id == public_id))
    if found is None:
        raise NotFound(_("There is no snapshot %(id)s.") % {"id": public_id})
    return found


def listing(session: Session, cursor: str | None = None, limit: int = 50) -> tuple[list[Snapshot], str | None]:
    """Return one page of snapshots, newest first, and the next cursor."""
    return cursors.page(session, select(Snapshot), Snapshot, cursor, limit)


def ready(session: Session) -> list[Snapshot]:
    """Return every snapshot that a job can be started with, newest first."""
    return list(
        session.scalars(select(Snapshot).where(Snapshot.state == SnapshotState.READY).order_by(Snapshot.id.desc()))
    )


def of_round(session: Session, round: Round) -> list[Snapshot]:
    """Return the snapshots that hold, or are about to hold, answers of a round, oldest first."""
    made = select(Snapshot).where(Snapshot.purpose != Purpose.PPO, Snapshot.state != SnapshotState.FAILED)
    made = made.options(load_only(Snapshot.public_id, Snapshot.name, Snapshot.state, Snapshot.filter))
    return [one for one in session.scalars(made.order_by(Snapshot.id)) if round.number in (one.filter["rounds"] or [])]


def closed_training_rounds(session: Session) -> list[Round]:
    """Return the closed training rounds, in order of number."""
    query = select(Round).where(Round.state == RoundState.CLOSED, Round.purpose == RoundPurpose.TRAINING)
    return list(session.scalars(query.order_by(Round.number)))


def nameable_rounds(session: Session) -> list[Round]:
    """Return the closed rounds that a snapshot may name, newest first."""
    query = select(Round).where(
        Round.state == RoundState.CLOSED, Round.purpose.in_((RoundPurpose.TRAINING, RoundPurpose.EVALUATION))
    )
    return list(session.scalars(query.order_by(Round.number.desc())))


def answers_of(session: Session, rounds: Iterable[Round]) -> dict[int, int]:
    """Return how many answers of any kind each round has, by the round's database id."""
    ids = [round.id for round in rounds]
    counts: Counter[int] = Counter()
    for kind in (Comparison, Demonstration, Conversation):
        query = select(Item.round_id, func.count()).join(kind, kind.item_id == Item.id).group_by(Item.round_id)
        counts.update({round_id: count for round_id, count in session.execute(query.where(Item.round_id.in_(ids)))})
    return counts


def answers_by_kind(session: Session) -> dict[AccountKind, int]:
    """Count answers by kind of account, in rounds whose answers can be frozen and outside of rounds."""
    freezable = Round.id.is_(None) | Round.purpose.in_((RoundPurpose.TRAINING, RoundPurpose.EVALUATION))
    counts: Counter[AccountKind] = Counter()
    for kind in (Comparison, Demonstration, Conversation):
        query = select(Account.kind, func.count()).join(kind, kind.labeler_id == Account.id)
        query = query.outerjoin(Item, Item.id == kind.item_id).outerjoin(Round, Round.id == Item.round_id)
        query = query.where(freezable, kind.surplus.is_(False)).group_by(Account.kind)
        counts.update({by: count for by, count in session.execute(query)})
    return counts


def rounds_by_number(session: Session, numbers: list[int]) -> dict[int, Round]:
    """Return the rounds with these numbers, by number."""
    return {found.number: found for found in session.scalars(select(Round).where(Round.number.in_(numbers)))}


def collections(session: Session, purpose: Purpose) -> list[str]:
    """Return the names of the collections that a snapshot with this purpose may name."""
    return {
        Purpose.SFT: written_collections,
        Purpose.RM: imported_collections,
        Purpose.PPO: prompt_collections,
    }[purpose](session)


def imported_collections(session: Session) -> list[str]:
    """Return the names of the collections that comparisons were imported into."""
    query = select(Comparison.collection).where(Comparison.source == ComparisonSource.IMPORT).distinct()
    return sorted(session.scalars(query))


def written_collections(session: Session) -> list[str]:
    """Return the names of the collections with few-shot pairs that labelers wrote."""
    query = (
        select(PromptCollection.name)
        .join(Completion, Completion.prompt_id == PromptCollection.prompt_id)
        .join(Demonstration, Demonstration.completion_id == Completion.id)
        .where(Demonstration.item_id.is_(None))
        .distinct()
    )
    return sorted(session.scalars(query))


def prompt_collections(session: Session) -> list[str]:
    """Return the names of the collections of prompts."""
    return sorted(session.scalars(select(PromptCollection.name).distinct()))


def prompts_by_id(session: Session, public_ids: Iterable[str]) -> list[Prompt]:
    """Return the prompts with these public ids."""
    return list(session.scalars(select(Prompt).where(Prompt.public_id.in_(list(public_ids)))))


def guideline_names(session: Session, ids: set[int]) -> tuple[str, ...]:
    """Return the guidelines' names with their versions, e.g. "training v1", in order."""
    found = session.execute(select(Guideline.name, Guideline.version).where(Guideline.id.in_(ids)))
    return tuple(f"{name} v{version}" for name, version in sorted(map(tuple, found)))
