"""How far rounds are: assignments by state, and who did how much."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from app.accounts.tables import Account, AccountKind, Role
from app.assignments.tables import Assignment, AssignmentState, Skip
from app.rounds.tables import Item, Round
from training.records import Pool


class Progress(NamedTuple):
    """Assignments of a round by state; `leased` counts leases that ran out too."""

    open: int = 0
    leased: int = 0
    submitted: int = 0

    @property
    def all(self) -> int:
        """Every assignment."""
        return sum(self)


def progress(session: Session, round_ids: Iterable[int]) -> dict[int, Progress]:
    """How far each round is."""
    wanted = list(round_ids)
    rows = session.execute(
        select(Item.round_id, Assignment.state, func.count())
        .join(Assignment, Assignment.item_id == Item.id)
        .where(Item.round_id.in_(wanted))
        .group_by(Item.round_id, Assignment.state)
    )
    counts: dict[int, dict[str, int]] = {round_id: {} for round_id in wanted}
    for round_id, state, count in rows:
        counts[round_id][state.value] = count
    return {round_id: Progress(**found) for round_id, found in counts.items()}


class Share(NamedTuple):
    """What one labeler did in a round."""

    name: str
    username: str
    pool: Pool
    kind: AccountKind
    submitted: int
    leased: int
    skipped: int


def by_labeler(session: Session, round: Round) -> Sequence[Share]:
    """Who did how much of a round, the busiest first."""
    done = (
        select(
            Assignment.labeler_id,
            func.count(case((Assignment.state == AssignmentState.SUBMITTED, 1))).label("submitted"),
            func.count(case((Assignment.state == AssignmentState.LEASED, 1))).label("leased"),
        )
        .join(Item, Item.id == Assignment.item_id)
        .where(Item.round_id == round.id, Assignment.labeler_id.is_not(None))
        .group_by(Assignment.labeler_id)
        .subquery()
    )
    skips = (
        select(Skip.labeler_id, func.count().label("skipped"))
        .join(Item, Item.id == Skip.item_id)
        .where(Item.round_id == round.id)
        .group_by(Skip.labeler_id)
        .subquery()
    )
    submitted, leased, skipped = (
        func.coalesce(column, 0) for column in (done.c.submitted, done.c.leased, skips.c.skipped)
    )
    rows = session.execute(
        select(Account.name, Account.username, Account.pool, Account.kind, submitted, leased, skipped)
        .outerjoin(done, done.c.labeler_id == Account.id)
        .outerjoin(skips, skips.c.labeler_id == Account.id)
        .where(done.c.labeler_id.is_not(None) | skips.c.labeler_id.is_not(None))
        .order_by(submitted.desc(), Account.username)
    )
    return [Share(*row) for row in rows]


def labelers(session: Session, pools: Sequence[str]) -> int:
    """How many labelers of these pools can work now."""
    found = select(func.count()).where(
        Account.role == Role.LABELER, Account.disabled_at.is_(None), Account.pool.in_(list(pools))
    )
    return session.scalar(found.select_from(Account)) or 0
