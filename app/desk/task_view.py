"""A task as pages show it: the assignment, its draft, the text under each letter, and the questions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.accounts.tables import Account
from app.assignments import changes, queries, rules, task
from app.assignments.queries import LabelerState
from app.assignments.tables import LETTERS
from app.assignments.task import Task, TaskDraft
from app.comparisons.rules import reading_seconds
from app.comparisons.schemas import ComparisonContent
from app.conversations.queries import suggestions
from app.conversations.schemas import ConversationContent, first_role
from app.conversations.tables import Role
from app.demonstrations.schemas import DemonstrationContent
from app.desk.schemas import CONTENT, AnyContent
from app.errors import BadInput
from app.guidelines.rules import questions_for
from app.guidelines.schemas import Question
from app.rounds.tables import ItemKind


@dataclass(frozen=True)
class Work:
    """An assignment as a page shows it to its labeler."""

    assignment: Task
    draft: TaskDraft
    content: AnyContent
    standing: LabelerState
    texts: dict[str, str]  # by letter, in the labeler's own order; comparisons only
    questions: Sequence[Question]
    unsent: AnyContent | None  # an edit that was not submitted before the round closed
    suggestions: dict[str, str]  # for the next message of a conversation, by id, newest first

    @property
    def kind(self) -> ItemKind:
        return self.assignment.item.kind

    @property
    def warns(self) -> bool:
        """Whether the prompt is sensitive and the labeler has not chosen to see it."""
        return self.assignment.item.prompt.sensitive and self.draft.warned_at is None

    @property
    def letters(self) -> str:
        return "".join(self.texts)

    @property
    def flags(self) -> list[Question]:
        return [question for question in self.questions if question.kind == "yes_no"]

    @property
    def rating(self) -> Question | None:
        return next((question for question in self.questions if question.kind == "rating"), None)

    @property
    def left(self) -> list[str]:
        """Letters of the completions without `flags_complete`."""
        return self.left_in(self.content)

    def left_in(self, content: AnyContent) -> list[str]:
        """Return the letters of the completions without `flags_complete` in other content of the task."""
        if not isinstance(content, ComparisonContent):
            return []
        return [letter for letter in self.letters if not content.of(letter).flags_complete]

    @property
    def first_role(self) -> Role:
        """Who writes the first message of a conversation."""
        return first_role(self.assignment.item.prompt)

    @property
    def reading_seconds(self) -> float:
        """Minimum time to read the prompt and the texts shown, in seconds."""
        said = [message["text"] for message in self.assignment.item.prompt.messages]
        return reading_seconds([*said, *self.texts.values()])

    def with_form(self, form: Mapping[str, str]) -> AnyContent:
        """Return the content with a posted form applied; raise BadInput if it is invalid."""
        try:
            if isinstance(self.content, ConversationContent):
                return self.content.with_form(form, self.first_role, self.suggestions)
            if isinstance(self.content, DemonstrationContent):
                return self.content.with_form(form)
            return self.content.with_form(form, self.letters, [flag.name for flag in self.flags])
        except ValidationError as error:
            first = error.errors()[0]
            raise BadInput(first["msg"], field=".".join(map(str, first["loc"]))) from error


def find_work(session: Session, id: str, labeler: Account, *, keeps_round: bool = False) -> Work:
    """Return the task behind this assignment id; raise NotFound unless it was given to this labeler."""
    return work_of(session, task.read(session, id, labeler, keeps_round=keeps_round), labeler)


def work_of(session: Session, found: Task, labeler: Account) -> Work:
    """Return a task as its page shows it."""
    item, draft = found.item, found.draft
    shown = rules.shown_completions(item, labeler)
    content = CONTENT[item.kind].model_validate(draft.content)
    standing, unsent = queries.labeler_state(found, labeler, draft), None
    if standing is LabelerState.SUBMITTED and draft.reopened_at is not None:
        version = changes.standing_version(session, item.id, labeler.id)
        unsent, content = content, CONTENT[item.kind].model_validate(version.content)
    suggested = []
    if isinstance(content, ConversationContent):
        suggested = suggestions(session, item.id, labeler.id, len(content.messages))
    return Work(
        assignment=found,
        draft=draft,
        content=content,
        standing=standing,
        texts={letter: completion.text for letter, completion in zip(LETTERS, shown, strict=False)},
        questions=questions_for(item.round.form, item.prompt) if item.kind is ItemKind.COMPARISON else [],
        unsent=unsent,
        suggestions={one.public_id: one.text for one in suggested},
    )


def stands_as(found: Task) -> str:
    """Return the version stamp of a task page: a prefetched page is valid while it matches."""
    return f"{found.public_id}:{found.fence}:{found.draft.version}"
