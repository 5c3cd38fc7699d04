"""Closing a round over work that has not become an answer."""

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
    """Work of a round that has not become an answer."""

    leased: int  # tasks that a labeler has open now
    drafts: int  # texts and rankings begun and not submitted, also where the lease has run out
    unanswered: int  # items without any answer


def open_work(session: Session, round: Round) -> OpenWork:
    """Count what is open in a round."""
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
    """Labelers have begun drafts of the round, and nobody said that it shall close all the same."""

    def __init__(self, work: OpenWork):
        message = _("Unsubmitted drafts: %(n)d. Once the round is closed, they can only become extra answers.")
        super().__init__(message % {"n": work.drafts}, current=work._asdict(), field="confirm")


@contextmanager
def asks_for_confirm() -> Iterator[None]:
    """Let the refusal of what a program sent name the word that closes the round all the same."""
    try:
        yield
    except Unfinished as error:
        error.message += " " + _('Send {"confirm": true} to close the round anyway.')
        raise


def close(session: Session, round: Round, *, confirmed: bool) -> None:
    """Close an open round; raises Unfinished if that leaves drafts behind and is not `confirmed`."""
    work = open_work(session, round)
    if work.drafts and round.state is RoundState.OPEN and not confirmed:
        raise Unfinished(work)
    rules.close_round(session, round)
