"""Submitting an answer of any kind, and taking it back: each kind says what is right and what it stores."""

from collections.abc import Callable
from typing import Any, NamedTuple

from pydantic import BaseModel
from sqlalchemy.orm import Session

from app.accounts.tables import Account
from app.assignments import changes, late
from app.assignments import rules as assignments
from app.assignments.locks import one_at_a_time
from app.assignments.tables import Assignment
from app.assignments.task import Given, Task, read
from app.comparisons import rules as comparisons
from app.comparisons.tables import Comparison
from app.conversations import rules as conversations
from app.conversations.tables import Conversation
from app.demonstrations import rules as demonstrations
from app.demonstrations.tables import Demonstration
from app.desk.schemas import CONTENT, AnyContent
from app.errors import BadInput
from app.kit.i18n import gettext as _
from app.kit.words import word
from app.rounds.tables import Item, ItemKind


class Kind(NamedTuple):
    """What differs between the kinds of answers."""

    table: type[Any]
    validate: Callable[..., Any]  # refuse content that is wrong; return what `store` needs of it
    store: Callable[..., Any]  # the row, merged into the one that was edited
    remove: Callable[..., None]  # the row and what belongs to it


KINDS = {
    ItemKind.COMPARISON: Kind(Comparison, comparisons.validate, comparisons.store, comparisons.remove),
    ItemKind.CONVERSATION: Kind(Conversation, conversations.validate, conversations.store, conversations.remove),
    ItemKind.DEMONSTRATION: Kind(Demonstration, demonstrations.validate, demonstrations.store, demonstrations.remove),
}


def matching(kind: ItemKind, body: BaseModel) -> AnyContent:
    """Return the bare content of a draft or submission; raises BadInput unless it is of the item's kind."""
    content = CONTENT[kind]
    if not isinstance(body, content):
        raise BadInput(
            _("This is a %(kind)s; send %(fields)s.") % {"kind": word(kind), "fields": ", ".join(content.model_fields)},
            field="content",
        )
    return content.model_construct(**{name: getattr(body, name) for name in content.model_fields})


def kind_of(body: BaseModel) -> ItemKind:
    """Return the kind of item that a draft or submission is for."""
    return next(kind for kind, content in CONTENT.items() if isinstance(body, content))


def submit(
    session: Session,
    assignment: Given,
    labeler: Account,
    content: BaseModel,
    *,
    key: str = "",
    version: int | None = None,
    active_seconds: float = 0.0,
) -> Any:
    """Store a labeler's answer once and return its row: of a Demonstration, a Conversation or a Comparison.

    The same content with the same key returns the same row; other content raises Conflict, unless the labeler edits.
    A task was read after `one_at_a_time`, with its round kept; any other assignment is read again so.
    """
    if isinstance(assignment, Task):
        task = assignment
    else:
        one_at_a_time(session, labeler)
        task = read(session, assignment.public_id, labeler, keeps_round=True)
    kind = KINDS[task.item.kind]
    content = matching(task.item.kind, content)
    key = assignments.idempotency_key(key, content)
    assignments.begin_submit(task, version)
    before: Any = assignments.handed_in(session, task, labeler, kind.table, key)
    if before and before.idempotency_key == key:
        return before
    pool = before.pool if before else labeler.pool  # an edit keeps the pool that the answer was given in
    # The texts of other kinds change rows of the item's prompt.
    item = task.item if task.item.kind is ItemKind.COMPARISON else session.get_one(Item, task.item_id)
    valid = kind.validate(session, item, labeler, content, pool)
    filled = assignments.fill_slot(
        session, task, labeler, content.model_dump(mode="json"), active_seconds=active_seconds
    )
    columns = {
        "id": before and before.id,
        "item_id": item.id,
        "assignment_id": filled.assignment_id,
        "labeler_id": labeler.id,
        "pool": pool,
        "guideline_id": task.item.round.guideline_id,
        "surplus": filled.surplus,
        "idempotency_key": key,
        "submitted_at": filled.at,
        "edited_at": filled.edited_at,
    }
    return kind.store(session, item, content, valid, columns, before)


def withdraw(session: Session, assignment: Assignment, labeler: Account) -> None:
    """Undo a submission: the answer is a draft again and nothing else."""
    kind = KINDS[assignment.item.kind]
    stored = assignments.answer(session, assignment, labeler, kind.table)
    if changes.take_back(session, assignment, labeler) and stored:
        kind.remove(session, stored)
        late.fill(session, Item.id == assignment.item_id, left_by=labeler)
