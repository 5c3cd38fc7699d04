"""An assignment as its labeler sees it, and what the labeler sends; nothing reveals a completion's source."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from app.assignments.queries import LabelerState
from app.assignments.tables import EarlierVersion, SkipReason, VersionEnd
from app.comparisons.schemas import ComparisonContent, Letter
from app.conversations.schemas import ConversationContent
from app.conversations.tables import Role
from app.demonstrations.schemas import DemonstrationContent, Seconds
from app.kit.text import Text
from app.rounds.tables import ItemKind
from training.contract.records import Message

AnyContent = ComparisonContent | ConversationContent | DemonstrationContent
CONTENT: dict[ItemKind, type[AnyContent]] = {
    ItemKind.COMPARISON: ComparisonContent,
    ItemKind.CONVERSATION: ConversationContent,
    ItemKind.DEMONSTRATION: DemonstrationContent,
}


class NextIn(BaseModel):
    """Which round the next assignment comes from."""

    model_config = ConfigDict(extra="forbid")

    round: int | None = Field(
        None, ge=1, le=2**31 - 1, description="Number of an open round; absent: all open rounds, in their order."
    )


class ShownCompletion(BaseModel):
    """A completion under its letter."""

    letter: Letter
    text: str


class ShownQuestion(BaseModel):
    """A question about each completion that this prompt calls for."""

    name: str
    kind: Literal["rating", "yes_no"]
    label: str
    definition: str
    low: str = Field(description="Label of rating 1.")
    high: str = Field(description="Label of rating 7.")


class ShownGuideline(BaseModel):
    """The version of the guideline that applies to this assignment."""

    name: str
    version: int
    title: str
    body: str = Field(description="Markdown.")


class DraftOut(BaseModel):
    """The draft so far."""

    version: int
    content: AnyContent
    active_seconds: float


class AssignmentOut(BaseModel):
    """Everything a labeler needs for one assignment."""

    id: str
    kind: ItemKind
    state: LabelerState
    sensitive: bool = Field(description="Warn before you show the prompt and the completions.")
    prompt: list[Message]
    completions: list[ShownCompletion]
    questions: list[ShownQuestion]
    first_role: Role | None = Field(
        description="Who writes the first message of a conversation; `user`: the prompt only describes the topic."
    )
    guideline: ShownGuideline
    fence: int
    lease_until: datetime | None
    draft: DraftOut


class _Worked(BaseModel):
    active_seconds: Seconds = Field(
        0.0,
        description="Total seconds worked on the item. The longer of this and the stored time counts, but no more than "
        "the time since the item was first given to you.",
    )


class _Handed(_Worked):
    fence: int = Field(
        0, description="The fence that came with the assignment; an older one only marks the answer as late."
    )


class ComparisonSubmission(ComparisonContent, _Handed):
    """A submitted comparison."""


class ConversationSubmission(ConversationContent, _Handed):
    """A submitted conversation."""


class DemonstrationSubmission(DemonstrationContent, _Handed):
    """A submitted demonstration."""


def _kind(body: object) -> str:
    def has(name: str) -> bool:
        return name in body if isinstance(body, dict) else hasattr(body, name)

    return "conversation" if has("messages") else "demonstration" if has("text") else "comparison"


Submission = Annotated[
    Annotated[ComparisonSubmission, Tag("comparison")]
    | Annotated[ConversationSubmission, Tag("conversation")]
    | Annotated[DemonstrationSubmission, Tag("demonstration")],
    Discriminator(_kind),
]
Content = Annotated[
    Annotated[ComparisonContent, Tag("comparison")]
    | Annotated[ConversationContent, Tag("conversation")]
    | Annotated[DemonstrationContent, Tag("demonstration")],
    Discriminator(_kind),
]


class DraftIn(_Worked):
    """A draft to save."""

    model_config = ConfigDict(extra="forbid")

    content: Content


class SavedOut(BaseModel):
    """A saved draft."""

    version: int
    saved_at: datetime
    state: LabelerState
    lease_until: datetime | None


class SubmittedOut(BaseModel):
    """A stored submission."""

    id: str
    kind: ItemKind
    late: bool = Field(description="Whether the lease had been given to somebody else in the meantime.")
    surplus: bool = Field(
        description="Whether it arrived after its slot was filled or its round closed; it is then kept out of training."
    )
    submitted_at: datetime


class SkipIn(BaseModel):
    """Why the labeler skips the assignment."""

    model_config = ConfigDict(extra="forbid")

    reason: SkipReason
    note: Annotated[Text, Field(max_length=2_000)] = ""


class HeartbeatIn(BaseModel):
    """The fence that came with the assignment."""

    model_config = ConfigDict(extra="forbid")

    fence: int = Field(ge=0, le=2**31 - 1)


class HeartbeatOut(BaseModel):
    """The renewed lease."""

    fence: int
    lease_until: datetime


class LineOut(BaseModel):
    """One line of a list of the labeler's own assignments."""

    id: str
    kind: ItemKind
    round: int
    prompt: list[Message] | None = Field(
        description="Null: the prompt is sensitive, and you have not chosen to see it."
    )
    at: datetime = Field(description="When it was last saved, submitted or skipped.")
    state: Literal["held", "lost", "closed", "submitted", "editing", "skipped"]
    reason: SkipReason | None = Field(description="Why it was skipped.")


class LinePage(BaseModel):
    """The labeler's own assignments, newest first."""

    items: list[LineOut]
    next_cursor: str | None


class PartOut(BaseModel):
    """One kind of assignment in an open round."""

    round: int
    kind: ItemKind
    submitted: int = Field(description="Submitted by you.")
    waiting: int = Field(description="To do for you; counted up to 1000 over all rounds.")


class DayOut(BaseModel):
    """What a labeler's desk shows."""

    submitted_today: int = Field(description="Since midnight, UTC.")
    active_seconds_today: float
    submitted: int
    skipped: int
    unfinished: int = Field(description="Held or begun, in a round that is still open to you.")
    closed: int = Field(description="Begun, in a round that has closed to you: submit it as is, or discard it.")
    rounds: list[PartOut] = Field(description="In the order in which assignments are handed out.")


class VersionOut(BaseModel):
    """An earlier submission."""

    number: int
    content: AnyContent
    active_seconds: float
    submitted_at: datetime
    ended_at: datetime
    end: VersionEnd

    @classmethod
    def of(cls, one: EarlierVersion, kind: ItemKind) -> "VersionOut":
        """Build from the row."""
        return cls(
            number=one.number,
            content=CONTENT[kind].model_validate(one.content),
            active_seconds=one.active_seconds,
            submitted_at=one.submitted_at,
            ended_at=one.ended_at,
            end=one.end,
        )
