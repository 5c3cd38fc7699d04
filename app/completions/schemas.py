"""API schemas of completions."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from app.completions.tables import Completion
from app.kit.text import Text


class CompletionIn(BaseModel):
    """A completion of a policy for a stored prompt."""

    model_config = ConfigDict(extra="forbid")

    prompt: Text = Field(description="Public id of the prompt.")
    policy: Text = Field(
        description="Name of the policy; if there is none, an imported policy is created.", max_length=120
    )
    text: Text = Field(min_length=1)
    settings: dict[Text, float | int | Text] = {}
    tokens: int | None = Field(None, ge=0, le=1_000_000_000)
    finished: bool | None = Field(None, description="False if the text was cut off at the token limit.")


class CompletionsIn(BaseModel):
    """Several completions at once: all of them are stored, or none."""

    model_config = ConfigDict(extra="forbid")

    completions: list[CompletionIn] = Field(min_length=1, max_length=10_000)


class CompletionOut(BaseModel):
    """A stored completion."""

    id: str
    prompt: str
    policy: str
    text: str
    settings: dict
    tokens: int | None
    finished: bool | None
    created_at: datetime

    @classmethod
    def of(cls, completion: Completion) -> "CompletionOut":
        """Build from a row whose prompt and policy are loaded."""
        return cls(
            id=completion.public_id,
            prompt=completion.prompt.public_id,
            policy=completion.policy.name,
            text=completion.text,
            settings=completion.settings,
            tokens=completion.tokens,
            finished=completion.finished,
            created_at=completion.created_at,
        )


class CompletionsOut(BaseModel):
    """A page of completions."""

    items: list[CompletionOut]
    next_cursor: str | None = None
