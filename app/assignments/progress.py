"""Progress of rounds: assignments by state and by labeler."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Text, and_, case, cast, func, literal, or_, select
from sqlalchemy.orm import Session, aliased

from app.accounts.tables import Account, AccountKind, Role
from app.assignments import offering
from app.assignments.tables import Assignment, AssignmentState, Skip
from app.prompts.tables import Prompt
from app.rounds.tables import ONBOARDING, Item, Round, RoundState
from training.contract.records import Pool


class RoundProgress(NamedTuple):
    """Assignments of a round by state; `leased` includes leases that ran out."""

    open: int = 0
    leased: int = 0
    submitted: int = 0

    @property
    def all(self) -> int:
        """Number of assignments."""
        return sum(self)


def progress(session: Session, round_ids: Iterable[int]) -> dict[int, RoundProgress]:
    """Count each round's assignments by state."""
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
    return {round_id: RoundProgress(**found) for round_id, found in counts.items()}


def without_labeler(session: Session, round_ids: Iterable[int]) -> dict[int, int]:
    """Count each open round's items with a free slot that no labeler may be given; leave out rounds without any.

    A labeler may not be given what they skipped, answered, hold or wrote, nor anything while paused or disabled.
    """
    slot = aliased(Assignment)
    somebody = select(Account.id).where(
        Account.role == Role.LABELER,
        Account.disabled_at.is_(None),
        Account.paused.is_(False),
        cast(Round.pools, Text).contains(literal('"').concat(cast(Account.pool, Text)).concat('"')),
        or_(Account.kind != AccountKind.SIMULATED, and_(*offering.for_programs(Item, Round))),
        or_(Account.avoids_sensitive.is_(False), ~Prompt.sensitive),
        *offering.untouched(slot.item_id, Account.id),
    )
    rows = session.execute(
        select(Item.round_id, func.count(Item.id.distinct()))
        .join(slot, slot.item_id == Item.id)
        .join(Round, Round.id == Item.round_id)
        .join(Prompt, Prompt.id == Item.prompt_id)
        .where(
            Item.round_id.in_(list(round_ids)),
            Round.state == RoundState.OPEN,
            Round.purpose.not_in(ONBOARDING),
            offering.fresh(slot),  # an abandoned slot's labeler finds it again
            # One labeler is enough; a scalar is looked up item by item, and no planner pairs items with labelers.
            somebody.correlate(Item, Round, Prompt, slot).limit(1).scalar_subquery().is_(None),
        )
        .group_by(Item.round_id)
    )
    return {round_id: count for round_id, count in rows}


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
    """Count what each labeler did in a round, busiest first."""
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
    """Count the labelers of these pools that are not disabled."""
    found = select(func.count()).where(
        Account.role == Role.LABELER, Account.disabled_at.is_(None), Account.pool.in_(list(pools))
    )
    return session.scalar(found.select_from(Account)) or 0
