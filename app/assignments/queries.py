"""Reads of assignments, as their labeler may see them, and of submitted answers."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import Integer, Select, String, Text, bindparam, case, cast, exists, select
from sqlalchemy.orm import Session, aliased, joinedload, selectinload

from app.accounts.tables import Account
from app.assignments.offering import quoted
from app.assignments.tables import Assignment, AssignmentState, Draft
from app.assignments.task import Given, TaskDraft
from app.completions.tables import Completion
from app.database import Base
from app.errors import NotFound
from app.kit import cursors
from app.kit.i18n import gettext as _
from app.rounds.tables import ONBOARDING, Item, ItemCompletion, Round, RoundState

Answer = TypeVar("Answer", bound=Base)  # a table of answers, such as Demonstration or Comparison
_asked = aliased(Assignment)
_me = bindparam("me", type_=Integer)
_public_id = bindparam("public_id", type_=String)
_ASSIGNMENT = (  # built once: building it costs more than running it
    select(Assignment)
    .join(_asked, _asked.item_id == Assignment.item_id)
    .join(Draft, Draft.item_id == Assignment.item_id)
    .where(_asked.public_id == _public_id, Draft.labeler_id == _me)
    .order_by(case((Assignment.labeler_id == _me, 0), (Assignment.public_id == _public_id, 1), else_=2), Assignment.id)
    .limit(1)
    .options(
        joinedload(Assignment.item).options(
            joinedload(Item.prompt),
            joinedload(Item.round).options(joinedload(Round.form), joinedload(Round.guideline)),
            selectinload(Item.completions)
            .joinedload(ItemCompletion.completion)
            .load_only(Completion.public_id, Completion.text),
        )
    )
)


def assignment(session: Session, public_id: str, labeler: Account) -> Assignment:
    """Return the labeler's slot of the item behind this id, with all that its page shows.

    Raise NotFound if the item was not given to the labeler. A labeler who lost a lease and returned through another
    slot of the item gets that slot.
    """
    found = session.scalar(_ASSIGNMENT, {"public_id": public_id, "me": labeler.id})
    if found is None:
        raise NotFound(_("Assignment not found, or it is not yours."))
    return found


def draft(session: Session, assignment: Assignment, labeler: Account) -> Draft:
    """Return the labeler's draft for this item."""
    return session.get_one(Draft, (assignment.item_id, labeler.id))


def check_round(session: Session, labeler: Account, number: int) -> None:
    """Raise NotFound unless a round of this number is, or was, open to the labeler's pool."""
    known = select(Round.id).where(
        Round.number == number,
        Round.state != RoundState.DRAFT,
        Round.purpose.not_in(ONBOARDING),
        cast(Round.pools, Text).contains(quoted(labeler.pool)),
    )
    if session.scalar(known) is None:
        raise NotFound(_("Round %(number)s is not open to you; your desk lists the open rounds.") % {"number": number})


class LabelerState(StrEnum):
    """State of an assignment from one labeler's point of view."""

    HELD = "held"  # the labeler's, even if the lease ran out, as long as nobody else took the slot
    LOST = "lost"  # given to somebody else, skipped, or its round closed; a submission is still accepted
    SUBMITTED = "submitted"
    EDITING = "editing"  # submitted and being edited; the submitted version remains until the edit is submitted


def labeler_state(assignment: Given, labeler: Account, draft: Draft | TaskDraft) -> LabelerState:
    """Return the assignment's state for this labeler."""
    is_open = assignment.item.round.state is RoundState.OPEN
    if draft.submitted_at is not None:
        return LabelerState.EDITING if draft.reopened_at is not None and is_open else LabelerState.SUBMITTED
    leased = assignment.labeler_id == labeler.id and assignment.state is AssignmentState.LEASED
    reserved = assignment.ahead_for_id == labeler.id and assignment.state is AssignmentState.OPEN
    return LabelerState.HELD if (leased or reserved) and is_open else LabelerState.LOST


def filled_slot(session: Session, item_id: int, labeler_id: int) -> int | None:
    """Return the slot that a labeler's submitted answer fills; None if the answer is surplus."""
    return session.scalar(
        select(Assignment.id).where(
            Assignment.item_id == item_id,
            Assignment.labeler_id == labeler_id,
            Assignment.state == AssignmentState.SUBMITTED,
        )
    )


def page_of_answers(
    session: Session,
    answers: Select[Answer],
    table: type[Answer],
    cursor: str | None,
    limit: int,
    *,
    round_number: int | None,
    labeler: str,
) -> tuple[Sequence[Answer], str | None]:
    """Return one page of answers, newest first, and the next cursor; filtered by round and labeler (id or user name).

    Answers in practice and screening are left out: the list shows names, and those answers are judged without names.
    """
    columns: Any = table  # the same for every kind of answer
    onboarding = exists().where(Item.id == columns.item_id, Round.id == Item.round_id, Round.purpose.in_(ONBOARDING))
    query = answers.where(~onboarding.correlate(table))
    if round_number is not None:
        of_round = select(Item.id).join(Round, Round.id == Item.round_id).where(Round.number == round_number)
        query = query.where(columns.item_id.in_(of_round))
    if labeler:
        known = select(Account.id).where((Account.public_id == labeler) | (Account.username == labeler.lower()))
        query = query.where(columns.labeler_id.in_(known))
    return cursors.page(session, query, table, cursor, limit)
