"""Guidelines that a labeler must read before new work: in open rounds, and newer than the version the labeler knows."""

from sqlalchemy import Integer, Select, SQLColumnExpression, String, Text, bindparam, cast, func, or_, select
from sqlalchemy.orm import Session, aliased

from app.accounts.tables import Account
from app.assignments.task import TaskItem
from app.database import fixed
from app.guidelines import rules as guidelines
from app.guidelines.tables import Acknowledgement, Guideline
from app.rounds.tables import ONBOARDING, Round, RoundState


def behind(me: SQLColumnExpression, pool: SQLColumnExpression) -> Select:
    """Select (id, known) of open rounds' guidelines: `known` is the latest version the labeler knows, if an older one.

    `pool` is the labeler's pool as it appears in the JSON list Round.pools.
    """
    read = aliased(Guideline)
    known = (
        select(func.max(read.version))
        .join(Acknowledgement, Acknowledgement.guideline_id == read.id)
        .where(Acknowledgement.account_id == me, read.name == Guideline.name)
        .correlate(Guideline, Account)
        .scalar_subquery()
        .label("known")
    )
    return (
        select(Guideline.id, known)
        .join(Round, Round.guideline_id == Guideline.id)
        .where(
            Round.state == fixed(RoundState.OPEN),
            Round.purpose.not_in([fixed(purpose) for purpose in ONBOARDING]),
            cast(Round.pools, Text).contains(pool),
            or_(known.is_(None), known < Guideline.version),
        )
        .distinct()
    )


# Built once: building it costs more than running it.
_BEHIND = behind(bindparam("me", type_=Integer), bindparam("pool", type_=String))


def unknown_guidelines(session: Session, labeler: Account) -> set[int]:
    """Return open rounds' guidelines of which the labeler knows no version; raise NotRead if a known one changed."""
    rows = session.execute(_BEHIND, {"me": labeler.id, "pool": f'"{labeler.pool}"'}).all()
    for id, known in rows:
        if known is not None:
            raise guidelines.NotRead(session.get_one(Guideline, id))
    return {id for id, _known_version in rows}


def note_beginning(session: Session, item: TaskItem, labeler: Account, unknown: set[int]) -> None:
    """Acknowledge the round's guideline if the labeler knows no version: it is shown next to the task.

    Later versions must be read.
    """
    if item.round.guideline_id in unknown:
        guidelines.acknowledge(session, item.round.guideline, labeler, said_so=False)
