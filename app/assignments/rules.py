"""Assignments: opening rounds, handing out under a lease, skipping and submitting.

A labeler's requests are serialized (`one_at_a_time`), so two of them never race with each other; between labelers,
the statements of slots.py decide.
"""

import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import BaseModel
from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from app.accounts.tables import Account
from app.assignments import changes, drafts, late, order, own, queries, slots
from app.assignments import task as tasks
from app.assignments.briefing import note_beginning, unknown_guidelines
from app.assignments.locks import is_open, one_at_a_time
from app.assignments.queries import Answer
from app.assignments.situation import Situation, look
from app.assignments.slots import Offers
from app.assignments.tables import (
    Assignment,
    AssignmentState,
    Draft,
    OwnItem,
    Skip,
    SkipReason,
)
from app.assignments.task import AnyItem, Given, Task, TaskText
from app.completions.tables import Completion
from app.config import settings
from app.database import changed_rows, insert_into, public_id, utc_now
from app.errors import BadInput, Conflict
from app.kit import i18n
from app.kit.i18n import gettext as _
from app.kit.text import require_text
from app.kit.words import word
from app.rounds.rules import left_out_reasons
from app.rounds.tables import Item, ItemCompletion, ItemKind, Round, RoundState

NOTE_CHARACTERS = 2_000


# --- Rounds ---


def open_round(session: Session, round: Round) -> int:
    """Open a draft for labelers: make `overlap` assignments for each of its items, and return how many were made."""
    items = session.execute(
        select(Item.id, Item.kind, Item.position, Item.overlap, func.count(ItemCompletion.completion_id))
        .outerjoin(ItemCompletion, ItemCompletion.item_id == Item.id)
        .where(Item.round_id == round.id)
        .group_by(Item.id)
        .order_by(Item.position)
    ).all()
    if not items:
        raise BadInput(_nothing_to_do(round), field="round")
    for item in items:
        if item.kind is ItemKind.COMPARISON and not 2 <= item[4] <= 9:
            raise BadInput(
                _("Item %(position)s has %(count)s completions; a comparison needs 2 to 9. Resample the items.")
                % {"position": item.position, "count": item[4]},
                field="round",
            )
    _turn(session, round, RoundState.DRAFT, RoundState.OPEN, opened_at=utc_now())
    rows = [
        {
            "public_id": public_id(),
            "item_id": item.id,
            "slot": slot,
            "position": order.position(round.priority, round.number, item.position),
        }
        for item in items
        for slot in range(item.overlap)
    ]
    session.execute(insert(Assignment), rows)
    own.find(session, Item.round_id == round.id)
    return len(rows)


def _nothing_to_do(round: Round) -> str:
    reasons = ", ".join(f"{count} × {i18n.gettext(reason)}" for reason, count in left_out_reasons(round))
    if not reasons:
        return _("This round has no items: no prompts match its selection. Delete the draft and select other prompts.")
    return _("This round has no items. Left out: %(reasons)s. Add completions or choose other prompts.") % {
        "reasons": reasons
    }


def close_round(session: Session, round: Round) -> None:
    """Close an open round: late answers take its unfilled slots, and answers that come later are surplus."""
    _turn(session, round, RoundState.OPEN, RoundState.CLOSED, closed_at=utc_now())
    late.fill(session, Item.round_id == round.id, closing=True)


def reopen_round(session: Session, round: Round) -> None:
    """Reopen a closed round: hand out its open slots again, and let late answers take the free ones."""
    _turn(session, round, RoundState.CLOSED, RoundState.OPEN, closed_at=None)
    late.fill(session, Item.round_id == round.id)


def _turn(session: Session, round: Round, before: RoundState, after: RoundState, **at: utc_now | None) -> None:
    turned = update(Round).where(Round.id == round.id, Round.state == before).values(state=after, **at)
    if not changed_rows(session, turned):
        raise Conflict(
            _("Only a round that is %(state)s can be changed to %(to)s.") % {"state": word(before), "to": word(after)}
        )
    session.refresh(round)


# --- Handing out ---


def claim(
    session: Session, labeler: Account, round: int | None = None, situation: Situation | None = None
) -> Task | None:
    """Lease the labeler's unfinished assignment, else the next one on offer, in one round or in any; None if none.

    Raise guidelines.rules.NotRead if the labeler must read a changed guideline before new work. `situation` is known
    where the labeler's requests wait for this one already.
    """
    if round is not None:
        queries.check_round(session, labeler, round)
    situation = situation or look(session, labeler)
    may_begin = not labeler.paused and situation.changed is None
    found = slots.take_next(session, labeler, round, situation.offers if may_begin else Offers.NONE)
    if found is None and may_begin and situation.offers is not Offers.ALL:
        found = slots.take_next(session, labeler, round, Offers.ALL)
    if found is None:
        if not labeler.paused:
            unknown_guidelines(session, labeler)
        return None
    taken = tasks.read(session, found, labeler, begins=True)
    if situation.unknown and situation.changed is None:
        note_beginning(session, taken.item, labeler, unknown_guidelines(session, labeler))
    return taken


