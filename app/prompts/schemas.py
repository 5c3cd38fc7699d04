"""Prompts as forms and REST speak of them, and what an import found."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.kit.text import JsonObject, SearchText, Text
from app.prompts.tables import Prompt, PromptSource, Writing, WritingCall
from training.records import Message, Split, UseCase


class Verdict(StrEnum):
    """What became of a prompt that wanted in."""

    ADDED = "added"
    KNOWN = "already there"
    SAME_BEGINNING = "begins with the same 200 characters as another prompt"
    SIMILAR = "says nearly the same as another prompt"
    OVER_CAP = "its owner has 200 prompts already"
    TOO_LONG = "longer than 1,024 tokens"
    SPLIT = "its owner's prompts are in another split"


@dataclass(frozen=True)
class PromptDraft:
    """A prompt before it is stored; `messages` are canonical."""

    messages: tuple[Message, ...]
    source: PromptSource
    use_case: UseCase | None = None
    owner: str = ""
    split: Split | None = None
    collection: str = ""
    answers: dict[str, bool] = field(default_factory=dict)
    written_by_id: int | None = None
    writing_id: int | None = None


class PromptQuery(BaseModel):
    """What a list of prompts asks for."""

    q: SearchText = ""
    collection: Text | None = None
    split: Split | None = None
    use_case: UseCase | None = None
    source: PromptSource | None = None
    owner: Text | None = None
    language: Text | None = Field(None, description="ISO 639-1, such as en; und: those whose language is not clear.")
    withdrawn: bool = False

    def filters(self) -> dict[str, object]:
        """What queries.matching takes."""
        return self.model_dump(include=set(PromptQuery.model_fields))


class PromptIn(BaseModel):
    """A prompt as REST takes it: `prompt`, a dialogue in `messages` or `conversations`, or `instruction`.

    An instruction has an `input`, or `instances`, each of which is a prompt.
    """

    model_config = ConfigDict(extra="forbid")

    prompt: Text | list[JsonObject] | None = None
    messages: list[JsonObject] | None = None
    conversations: list[JsonObject] | None = None
    instruction: Text | None = None
    input: Text | None = None
    instances: list[JsonObject] | None = None
    source: PromptSource = PromptSource.CUSTOMER
    use_case: UseCase | None = None
    owner: Text = Field("", max_length=120)
    split: Split | None = None
    collection: Text = Field("", max_length=120)
    answers: dict[Text, bool | None] = {}


class PromptsIn(BaseModel):
    """Many prompts at once: all of them are stored, or none."""

    model_config = ConfigDict(extra="forbid")

    prompts: list[PromptIn] = Field(min_length=1, max_length=10_000)
    keep_similar: bool = Field(False, description="Also take prompts that begin like another one.")


class PromptOut(BaseModel):
    """A prompt as REST tells it."""

    id: str
    messages: Sequence[Message]
    source: PromptSource
    use_case: UseCase | None
    owner: str
    split: Split
    collection: str = Field(description="The first of its collections.")
    collections: list[str]
    language: str | None = Field(description="ISO 639-1; empty where it is not clear.")
    answers: dict[str, bool]
    withdrawn: bool
    created_at: datetime

    @classmethod
    def of(cls, prompt: Prompt) -> "PromptOut":
        """From its row."""
        return cls(
            id=prompt.public_id,
            messages=prompt.messages,
            source=prompt.source,
            use_case=prompt.use_case,
            owner=prompt.owner,
            split=prompt.split,
            collection=prompt.collection,
            collections=list(prompt.collections),
            language=prompt.language,
            answers=prompt.answers,
            withdrawn=prompt.withdrawn_at is not None,
            created_at=prompt.created_at,
        )


class PromptsOut(BaseModel):
    """A page of prompts."""

    items: list[PromptOut]
    next_cursor: str | None = None


_Written = Annotated[Text, Field(max_length=20_000)]


class Pair(BaseModel):
    """One example of a few-shot prompt; it becomes a prompt of its own with the others as examples."""

    model_config = ConfigDict(extra="forbid")

    input: _Written = ""
    completion: _Written = ""

    def __bool__(self) -> bool:
        return bool(self.input.strip() or self.completion.strip())


class WritingContent(BaseModel):
    """What a labeler writes: `text`, or for a few-shot prompt `instruction` and `pairs`; a draft may be empty."""

    model_config = ConfigDict(extra="forbid")

    text: _Written = ""
    instruction: _Written = ""
    pairs: list[Pair] = Field([], max_length=50)
    use_case: UseCase | None = None


class WritingCallIn(BaseModel):
    """What labelers are asked to write."""

    model_config = ConfigDict(extra="forbid")

    kind: PromptSource = PromptSource.LABELER_PLAIN
    use: _Written = Field("", description="The use that prompts are written for; for the other kinds a hint.")
    wanted: int = Field(ge=1, le=100_000, description="How many pieces; a few-shot piece becomes several prompts.")
    collection: Text = Field("written by labelers", min_length=1, max_length=120)


class WritingCallOut(BaseModel):
    """A call, and how far it is."""

    id: str
    kind: PromptSource
    use: str
    wanted: int
    written: int
    collection: str
    open: bool

    @classmethod
    def of(cls, call: WritingCall, written: int) -> "WritingCallOut":
        """From its row and the count of what was handed in for it."""
        return cls(
            id=call.public_id,
            kind=call.kind,
            use=call.use,
            wanted=call.wanted,
            written=written,
            collection=call.collection,
            open=call.closed_at is None and written < call.wanted,
        )


class WritingOut(BaseModel):
    """A piece of writing, as its author sees it."""

    id: str
    call: str
    kind: PromptSource
    use: str
    content: WritingContent
    version: int
    updated_at: datetime
    submitted_at: datetime | None
    withdrawn: bool
    prompts: list[str] = Field(description="Ids of the prompts that it became.")

    @classmethod
    def of(cls, writing: Writing, prompts: Sequence[Prompt] = ()) -> "WritingOut":
        """From its row, whose call is loaded."""
        return cls(
            id=writing.public_id,
            call=writing.call.public_id,
            kind=writing.call.kind,
            use=writing.call.use,
            content=writing.content,
            version=writing.version,
            updated_at=writing.updated_at,
            submitted_at=writing.submitted_at,
            withdrawn=writing.withdrawn_at is not None,
            prompts=[prompt.public_id for prompt in prompts],
        )
