"""Calls for prompts and writings, as forms and REST exchange them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.kit.text import Text
from app.prompt_writing.tables import Writing, WritingCall
from app.prompts.tables import Prompt, PromptSource
from training.contract.records import UseCase

_Written = Annotated[Text, Field(max_length=20_000)]


class FewShotExample(BaseModel):
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
    pairs: list[FewShotExample] = Field([], max_length=50)
    use_case: UseCase | None = None


class WritingCallIn(BaseModel):
    """What labelers are asked to write."""

    model_config = ConfigDict(extra="forbid")

    kind: PromptSource = PromptSource.LABELER_PLAIN
    use: _Written = Field("", description="The use that prompts are written for; for the other kinds a hint.")
    wanted: int = Field(
        ge=1, le=100_000, description="How many writings are wanted; a few-shot writing becomes several prompts."
    )
    collection: Text = Field("written by labelers", min_length=1, max_length=120)


class WritingCallOut(BaseModel):
    """A call for prompts, and its progress."""

    id: str
    kind: PromptSource
    use: str
    wanted: int
    written: int
    collection: str
    open: bool

    @classmethod
    def of(cls, call: WritingCall, written: int) -> "WritingCallOut":
        """Build from its row and the count of submitted writings."""
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
    """A writing, as its author sees it."""

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
        """Build from its row, whose call is loaded."""
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