def reserve_next(
    session: Session, labeler: Account, current: Assignment, round: int | None = None
) -> Assignment | None:
    """Reserve briefly what `claim` will give after `current`, so that its page can be prepared; return None if nothing.

    Nobody waits for a reservation: it yields to labelers who find nothing else, and each labeler has one at most.
    """
    one_at_a_time(session, labeler)
    if (other := slots.other_unfinished(session, current.item_id, labeler, round)) is not None:
        return session.get_one(Assignment, other, populate_existing=True)
    if labeler.paused:
        return None
    unknown_guidelines(session, labeler)
    return _hand_over(session, labeler, slots.reserve(session, labeler, round))


def give(session: Session, item: Item, labeler: Account) -> Assignment:
    """Return the labeler's own slot of an item that everybody does (practice, screening), making it on demand."""
    one_at_a_time(session, labeler)
    draft = session.get(Draft, (item.id, labeler.id))
    if draft is None or draft.submitted_at is None:
        own = {
            "public_id": public_id(),
            "item_id": item.id,
            "slot": labeler.id,  # unique to the labeler
            "position": order.position(item.round.priority, item.round.number, item.position),
            "state": AssignmentState.LEASED,
            "labeler_id": labeler.id,
            "claimed_at": utc_now(),
        }
        session.execute(insert_into(session, Assignment).values(own).on_conflict_do_nothing())
        taken = _hand_over(session, labeler, slots.take(session, item.id, labeler))
        assert taken is not None, "the slot is this labeler's own"
        return taken
    return session.scalars(
        select(Assignment).where(Assignment.item_id == item.id, Assignment.labeler_id == labeler.id)
    ).one()


def show_sensitive(session: Session, assignment: Given, labeler: Account) -> None:
    """Record that the labeler was warned and chose to see the prompt, which is then shown without a warning."""
    session.execute(
        update(Draft)
        .where(Draft.item_id == assignment.item_id, Draft.labeler_id == labeler.id, Draft.warned_at.is_(None))
        .values(warned_at=utc_now())
    )


def waiting(session: Session, labeler: Account, at_most: int = 1000) -> int:
    """Count the tasks on offer for this labeler, up to `at_most`."""
    return 0 if labeler.paused else sum(slots.count_waiting(session, labeler, at_most).values())


def resume(session: Session, assignment: Given, labeler: Account) -> Assignment | None:
    """Re-lease an item that this labeler was given before, or skipped; return None if others hold all its slots."""
    one_at_a_time(session, labeler)
    drafts.refuse_submitted(session, assignment, labeler)
    if assignment.item.round.state is RoundState.CLOSED:
        raise Conflict(_("This round has closed: submit your draft as is, or discard it."))
    if labeler.pool not in assignment.item.round.pools:
        raise Conflict(_("This round is no longer open to your pool: submit your draft as is, or discard it."))
    if session.get(OwnItem, (assignment.item_id, labeler.id)):
        raise Conflict(
            _("This task contains a text that you wrote, so others must rank it. Continue with another task.")
        )
    taken = _hand_over(session, labeler, slots.take(session, assignment.item_id, labeler))
    if taken is not None and (passed := session.get(Skip, (assignment.item_id, labeler.id))):
        session.delete(passed)
        session.flush()
    return taken


def _hand_over(session: Session, labeler: Account, assignment_id: int | None) -> Assignment | None:
    if assignment_id is None:
        return None
    assignment = session.get_one(Assignment, assignment_id, populate_existing=True)
    if session.get(Draft, (assignment.item_id, labeler.id)) is None:
        session.add(Draft(item_id=assignment.item_id, labeler_id=labeler.id))
        session.flush()
    return assignment


def heartbeat(session: Session, assignment: Given, labeler: Account, fence: int) -> datetime:
    """Renew the lease and return its end; even a lease that ran out is renewed if nobody else took the slot.

    Raise Conflict if the lease is lost.
    """
    until = slots.renew(session, assignment.item_id, labeler, fence)
    if until is None:
        drafts.refuse_submitted(session, assignment, labeler)
        raise Conflict(why_lost(assignment), field="fence")
    return until


def why_lost(assignment: Given) -> str:
    """Return why the labeler no longer holds the item, and the next step."""
    if assignment.item.round.state is not RoundState.OPEN:
        return _("This round was closed. You can still submit your text; it is kept as an extra answer.")
    return _(
        "Your time for this task ran out, and somebody else has it now. Your draft is kept; you can still submit it."
    )


