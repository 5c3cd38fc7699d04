"""A demonstration's submitted content, and demonstrations as REST shows them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from app.accounts.tables import AccountKind
from app.demonstrations.tables import Demonstration
from app.kit.text import Text
from training.contract.records import Message, Pool, UseCase

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class DemonstrationContent(BaseModel):
    """The text of a demonstration; a draft may be empty."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[Text, Field(max_length=50_000)] = ""
    use_case: UseCase | None = None
    answers: dict[Annotated[Text, Field(max_length=80)], StrictBool | None] = Field(
        {},
        max_length=50,
        description="Answers to the form about the prompt (Table 7); absent or null means unanswered.",
    )
    form_version: int | None = Field(
        None, ge=1, le=2**31 - 1, description="Version of the form that `answers` follows."
    )

    def with_form(self, form: Mapping[str, str]) -> "DemonstrationContent":
        """Return the content with the fields of a posted form applied."""
        text = form.get("text", self.text)
        version = form.get("form_version", "")
        if not (version.isdecimal() and len(version) < 10):  # the page did not ask about the prompt
            return DemonstrationContent(**self.model_dump(exclude={"text"}), text=text)
        said = {name.removeprefix("about."): value for name, value in form.items() if name.startswith("about.")}
        return DemonstrationContent(
            text=text,
            use_case=form.get("use_case") or None,
            answers={name: value == "yes" for name, value in said.items() if value in ("yes", "no")},
            form_version=int(version),
        )


class DemonstrationOut(BaseModel):
    """A demonstration."""

    id: str
    round: int | None = Field(description="null: a pair of a few-shot prompt that the labeler wrote.")
    prompt: list[Message]
    text: str
    labeler: str = Field(description="Public id of the account.")
    labeler_kind: AccountKind = Field(description="`simulated`: written by a program.")
    pool: Pool
    guideline: str = Field(description="Name and version, e.g. `training 1`.")
    use_case: UseCase | None = Field(description="Use case of the prompt, according to the labeler.")
    answers: dict[str, bool] = Field(description="Answers to the form about the prompt; absent means unanswered.")
    form_version: int | None = Field(description="Version of that form; null: nothing was answered.")
    surplus: bool
    active_seconds: float
    submitted_at: datetime

    @classmethod
    def of(cls, one: Demonstration) -> "DemonstrationOut":
        """Build it from the row and what it points to."""
        return cls(
            id=one.public_id,
            round=one.item.round.number if one.item else None,
            prompt=one.prompt.messages,
            text=one.completion.text,
            labeler=one.labeler.public_id,
            labeler_kind=one.labeler.kind,
            pool=one.pool,
            guideline=f"{one.guideline.name} {one.guideline.version}",
            use_case=one.use_case,
            answers=one.answers,
            form_version=one.form.version if one.form else None,
            surplus=one.surplus,
            active_seconds=one.active_seconds,
            submitted_at=one.submitted_at,
        )


class DemonstrationPage(BaseModel):
    """List demonstrations, newest first."""

    items: list[DemonstrationOut]
    next_cursor: str | None
