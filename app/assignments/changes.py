"""Changing a submission: undone within seconds, edited until the round closes; earlier versions are kept.

During an edit the submission remains in force: the draft holds the new text, and an `EarlierVersion` without an end
holds the submitted version.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session, contains_eager

from app.accounts.tables import Account
from app.assignments import drafts, queries, slots
from app.assignments.locks import is_open, one_at_a_time
from app.assignments.tables import Assignment, Draft, EarlierVersion, VersionEnd
from app.assignments.task import Given
from app.database import utc_now
from app.errors import Conflict
from app.kit.i18n import gettext as _
from app.rounds.tables import ONBOARDING, Item, Round, RoundState

UNDO_SECONDS = 10
FINAL_AFTER_SECONDS = UNDO_SECONDS + 5  # time for the page that offers undo, and for its request


def may_change(assignment: Given) -> bool:
    """Return whether a submission can be changed; in practice and screening, which show first answers, it cannot."""
    return assignment.item.round.purpose not in ONBOARDING


def check(assignment: Given) -> None:
    """Raise Conflict if answers in this round are final."""
    if not may_change(assignment):
        raise Conflict(_("This task can be answered only once. Your submission remains."))


class Undoable(NamedTuple):
    """A submission that can still be undone, and for how long."""

    id: str  # of the assignment
    seconds: float


def undoable(session: Session, labeler: Account) -> Undoable | None:
    """Return the submission that the labeler can undo now, or None."""
    row = session.execute(
        select(Assignment, Draft.submitted_at, utc_now())
        .join(Draft, (Draft.item_id == Assignment.item_id) & (Draft.labeler_id == Assignment.labeler_id))
        .join(Assignment.item)
        .join(Item.round)
        .options(contains_eager(Assignment.item).contains_eager(Item.round))
        .where(
            Draft.labeler_id == labeler.id,
            Draft.submitted_at > utc_now(-UNDO_SECONDS),
            Draft.reopened_at.is_(None),
            Round.state == RoundState.OPEN,
            ~exists().where(
                EarlierVersion.item_id == Draft.item_id,
                EarlierVersion.labeler_id == Draft.labeler_id,
                EarlierVersion.end == VersionEnd.EDITED,
            ),
        )
        .order_by(Draft.submitted_at.desc())
        .limit(1)
    ).one_or_none()
    if row is None or not may_change(row[0]):
        return None
    assignment, submitted_at, now = row
    return Undoable(assignment.public_id, UNDO_SECONDS - (now - submitted_at).total_seconds())


def take_back(session: Session, assignment: Assignment, labeler: Account) -> bool:
    """Reopen the draft and the slot of a recent submission; the caller deletes the answer.

    Return False if nothing is submitted (any more). A labeler whose answer was surplus has no slot to get back.
    """
    one_at_a_time(session, labeler)
    draft = session.get_one(Draft, (assignment.item_id, labeler.id), populate_existing=True)
    if draft.submitted_at is None:
        return False
    _check_open(session, assignment)
    fresh = session.scalar(
        select(Draft.submitted_at > utc_now(-FINAL_AFTER_SECONDS)).where(
            Draft.item_id == assignment.item_id, Draft.labeler_id == labeler.id
        )
    )
    if not fresh or draft.reopened_at is not None or _was_edited(session, draft):
        raise Conflict(
            _("The %(seconds)s seconds to undo are over. Your submission remains; you can still edit it.")
            % {"seconds": UNDO_SECONDS}
        )
    _keep(session, draft, end=VersionEnd.WITHDRAWN, ended_at=utc_now())
    draft.submitted_at, draft.version = None, draft.version + 1
    session.flush()
    slots.reopen(session, assignment.item_id, labeler)
    return True


def begin(session: Session, assignment: Assignment, labeler: Account) -> None:
    """Open a submission for editing; the submitted version remains until the edit is submitted."""
    one_at_a_time(session, labeler)
    draft = session.get_one(Draft, (assignment.item_id, labeler.id), populate_existing=True)
    if draft.submitted_at is None or draft.reopened_at is not None:
        return
    _check_open(session, assignment)
    _keep(session, draft)
    draft.reopened_at, draft.version = utc_now(), draft.version + 1
    session.flush()


def leave(session: Session, assignment: Assignment, labeler: Account) -> None:
    """Discard the edit; the submitted version remains."""
    one_at_a_time(session, labeler)
    draft = session.get_one(Draft, (assignment.item_id, labeler.id), populate_existing=True)
    if draft.reopened_at is None:
        return
    standing = standing_version(session, draft.item_id, draft.labeler_id)
    draft.content, draft.version, draft.reopened_at = standing.content, draft.version + 1, None
    session.delete(standing)
    session.flush()


def discard(session: Session, assignment: Assignment, labeler: Account) -> None:
    """Delete a draft that cannot be resumed: its round closed, or others now hold the item's slots."""
    one_at_a_time(session, labeler)
    drafts.refuse_submitted(session, assignment, labeler)
    draft = queries.draft(session, assignment, labeler)
    if queries.labeler_state(assignment, labeler, draft) is not queries.LabelerState.LOST:
        raise Conflict(_("This task is still yours. To give it to somebody else, skip it; your draft is kept."))
    session.delete(draft)
    session.flush()


