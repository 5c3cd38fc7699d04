"""Schemas of prompts for forms and the API, and the verdict on a draft."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from app.kit.text import JsonObject, SearchText, Text
from app.prompts.tables import Prompt, PromptSource
from training.contract.records import Message, Split, UseCase


class Verdict(StrEnum):
    """Outcome of a prompt's admission to the bank."""

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
    """Filters of a list of prompts."""

    q: SearchText = ""
    collection: Text | None = None
    split: Split | None = None
    use_case: UseCase | None = None
    source: PromptSource | None = None
    owner: Text | None = None
    language: Text | None = Field(
        None, description="ISO 639-1 code, such as en; und for prompts whose language is unclear."
    )
    withdrawn: bool = False

    def columns(self) -> dict[str, object]:
        """Return the filters that compare a column, for queries.matching."""
        return self.model_dump(exclude={"q", "withdrawn"})


class PromptIn(BaseModel):
    """A prompt to store: `prompt`, a dialogue in `messages` or `conversations`, or `instruction`.

    An instruction can have an `input`, or `instances`, each of which becomes a prompt.
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
    """Several prompts at once: all of them are stored, or none."""

    model_config = ConfigDict(extra="forbid")

    prompts: list[PromptIn] = Field(min_length=1, max_length=10_000)
    keep_similar: bool = Field(
        False, description="Keep near-duplicates: same first 200 characters, or nearly the same text."
    )


class PromptOut(BaseModel):
    """A stored prompt."""

    id: str
    messages: Sequence[Message]
    source: PromptSource
    use_case: UseCase | None
    owner: str
    split: Split
    collection: str = Field(description="The prompt's first collection by name.")
    collections: list[str]
    language: str | None = Field(description="ISO 639-1 code; empty if the language is unclear.")
    answers: dict[str, bool]
    withdrawn: bool
    created_at: datetime

    @classmethod
    def of(cls, prompt: Prompt) -> "PromptOut":
        """Build from a row."""
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
