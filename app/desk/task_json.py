"""An assignment as the REST API shows it to its labeler."""

from typing import Protocol

from app.accounts.tables import Account
from app.assignments import queries, rules
from app.assignments.tables import LETTERS
from app.conversations.schemas import first_role
from app.database import reading
from app.desk.schemas import CONTENT, AssignmentOut, DraftOut, ShownCompletion, ShownGuideline, ShownQuestion
from app.guidelines.rules import questions_for
from app.rounds.tables import ItemKind


class _Headers(Protocol):
    def __setitem__(self, name: str, value: str, /) -> None: ...


def shown(headers: _Headers, public_id: str, labeler: Account) -> AssignmentOut:
    """Return an assignment as its labeler sees it now; set the draft's version as the ETag in `headers`."""
    with reading() as session:
        found = queries.assignment(session, public_id, labeler)
        draft = queries.draft(session, found, labeler)
        item = found.item
        guideline = item.round.guideline
        ranked = item.kind is ItemKind.COMPARISON
        completions = rules.shown_completions(item, labeler)
        state = queries.labeler_state(found, labeler, draft)
        headers["ETag"] = f'"{draft.version}"'
        return AssignmentOut(
            id=found.public_id,
            kind=item.kind,
            state=state,
            sensitive=item.prompt.sensitive,
            prompt=item.prompt.messages,
            completions=[
                ShownCompletion(letter=letter, text=completion.text)
                for letter, completion in zip(LETTERS, completions, strict=False)
            ],
            questions=[
                ShownQuestion(**question.model_dump(exclude={"shown_if"}))
                for question in (questions_for(item.round.form, item.prompt) if ranked else ())
            ],
            first_role=first_role(item.prompt) if item.kind is ItemKind.CONVERSATION else None,
            guideline=ShownGuideline(
                name=guideline.name, version=guideline.version, title=guideline.title, body=guideline.body
            ),
            fence=found.fence,
            lease_until=found.lease_until if state is queries.LabelerState.HELD else None,
            draft=DraftOut(
                version=draft.version,
                content=CONTENT[item.kind].model_validate(draft.content),
                active_seconds=draft.active_seconds,
            ),
        )