def fill_again(session: Session, draft: Draft, content: dict, active_seconds: float) -> int | None:
    """Submit the edit as `content` and archive the earlier version; return the slot, None if the answer is surplus."""
    if not is_open(session, draft.item_id):
        raise Conflict(_("The round closed before you submitted again. Your earlier submission remains."))
    standing = standing_version(session, draft.item_id, draft.labeler_id)
    standing.end, standing.ended_at = VersionEnd.EDITED, utc_now()
    draft.content, draft.version, draft.reopened_at = content, draft.version + 1, None
    draft.active_seconds = drafts.worked(active_seconds)
    draft.updated_at = utc_now()
    session.flush()
    return queries.filled_slot(session, draft.item_id, draft.labeler_id)


def versions(session: Session, item_id: int | None, labeler_id: int | None) -> Sequence[EarlierVersion]:
    """Return earlier submissions, oldest first; an imported answer has none."""
    return session.scalars(_versions(item_id, labeler_id).where(EarlierVersion.ended_at.is_not(None))).all()


def standing_version(session: Session, item_id: int, labeler_id: int) -> EarlierVersion:
    """Return the submitted version of an answer that is being edited."""
    mine = _versions(item_id, labeler_id)
    return session.scalars(mine.where(EarlierVersion.ended_at.is_(None))).one()


def _versions(item_id: int | None, labeler_id: int | None):
    return (
        select(EarlierVersion)
        .where(EarlierVersion.item_id == item_id, EarlierVersion.labeler_id == labeler_id)
        .order_by(EarlierVersion.number)
    )


def _was_edited(session: Session, draft: Draft) -> bool:
    edited = _versions(draft.item_id, draft.labeler_id).where(EarlierVersion.end == VersionEnd.EDITED)
    return session.scalars(edited.limit(1)).first() is not None


def _keep(session: Session, draft: Draft, **ended) -> None:
    last = select(func.max(EarlierVersion.number)).where(
        EarlierVersion.item_id == draft.item_id, EarlierVersion.labeler_id == draft.labeler_id
    )
    version = EarlierVersion(
        item_id=draft.item_id,
        labeler_id=draft.labeler_id,
        number=(session.scalar(last) or 0) + 1,
        content=draft.content,
        active_seconds=draft.active_seconds,
        submitted_at=draft.updated_at,
        **ended,
    )
    session.add(version)


def _check_open(session: Session, assignment: Assignment) -> None:
    check(assignment)
    if not is_open(session, assignment.item_id):
        raise Conflict(_("The round has closed in the meantime. Your submission remains, and nothing is lost."))
