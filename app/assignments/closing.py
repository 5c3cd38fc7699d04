"""Closing a round that still has unsubmitted work."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.assignments import rules
from app.assignments.offering import none
from app.assignments.tables import Assignment, AssignmentState, Draft, Skip
from app.database import utc_now
from app.errors import Conflict
from app.kit.i18n import gettext as _
from app.rounds.tables import Item, Round, RoundState


class OpenWork(NamedTuple):
    """Unsubmitted work of a round."""

    leased: int  # tasks that labelers have open now
    drafts: int  # begun and not submitted, even if the lease has run out
    unanswered: int  # items without any answer


def open_work(session: Session, round: Round) -> OpenWork:
    """Count a round's unsubmitted work."""
    leased = (
        select(func.count())
        .select_from(Assignment)
        .join(Item, Item.id == Assignment.item_id)
        .where(Assignment.state == AssignmentState.LEASED, Assignment.lease_until > utc_now())
    )
    drafts = (
        select(func.count())
        .select_from(Draft)
        .join(Item, Item.id == Draft.item_id)
        .where(
            Draft.version > 0,
            Draft.submitted_at.is_(None),
            none(Skip, Skip.item_id == Draft.item_id, Skip.labeler_id == Draft.labeler_id),
        )
    )
    answered = none(Draft, Draft.item_id == Item.id, Draft.submitted_at.is_not(None))
    unanswered = select(func.count()).select_from(Item).where(answered)
    return OpenWork(
        *(session.scalar(query.where(Item.round_id == round.id)) or 0 for query in (leased, drafts, unanswered))
    )


class Unfinished(Conflict):
    """Labelers have unsubmitted drafts in the round, and closing it was not confirmed."""

    def __init__(self, work: OpenWork):
        message = _("Unsubmitted drafts: %(n)d. Once the round is closed, they can only become extra answers.")
        super().__init__(message % {"n": work.drafts}, current=work._asdict(), field="confirm")


@contextmanager
def asks_for_confirm() -> Iterator[None]:
    """Extend the refusal of an API call with the field that closes the round anyway."""
    try:
        yield
    except Unfinished as error:
        error.message += " " + _('Send {"confirm": true} to close the round anyway.')
        raise


def close(session: Session, round: Round, *, confirmed: bool) -> None:
    """Close an open round; raise Unfinished if that leaves drafts behind and is not `confirmed`."""
    work = open_work(session, round)
    if work.drafts and round.state is RoundState.OPEN and not confirmed:
        raise Unfinished(work)
    rules.close_round(session, round)
