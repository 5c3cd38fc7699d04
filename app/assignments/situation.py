"""What decides how a labeler gets their next task: read in one statement, together with the lock on their account."""

from typing import Any, NamedTuple

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from app.accounts.tables import Account
from app.assignments.briefing import behind
from app.assignments.locks import one_at_a_time
from app.assignments.offering import abandoned
from app.assignments.slots import Offers
from app.assignments.tables import Assignment


class Situation(NamedTuple):
    """A labeler's situation; it may be a moment old, and decides only where `claim` looks first."""

    reserved: bool  # a slot is reserved as their next page
    abandoned: bool  # a lease ran out
    changed: int | None  # a guideline of an open round that changed since they read it
    unknown: bool  # there is a guideline of an open round of which they know no version

    @property
    def offers(self) -> Offers:
        """Which free slots `claim` looks for first."""
        return Offers.ALL if self.reserved or self.abandoned else Offers.FREE


_behind = behind(Account.id, '"' + Account.pool + '"').correlate(Account)
_known = _behind.selected_columns.known
COLUMNS: tuple[Any, ...] = (
    exists().where(Assignment.ahead_for_id == Account.id).correlate(Account).label("reserved"),
    exists().where(abandoned(Assignment)).label("abandoned"),
    select(func.min(_behind.where(_known.is_not(None)).subquery().c.id)).scalar_subquery().label("changed"),
    _behind.where(_known.is_(None)).exists().label("unknown"),
)


def look(session: Session, labeler: Account) -> Situation:
    """Make other requests of this labeler wait until commit, and return the labeler's situation."""
    return Situation(*one_at_a_time(session, labeler, *COLUMNS)[1:])
