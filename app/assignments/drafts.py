"""What a labeler has written so far for an item, versioned so that nothing is overwritten unseen."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Double, Integer, ScalarSelect, String, bindparam, case, or_, select, update
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql.dml import ReturningUpdate

from app.accounts.tables import Account
from app.assignments import slots
from app.assignments.queries import LabelerState
from app.assignments.tables import Assignment, AssignmentState, Draft
from app.assignments.task import Given, TaskDraft
from app.database import JSONColumn, fixed, run, seconds_since, utc_now
from app.errors import Conflict
from app.kit.i18n import gettext as _
from app.rounds.tables import Item, ItemKind, Round, RoundState

SLACK_SECONDS = 2.0  # clocks tick in steps, and an item is on its way before its time begins


class Saved(NamedTuple):
    """A draft as it was just saved."""

    version: int
    at: datetime


def save(
    session: Session,
    assignment: Given,
    labeler: Account,
    content: dict,
    *,
    version: int,
    active_seconds: float = 0,
) -> Saved:
    """Save the draft if nobody has changed it since `version`, else raise Conflict; renew the lease if still held."""
    given = {"item": assignment.item_id, **_values(labeler, content, version, active_seconds)}
    saved = run(session, _SAVE, given).one_or_none()
    if saved is None:
        raise changed_elsewhere(written(session, assignment, labeler))
    slots.renew(session, assignment.item_id, labeler)
    return Saved(saved.version, saved.updated_at)


class SavedHeld(NamedTuple):
    """A draft as it was just saved, and its assignment."""

    version: int
    at: datetime
    state: LabelerState
    lease_until: datetime | None


def save_held(
    session: Session,
    public_id: str,
    labeler: Account,
    kind: ItemKind,
    content: dict,
    *,
    version: int,
    active_seconds: float,
) -> SavedHeld | None:
    """Save the draft of an assignment in an open round, as `save` does; return None if a condition fails.

    The conditions: the item is of this kind, the draft is unchanged since `version`, and the labeler holds the slot.
    """
    given = {"of": public_id, "kind": kind, **_values(labeler, content, version, active_seconds)}
    saved = run(session, _SAVE_HELD, given).one_or_none()
    if saved is None:
        return None
    until = slots.renew(session, saved.item_id, labeler)
    return SavedHeld(saved.version, saved.updated_at, LabelerState.HELD if until else LabelerState.LOST, until)


def _values(labeler: Account, content: dict, version: int, active_seconds: float) -> dict[str, object]:
    return {"me": labeler.id, "seen": version, "written": content, "counted": active_seconds}


def worked(active_seconds: float | ColumnElement[float]) -> ColumnElement[float]:
    """Return the total seconds worked on a draft, from the count of the labeler's client: the only rule about time.

    The larger of this count and the stored one, since a tab that was opened later has counted less. The result is
    capped at the time since the item was first given to the labeler; a count above the cap costs nobody their answer.
    """
    passed = seconds_since(Draft.given_at) + SLACK_SECONDS
    counted = case((passed < active_seconds, passed), else_=active_seconds)
    return case((Draft.active_seconds > counted, Draft.active_seconds), else_=counted)


def _saves(which: ColumnElement[bool]) -> ReturningUpdate:
    return (
        update(Draft)
        .where(
            which,
            Draft.labeler_id == _me,
            Draft.version == bindparam("seen", type_=Integer),
            or_(Draft.submitted_at.is_(None), Draft.reopened_at.is_not(None)),
        )
        .values(
            version=Draft.version + 1,
            content=bindparam("written", type_=JSONColumn),
            active_seconds=worked(bindparam("counted", type_=Double)),
            updated_at=utc_now(),
        )
        .returning(Draft.version, Draft.updated_at, Draft.item_id)
        .execution_options(synchronize_session=False)
    )


def _held() -> ScalarSelect:
    """Select the item behind an assignment's id, if it is of a kind and the labeler holds a slot in an open round."""
    asked, slot = aliased(Assignment), aliased(Assignment)
    return (
        select(asked.item_id)
        .join(Item, Item.id == asked.item_id)
        .join(Round, Round.id == Item.round_id)
        .join(slot, slot.item_id == asked.item_id)
        .where(
            asked.public_id == bindparam("of", type_=String),
            Item.kind == bindparam("kind", type_=Item.kind.type),
            Round.state == fixed(RoundState.OPEN),
            slot.labeler_id == _me,
            slot.state == fixed(AssignmentState.LEASED),
        )
        .scalar_subquery()
    )


# Built once: building them costs more than running them.
_me = bindparam("me", type_=Integer)
_SAVE = _saves(Draft.item_id == bindparam("item", type_=Integer))
_SAVE_HELD = _saves(Draft.item_id == _held())
_SUBMIT = (
    update(Draft)
    .where(Draft.item_id == bindparam("item", type_=Integer), Draft.labeler_id == _me)
    .values(
        content=bindparam("written", type_=JSONColumn),
        version=Draft.version + 1,
        active_seconds=worked(bindparam("counted", type_=Double)),
        updated_at=utc_now(),
        submitted_at=utc_now(),
    )
    .returning(Draft.submitted_at)
    .execution_options(synchronize_session=False)
)


def submit(session: Session, item_id: int, labeler: Account, content: dict, active_seconds: float) -> datetime:
    """Write the labeler's first submission into the draft; return when it was submitted."""
    given = {"item": item_id, "me": labeler.id, "written": content, "counted": active_seconds}
    at = run(session, _SUBMIT, given).scalar_one()
    assert at is not None
    return at


def changed_elsewhere(draft: Draft | TaskDraft) -> Conflict:
    """Return the Conflict for a write over a draft version that the writer has not seen."""
    return Conflict(
        _("This draft was changed elsewhere, in another tab or on another device. Nothing was overwritten."),
        current={"version": draft.version, "content": draft.content},
    )


def written(session: Session, assignment: Given, labeler: Account) -> Draft:
    """Return the draft; raise Conflict if it is submitted and not being edited."""
    draft = session.get_one(Draft, (assignment.item_id, labeler.id), populate_existing=True)
    if draft.submitted_at is not None and draft.reopened_at is None:
        raise Conflict(_("You have already submitted this."), current={"content": draft.content})
    return draft


def refuse_submitted(session: Session, assignment: Given, labeler: Account) -> None:
    """Raise Conflict if the draft is submitted, even while it is being edited."""
    if written(session, assignment, labeler).submitted_at is not None:
        raise Conflict(_("You have submitted this and are editing it. Submit the changes, or discard them."))
