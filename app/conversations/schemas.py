"""A conversation's submitted content, and conversations as REST shows them."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.accounts.tables import AccountKind
from app.assignments.task import TaskPrompt
from app.conversations.queries import Whole
from app.conversations.tables import AlternativesState, Origin, Role, Suggestion
from app.kit.text import Text
from app.prompts.tables import Prompt, PromptSource
from training.contract.records import Message, Pool

MAX_MESSAGES = 100
Written = Annotated[Text, Field(max_length=50_000)]
SuggestionId = Annotated[Text, Field(max_length=32)] | None


def opening(prompt: Prompt | TaskPrompt) -> list[Message]:
    """Return the messages that open a conversation; none if the prompt only describes a use case."""
    return [] if prompt.source is PromptSource.USE_CASE else [Message(**message) for message in prompt.messages]


def first_role(prompt: Prompt | TaskPrompt) -> Role:
    """Return the role of the first message that the labeler adds."""
    return Role.ASSISTANT if opening(prompt) else Role.USER


class Turn(BaseModel):
    """One message by the labeler."""

    model_config = ConfigDict(extra="forbid")

    role: Role
    text: Written = ""
    suggestion: SuggestionId = Field(None, description="Id of the suggestion that the text started from.")


class ConversationContent(BaseModel):
    """The messages so far, and the one being written."""

    model_config = ConfigDict(extra="forbid")

    messages: list[Turn] = Field([], max_length=MAX_MESSAGES)
    text: Written = Field("", description="The message being written; on submission it becomes the last one.")
    suggestion: SuggestionId = Field(None, description="Id of the suggestion that it started from.")

    def next_role(self, first: Role) -> Role:
        """Return the role of the next message; the two alternate."""
        if not self.messages:
            return first
        return Role.USER if self.messages[-1].role is Role.ASSISTANT else Role.ASSISTANT

    def whole(self, first: Role) -> list[Turn]:
        """Return all messages, with the one being written unless it is blank."""
        if not self.text.strip():
            return self.messages
        return [*self.messages, Turn(role=self.next_role(first), text=self.text, suggestion=self.suggestion)]

    def with_form(self, form: Mapping[str, str], first: Role, suggested: Mapping[str, str]) -> "ConversationContent":
        """Return the content after a posted form.

        `do` adds the message, takes a suggestion, or reopens the last message. `suggested` has the texts suggested for
        the message being written, by id.
        """
        messages = [
            turn.model_copy(update={"text": form.get(f"message.{place}", turn.text)})
            for place, turn in enumerate(self.messages)
        ]
        text, suggestion = form.get("text", self.text), form.get("suggestion", self.suggestion) or None
        turn = form.get("turn", str(len(messages)))
        if turn != str(len(messages)):  # the page showed another message, added or taken back since
            if turn.isdecimal() and int(turn) < len(messages) and _same(messages[int(turn)].text, text):
                text, suggestion = self.text, self.suggestion
            return ConversationContent(messages=_dumped(messages), text=text, suggestion=suggestion)
        do, _colon, chosen = form.get("do", "").partition(":")
        if do == "add" and text.strip():
            messages.append(Turn(role=self.next_role(first), text=_trimmed(text), suggestion=suggestion))
            text, suggestion = "", None
        elif do == "take" and chosen in suggested:
            # Typed text is not lost: it stays above the suggestion.
            keep = text.strip() and not any(_same(text, one) for one in suggested.values())
            text = f"{text.rstrip()}\n\n{suggested[chosen]}" if keep else suggested[chosen]
            suggestion = chosen
        elif do == "back" and messages and not text.strip():
            last = messages.pop()
            text, suggestion = last.text, last.suggestion
        return ConversationContent(messages=_dumped(messages), text=text, suggestion=suggestion)


def _same(one: str, other: str) -> bool:
    return one.replace("\r\n", "\n").strip() == other.replace("\r\n", "\n").strip()


def _trimmed(text: str) -> str:
    return text.replace("\r\n", "\n").strip("\n").rstrip()


def _dumped(turns: Iterable[Turn]) -> list[dict]:
    return [turn.model_dump() for turn in turns]


class SuggestionOut(BaseModel):
    """A suggestion as its labeler sees it."""

    id: str
    role: Role
    text: str


class SuggestedOut(BaseModel):
    """A suggestion as admins see it."""

    text: str
    policy: str
    settings: dict
    seconds: float

    @classmethod
    def of(cls, one: Suggestion) -> "SuggestedOut":
        """Build it from the suggestion's row, with the policy loaded."""
        return cls(text=one.text, policy=one.policy.name, settings=one.settings, seconds=one.seconds)


class MessageOut(BaseModel):
    """One message by the labeler, with the origin of its text."""

    role: Role
    text: str
    origin: Origin = Field(
        description="`written`: nothing was suggested; `taken`: a suggestion, word for word; `edited`: a suggestion "
        "that was changed; `ignored`: written by hand although something was suggested."
    )
    suggestion: SuggestedOut | None = Field(description="The suggestion that a `taken` or `edited` text started from.")
    ignored: list[SuggestedOut] = Field(description="Other suggestions for this message.")


class AlternativesOut(BaseModel):
    """The completions that were sampled in place of one message."""

    message: int = Field(description="Position of the message, counted from 0.")
    state: AlternativesState
    prompt: str = Field(description="Public id of the prompt: all messages before it.")
    item: str | None = Field(description="Public id of the comparison's item, if the alternatives joined the round.")
    sampled: int
    error: str


class ConversationOut(BaseModel):
    """A conversation."""

    id: str
    round: int
    topic: str | None = Field(description="Description of the use that the conversation started from, if any.")
    opening: list[Message] = Field(description="Prompt that the conversation started with, if any.")
    messages: list[MessageOut]
    labeler: str = Field(description="Public id of the account.")
    labeler_kind: AccountKind = Field(description="`simulated`: written by a program.")
    pool: Pool
    guideline: str = Field(description="Name and version, e.g. `training 1`.")
    surplus: bool
    active_seconds: float
    submitted_at: datetime
    alternatives: AlternativesOut | None

    @classmethod
    def of(cls, one: Whole) -> "ConversationOut":
        """Build it from the row and what belongs to it."""
        row, prompt, later = one.conversation, one.conversation.item.prompt, one.alternatives
        return cls(
            id=row.public_id,
            round=row.item.round.number,
            topic=prompt.messages[-1]["text"] if prompt.source is PromptSource.USE_CASE else None,
            opening=opening(prompt),
            messages=[
                MessageOut(
                    role=message.role,
                    text=message.text,
                    origin=message.origin,
                    suggestion=SuggestedOut.of(message.suggestion) if message.suggestion else None,
                    ignored=[
                        SuggestedOut.of(other)
                        for other in one.suggestions.get(message.position, ())
                        if other.id != message.suggestion_id
                    ],
                )
                for message in row.messages
            ],
            labeler=row.labeler.public_id,
            labeler_kind=row.labeler.kind,
            pool=row.pool,
            guideline=f"{row.guideline.name} {row.guideline.version}",
            surplus=row.surplus,
            active_seconds=row.active_seconds,
            submitted_at=row.submitted_at,
            alternatives=AlternativesOut(
                message=later.position,
                state=later.state,
                prompt=later.prompt.public_id,
                item=later.item.public_id if later.item else None,
                sampled=later.sampled,
                error=later.error,
            )
            if later
            else None,
        )


class ConversationPage(BaseModel):
    """List conversations, newest first."""

    items: list[ConversationOut]
    next_cursor: str | None