def skip(session: Session, assignment: Given, labeler: Account, reason: SkipReason, note: str = "") -> None:
    """Skip the item: free its slot at once and never offer it to this labeler again; the draft stays."""
    require_text(note, "note", may_be_empty=True, at_most=NOTE_CHARACTERS)
    one_at_a_time(session, labeler)
    still_open = is_open(session, assignment.item_id)  # locks the round before the slot, as closing a round does
    drafts.refuse_submitted(session, assignment, labeler)
    if session.get(Skip, (assignment.item_id, labeler.id)) is None:
        session.add(Skip(item_id=assignment.item_id, labeler_id=labeler.id, reason=reason, note=note))
        session.flush()
    slots.release(session, assignment.item_id, labeler)
    if still_open:
        late.fill(session, Item.id == assignment.item_id)


# --- Submitting ---


def idempotency_key(given: str, content: BaseModel) -> str:
    """Return what makes two submissions the same: a hash of the content and of the client's key, if it sent one."""
    written = json.dumps(content.model_dump(mode="json"), sort_keys=True)  # sorted: a database may reorder keys
    return hashlib.sha256(f"{given}\n{written}".encode()).hexdigest()


def begin_submit(task: Task, version: int | None) -> None:
    """Refuse a submission that ignores text written elsewhere: raise Conflict if the draft has changed since `version`.

    `version` is the draft version that the labeler saw last, if it is known. The task was read after `one_at_a_time`,
    which blocks all other submissions of this labeler until the end of the transaction.
    """
    open_ = task.draft.submitted_at is None or task.draft.reopened_at is not None
    if open_ and version is not None and task.draft.version != version:
        raise drafts.changed_elsewhere(task.draft)


def handed_in(session: Session, task: Task, labeler: Account, answers: type[Answer], key: str) -> Answer | None:
    """Return the row of `answers` that the labeler has submitted, or None; raise Conflict if a different one is final.

    A row with this `key` is the same submission, repeated; a row with another key is one that the labeler is editing.
    """
    if task.draft.submitted_at is None:
        return None
    stored: Any = answer(session, task, labeler, answers)
    if stored is None or stored.idempotency_key == key or task.draft.reopened_at is not None:
        return stored
    raise Conflict(
        _("You have already submitted another answer to this; that answer remains."),
        current={"content": task.draft.content, "submitted_at": stored.submitted_at.isoformat()},
    )


def answer(session: Session, assignment: Given, labeler: Account, answers: type[Answer]) -> Answer | None:
    """Return the row of `answers` that the labeler has submitted, or None; an edit replaces this row."""
    columns: Any = answers  # the same for every kind of answer
    return session.scalars(
        select(answers).where(columns.item_id == assignment.item_id, columns.labeler_id == labeler.id)
    ).one_or_none()


class Filled(NamedTuple):
    """The slot that an answer fills; without one, the answer is surplus."""

    assignment_id: int | None
    at: datetime
    edited_at: datetime | None = None

    @property
    def surplus(self) -> bool:
        return self.assignment_id is None


def fill_slot(session: Session, assignment: Given, labeler: Account, content: dict, *, active_seconds: float) -> Filled:
    """Submit the labeler's draft with `content`, and fill a slot of the item if one is left and the round is open.

    A lease that ran out costs nothing unless somebody else has taken the last slot; then the answer is surplus.
    """
    draft = assignment.draft if isinstance(assignment, Task) else queries.draft(session, assignment, labeler)
    if draft.reopened_at is not None and draft.submitted_at is not None:
        edited = session.get_one(Draft, (assignment.item_id, labeler.id))
        slot = changes.fill_again(session, edited, content, active_seconds)
        return Filled(slot, draft.submitted_at, edited.updated_at)
    at = drafts.submit(session, assignment.item_id, labeler, content, active_seconds)
    if not _stays_open(session, assignment):
        slots.release(session, assignment.item_id, labeler)
        return Filled(None, at)
    return Filled(slots.fill(session, assignment.item_id, labeler, at), at)


def _stays_open(session: Session, assignment: Given) -> bool:
    """Return whether the round is open, and stays so until the end of the transaction."""
    if isinstance(assignment, Task) and assignment.keeps_round:
        return assignment.item.round.state is RoundState.OPEN
    return is_open(session, assignment.item_id)


# --- What is shown ---


def shown_completions(item: AnyItem, labeler: Account) -> Sequence[Completion | TaskText]:
    """Return the item's completions in this labeler's own order; the first is shown as A.

    The order is a keyed hash of item and labeler: it reveals nothing, and it stays the same when the labeler loses a
    lease and resumes the draft through another slot.
    """

    def place(completion: Completion | TaskText) -> bytes:
        text = f"shown:{item.public_id}:{labeler.public_id}:{completion.public_id}"
        return hmac.digest(key, text.encode(), hashlib.sha256)

    key = settings().key
    if isinstance(item, Item):
        return sorted((member.completion for member in item.completions), key=place)
    return sorted(item.texts, key=place)
