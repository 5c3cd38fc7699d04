"""State of the miniature loop: its base model and its rounds, each with what it waits for."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.accounts.tables import Account, AccountKind, AuditEntry
from app.assignments.offering import for_programs
from app.assignments.progress import RoundProgress, progress
from app.assignments.tables import Assignment, AssignmentState
from app.database import utc_now
from app.jobs.tables import Job, JobVerb
from app.plans.queries import of_round
from app.plans.tables import Plan
from app.prompts.queries import in_collections
from app.prompts.tables import Prompt
from app.rounds.tables import Item, ItemKind, Round, RoundPurpose, RoundState
from app.simulation.miniature import COLLECTION

BEGIN_SECONDS = 20  # time within which started labelers submit a first answer
PAUSE_SECONDS = 10  # longer than the time between two answers


class Turn(NamedTuple):
    """One round of the loop."""

    round: Round
    progress: RoundProgress
    simulated: int  # answers by simulated labelers
    left: int  # answers that simulated labelers can still give
    plan: Plan | None

    @property
    def waits_for_work(self) -> bool:
        """Whether simulated labelers have tasks left in this round."""
        return self.round.state is RoundState.OPEN and self.left > 0

    @property
    def for_people(self) -> int:
        """Number of answers left to people."""
        return self.progress.all - self.progress.submitted - self.left if self.round.state is RoundState.OPEN else 0

    @property
    def waits_for_plan(self) -> bool:
        """Whether simulated labelers have finished and no plan trains on the round yet."""
        return self.plan is None and not self.waits_for_work and self.round.state is not RoundState.DRAFT


def turns(session: Session) -> list[Turn]:
    """Return the training rounds with miniature prompts, in order."""
    asked = select(Item.id).join(Prompt, Prompt.id == Item.prompt_id)
    miniature = asked.where(Item.round_id == Round.id, in_collections([COLLECTION])).exists()
    rounds: Sequence[Round] = session.scalars(
        select(Round).where(Round.purpose == RoundPurpose.TRAINING, miniature).order_by(Round.number)
    ).all()
    ids = [round.id for round in rounds]
    done = progress(session, ids)
    simulated, left = _simulated(session, Item.round_id.in_(ids)), _left(session, Item.round_id.in_(ids))
    return [
        Turn(round, done[round.id], simulated.get(round.id, 0), left.get(round.id, 0), of_round(session, round))
        for round in rounds
    ]


def waiting(turns: Sequence[Turn]) -> int:
    """Return the number of tasks that wait for simulated labelers."""
    return sum(turn.left for turn in turns if turn.waits_for_work)


def at_work(session: Session) -> bool:
    """Return whether simulated labelers were started or submitted an answer in the last seconds."""
    sent = select(AuditEntry.id).where(AuditEntry.action == "simulation.work", AuditEntry.at > utc_now(-BEGIN_SECONDS))
    answered = (
        select(Assignment.id)
        .join(Account, Account.id == Assignment.labeler_id)
        .where(Account.kind == AccountKind.SIMULATED, Assignment.submitted_at > utc_now(-PAUSE_SECONDS))
    )
    return any(session.scalar(query.limit(1)) is not None for query in (sent, answered))


def _left(session: Session, which: ColumnElement[bool]) -> dict[int, int]:
    rows = session.execute(
        select(Item.round_id, func.count())
        .join(Assignment, Assignment.item_id == Item.id)
        .join(Round, Round.id == Item.round_id)
        .where(which, Assignment.state != AssignmentState.SUBMITTED, *for_programs(Item, Round))
        .group_by(Item.round_id)
    )
    return {round_id: count for round_id, count in rows}


def _simulated(session: Session, which: ColumnElement[bool]) -> dict[int, int]:
    rows = session.execute(
        select(Item.round_id, func.count())
        .join(Assignment, Assignment.item_id == Item.id)
        .join(Account, Account.id == Assignment.labeler_id)
        .where(which, Account.kind == AccountKind.SIMULATED, Assignment.state == AssignmentState.SUBMITTED)
        .group_by(Item.round_id)
    )
    return {round_id: count for round_id, count in rows}


def first_comparisons(session: Session, limit: int) -> dict[str, list[str]]:
    """Return the texts by prompt of the first miniature comparisons ever opened, so the result never changes."""
    miniature = (
        select(Item)
        .join(Round, Round.id == Item.round_id)
        .join(Prompt, Prompt.id == Item.prompt_id)
        .where(
            Round.purpose == RoundPurpose.TRAINING,
            Round.opened_at.is_not(None),
            Item.kind == ItemKind.COMPARISON,
            in_collections([COLLECTION]),
        )
    )
    first = miniature.with_only_columns(Round.id).order_by(Round.opened_at, Round.id).limit(1).scalar_subquery()
    items = session.scalars(miniature.where(Round.id == first).order_by(Item.position).limit(limit))
    return {item.prompt.messages[-1]["text"]: [place.completion.text for place in item.completions] for item in items}


def base_job(session: Session) -> Job | None:
    """Return the newest job that trains a base model, or None."""
    return session.scalar(select(Job).where(Job.verb == JobVerb.TRAIN_BASE).order_by(Job.id.desc()).limit(1))
