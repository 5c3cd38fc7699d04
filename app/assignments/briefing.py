"""Guidelines that a labeler must read before new work: in open rounds, and newer than the version the labeler knows."""

from sqlalchemy import Integer, String, Text, bindparam, cast, func, or_, select
from sqlalchemy.orm import Session, aliased

from app.accounts.tables import Account
from app.guidelines import rules as guidelines
from app.guidelines.tables import Acknowledgement, Guideline
from app.rounds.tables import ONBOARDING, Item, Round, RoundState

_me = bindparam("me", type_=Integer)
_pool = bindparam("pool", type_=String)
_read = aliased(Guideline)
_known = (
    select(func.max(_read.version))
    .join(Acknowledgement, Acknowledgement.guideline_id == _read.id)
    .where(Acknowledgement.account_id == _me, _read.name == Guideline.name)
    .correlate(Guideline)
    .scalar_subquery()
)
_BEHIND = (  # built once: building it costs more than running it
    select(Guideline.id, _known.label("known"))
    .join(Round, Round.guideline_id == Guideline.id)
    .where(
        Round.state == RoundState.OPEN,
        Round.purpose.not_in(ONBOARDING),
        cast(Round.pools, Text).contains(_pool),
        or_(_known.is_(None), _known < Guideline.version),
    )
    .distinct()
)


def unknown_guidelines(session: Session, labeler: Account) -> set[int]:
    """Return open rounds' guidelines of which the labeler knows no version; raise NotRead if a known one changed."""
    rows = session.execute(_BEHIND, {"me": labeler.id, "pool": f'"{labeler.pool}"'}).all()
    for id, known in rows:
        if known is not None:
            raise guidelines.NotRead(session.get_one(Guideline, id))
    return {id for id, _known_version in rows}


def note_beginning(session: Session, item: Item, labeler: Account, unknown: set[int]) -> None:
    """Acknowledge the round's guideline if the labeler knows no version: it is shown next to the task.

    Later versions must be read.
    """
    if item.round.guideline_id in unknown:
        guidelines.acknowledge(session, item.round.guideline, labeler, said_so=False)
