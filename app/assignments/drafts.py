"""What a labeler has written so far for an item, versioned so that nothing is overwritten unseen."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, case, or_, update
from sqlalchemy.orm import Session

from app.accounts.tables import Account
from app.assignments import slots
from app.assignments.tables import Assignment, Draft
from app.database import seconds_since, utc_now
from app.errors import Conflict
from app.kit.i18n import gettext as _

SLACK_SECONDS = 2.0  # clocks tick in steps, and an item is on its way before its time begins


class Saved(NamedTuple):
    """A draft as it was just saved."""

    version: int
    at: datetime


def save(
    session: Session,
    assignment: Assignment,
    labeler: Account,
    content: dict,
    *,
    version: int,
    active_seconds: float = 0,
) -> Saved:
    """Save the draft if nobody has changed it since `version`, else raise Conflict; renew the lease if still held."""
    saved = session.execute(
        update(Draft)
        .where(
            Draft.item_id == assignment.item_id,
            Draft.labeler_id == labeler.id,
            Draft.version == version,
            or_(Draft.submitted_at.is_(None), Draft.reopened_at.is_not(None)),
        )
        .values(
            version=Draft.version + 1,
            content=content,
            active_seconds=worked(active_seconds),
            updated_at=utc_now(),
        )
        .returning(Draft.version, Draft.updated_at)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if saved is None:
        raise changed_elsewhere(written(session, assignment, labeler))
    slots.renew(session, assignment.item_id, labeler)
    return Saved(*saved)


def worked(active_seconds: float) -> ColumnElement[float]:
    """Return the total seconds worked on a draft, from the count of the labeler's client: the only rule about time.

    The larger of this count and the stored one, since a tab that was opened later has counted less. The result is
    capped at the time since the item was first given to the labeler; a count above the cap costs nobody their answer.
    """
    passed = seconds_since(Draft.given_at) + SLACK_SECONDS
    counted = case((passed < active_seconds, passed), else_=active_seconds)
    return case((Draft.active_seconds > counted, Draft.active_seconds), else_=counted)


def changed_elsewhere(draft: Draft) -> Conflict:
    """Return the Conflict for a write over a draft version that the writer has not seen."""
    return Conflict(
        _("This draft was changed elsewhere, in another tab or on another device. Nothing was overwritten."),
        current={"version": draft.version, "content": draft.content},
    )


def written(session: Session, assignment: Assignment, labeler: Account) -> Draft:
    """Return the draft; raise Conflict if it is submitted and not being edited."""
    draft = session.get_one(Draft, (assignment.item_id, labeler.id), populate_existing=True)
    if draft.submitted_at is not None and draft.reopened_at is None:
        raise Conflict(_("You have already submitted this."), current={"content": draft.content})
    return draft


def refuse_submitted(session: Session, assignment: Assignment, labeler: Account) -> None:
    """Raise Conflict if the draft is submitted, even while it is being edited."""
    if written(session, assignment, labeler).submitted_at is not None:
        raise Conflict(_("You have submitted this and are editing it. Submit the changes, or discard them."))
