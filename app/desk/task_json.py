"""An assignment as the REST API shows it to its labeler."""

from typing import Any, NamedTuple

from app.accounts.tables import Account
from app.assignments import queries, rules, task
from app.assignments.tables import LETTERS
from app.assignments.task import Task
from app.conversations.schemas import first_role
from app.database import reading
from app.desk.schemas import CONTENT
from app.guidelines.rules import questions_for
from app.guidelines.schemas import Question
from app.rounds.tables import ItemKind


class ShownJson(NamedTuple):
    """The content of an AssignmentOut, and the draft's version, which is its ETag."""

    content: dict[str, Any]
    version: int


def shown(public_id: str, labeler: Account) -> ShownJson:
    """Return an assignment as its labeler sees it now."""
    with reading() as session:
        found = task.read(session, public_id, labeler)
    return as_shown(found, labeler)


def as_shown(found: Task, labeler: Account) -> ShownJson:
    """Return an assignment as its labeler sees it; built without the model AssignmentOut, which takes longer."""
    item, draft, guideline = found.item, found.draft, found.item.round.guideline
    ranked = item.kind is ItemKind.COMPARISON
    state = queries.labeler_state(found, labeler, draft)
    answer = {
        "id": found.public_id,
        "kind": item.kind,
        "state": state,
        "sensitive": item.prompt.sensitive,
        "prompt": [{"role": message["role"], "text": message["text"]} for message in item.prompt.messages],
        "completions": [
            {"letter": letter, "text": one.text}
            for letter, one in zip(LETTERS, rules.shown_completions(item, labeler), strict=False)
        ],
        "questions": [_asked(question) for question in (questions_for(item.round.form, item.prompt) if ranked else ())],
        "first_role": first_role(item.prompt) if item.kind is ItemKind.CONVERSATION else None,
        "guideline": {
            "name": guideline.name,
            "version": guideline.version,
            "title": guideline.title,
            "body": guideline.body,
        },
        "fence": found.fence,
        "lease_until": found.lease_until if state is queries.LabelerState.HELD else None,
        "draft": {
            "version": draft.version,
            "content": CONTENT[item.kind].model_validate(draft.content).model_dump(mode="json"),
            "active_seconds": float(draft.active_seconds),  # SQLite returns 0.0 as 0 from the statement that stores it
        },
    }
    return ShownJson(answer, draft.version)


def _asked(question: Question) -> dict[str, str]:
    names = ("name", "kind", "label", "definition", "low", "high")
    return {name: getattr(question, name) for name in names}
