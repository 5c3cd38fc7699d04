"""What a labeler hands in for a demonstration, and demonstrations as REST tells them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.accounts.tables import AccountKind
from app.demonstrations.tables import Demonstration
from training.records import Message, Pool

# As it was typed; browsers send \r\n, and no database keeps NUL.
Typed = Annotated[str, AfterValidator(lambda text: text.replace("\r\n", "\n").replace("\x00", ""))]
Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]


class DemonstrationContent(BaseModel):
    """What was written; a draft may be empty."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[Typed, Field(max_length=50_000)] = ""

    def with_form(self, form: Mapping[str, str]) -> "DemonstrationContent":
        """What stands after the fields of a posted form."""
        return DemonstrationContent(text=form.get("text", self.text))


class DemonstrationOut(BaseModel):
    """A demonstration as REST tells it."""

    id: str
    round: int
    prompt: list[Message]
    text: str
    labeler: str = Field(description="Public id of the account.")
    labeler_kind: AccountKind = Field(description="`simulated`: written by a program.")
    pool: Pool
    guideline: str = Field(description="Name and version, e.g. `training 1`.")
    surplus: bool
    active_seconds: float
    submitted_at: datetime

    @classmethod
    def of(cls, one: Demonstration) -> "DemonstrationOut":
        """From the row and what it points to."""
        return cls(
            id=one.public_id,
            round=one.item.round.number,
            prompt=one.item.prompt.messages,
            text=one.completion.text,
            labeler=one.labeler.public_id,
            labeler_kind=one.labeler.kind,
            pool=one.pool,
            guideline=f"{one.guideline.name} {one.guideline.version}",
            surplus=one.surplus,
            active_seconds=one.active_seconds,
            submitted_at=one.submitted_at,
        )


class DemonstrationPage(BaseModel):
    """Demonstrations, the newest first."""

    items: list[DemonstrationOut]
    next_cursor: str | None
