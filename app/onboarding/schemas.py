"""Schemas of exercises and of onboarding in the REST API; nothing here names a labeler during a screening."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from app.demonstrations.tables import Demonstration
from app.kit.text import Text
from app.onboarding.agreement import Compared, Figures
from app.onboarding.tables import Exercise, Screening, Verdict
from app.prompts.tables import Prompt
from app.rounds.tables import ItemKind, RoundPurpose
from training.contract.records import Message

Part = Literal[RoundPurpose.PRACTICE, RoundPurpose.SCREENING]
Comfort = Literal["yes", "partly", "no"]
Long = Annotated[Text, Field(max_length=10_000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ReferenceIn(_Strict):
    """The reference for one completion."""

    tier: int | None = Field(
        None, ge=1, le=9, description="1 is best; equal: either order is right; null: not compared."
    )
    flags: dict[Text, StrictBool] = Field({}, description="Omitted flags are not compared.")
    why: Long = Field("", description="Shown next to the completion after practice.")


class ExerciseCompletion(ReferenceIn):
    """A completion of an exercise with its reference."""

    text: Annotated[Text, Field(min_length=1, max_length=50_000)]


class ExerciseIn(_Strict):
    """A new exercise. Without completions it asks for a demonstration, which only screening exercises can do."""

    part: Part
    prompt: Annotated[Text, Field(min_length=1, max_length=50_000)]
    sensitive: StrictBool = Field(False, description="Labelers are warned before they see the prompt.")
    completions: list[ExerciseCompletion] = Field([], max_length=9)
    explanation: Long = Field("", description="Markdown; shown after practice.")


class ExerciseChange(_Strict):
    """Changes to an exercise. Its prompt and completions cannot change; omitted fields stay as they are."""

    explanation: Long | None = None
    references: list[ReferenceIn] | None = Field(
        None, max_length=9, description="One for each completion, in the order in which the exercise lists them."
    )
    retired: StrictBool | None = Field(None, description="No longer assigned; existing answers are kept.")


class ReferenceOut(BaseModel):
    """A completion of an exercise with its reference."""

    text: str
    tier: int | None
    flags: dict[str, bool]
    why: str


class ExerciseOut(BaseModel):
    """An exercise as an admin sees it."""

    id: str
    part: Part
    kind: ItemKind
    prompt: Sequence[Message]
    sensitive: bool
    completions: list[ReferenceOut]
    explanation: str
    retired: bool

    @classmethod
    def of(cls, one: Exercise) -> "ExerciseOut":
        """Build from its row with all that belongs to it."""
        return cls(
            id=one.item.public_id,
            part=one.item.round.purpose,
            kind=one.item.kind,
            prompt=one.item.prompt.messages,
            sensitive=one.item.prompt.sensitive,
            completions=[
                ReferenceOut(text=found.completion.text, tier=found.tier, flags=found.flags, why=found.why)
                for found in one.references
            ],
            explanation=one.explanation,
            retired=one.retired_at is not None,
        )


class ProgressOut(BaseModel):
    """How many exercises are done or skipped, of how many."""

    done: int
    all: int


class OnboardingOut(BaseModel):
    """A labeler's onboarding status."""

    guideline: str | None = Field(description="Public id of the guideline to read first; null: already read.")
    practice: ProgressOut
    screening: ProgressOut | None = Field(description="null: not invited.")
    handed_in: bool
    verdict: Verdict | None


class NextIn(_Strict):
    """The part to take the next exercise from."""

    part: Part = RoundPurpose.PRACTICE


class GivenOut(BaseModel):
    """The assigned exercise; work on it under /api/v1/assignments/{assignment}."""

    assignment: str


class FlagDifference(BaseModel):
    """A flag on which the answer and the reference differ."""

    flag: str
    reference: bool
    given: bool | None = Field(description="null: not answered.")


class FeedbackCompletion(BaseModel):
    """One completion of a practice exercise: the answer and the reference."""

    letter: str
    text: str
    tier: int | None
    reference_tier: int | None
    flags: list[FlagDifference] = Field(description="Only flags on which the two differ.")
    why: str


class FeedbackPair(BaseModel):
    """Two completions that the answer orders differently from the reference."""

    better: str
    worse: str
    tied: bool = Field(description="The answer ties the pair, which is not a mistake.")


class FeedbackOut(BaseModel):
    """How a submitted practice exercise compares with the reference."""

    alike: int = Field(description="Pairs ordered as in the reference.")
    compared: int = Field(description="Pairs that both the answer and the reference order.")
    pairs: list[FeedbackPair]
    completions: list[FeedbackCompletion]
    explanation: str = Field(description="Markdown.")


class AssessmentIn(_Strict):
    """How comfortable a labeler is identifying sensitive speech, by topic."""

    comfort: dict[Text, Comfort] = {}
    note: Annotated[Text, Field(max_length=2_000)] = ""


class InviteIn(_Strict):
    """The user name of an account."""

    username: Text = Field(max_length=80)


class CriterionOut(BaseModel):
    """One of the three measured criteria."""

    measured: float | None
    cutoff: float
    met: bool


class ComparedOut(BaseModel):
    """Agreement of one comparison of a screening with its reference."""

    exercise: str
    pairs_alike: int
    pairs: int = Field(description="Pairs that both the answer and the reference order.")
    completions_alike: int
    completions: int = Field(description="Completions for which both answer whether they are sensitive.")


class ScreeningOut(BaseModel):
    """A screening, identified by its number; until the verdict it names nobody."""

    number: int
    handed_in: bool
    sensitive_agreement: CriterionOut
    order_agreement: CriterionOut
    demonstration_score: CriterionOut
    recommended: bool = Field(description="Whether all three soft cutoffs are met; an admin decides.")
    counts: dict = Field(description="The counts behind the figures.")
    compared: list[ComparedOut] = Field(
        description="One entry per comparison, measured against the current references."
    )
    comfort: dict[str, Comfort]
    comfort_note: str
    verdict: Verdict | None
    reason: str
    labeler: str | None = Field(description="Public id of the account, after the verdict.")
    decided_at: datetime | None

    @classmethod
    def of(cls, one: Screening, figures: Figures, compared: Sequence[Compared]) -> "ScreeningOut":
        """Build from its row and what was measured."""
        criteria = {
            name: CriterionOut(measured=value, cutoff=least, met=met)
            for name, (value, least, met) in figures.criteria().items()
        }
        return cls(
            number=one.number,
            handed_in=one.handed_in_at is not None,
            sensitive_agreement=criteria["sensitive"],
            order_agreement=criteria["order"],
            demonstration_score=criteria["demonstrations"],
            recommended=figures.recommended,
            counts=figures.as_dict(),
            compared=[
                ComparedOut(
                    exercise=each.exercise,
                    pairs_alike=each.order.alike,
                    pairs=each.order.compared,
                    completions_alike=each.sensitive.alike,
                    completions=each.sensitive.compared,
                )
                for each in compared
            ],
            comfort=one.comfort,
            comfort_note=one.comfort_note,
            verdict=one.verdict,
            reason=one.reason,
            labeler=one.labeler.public_id if one.verdict else None,
            decided_at=one.decided_at,
        )


class VerdictIn(_Strict):
    """An admin's decision."""

    verdict: Verdict
    reason: Annotated[Text, Field(max_length=2_000)] = Field("", description="For the audit trail.")


class ToReviewOut(BaseModel):
    """A demonstration to rate, without the labeler's name."""

    id: str
    prompt: Sequence[Message]
    text: str

    @classmethod
    def of(cls, one: Demonstration, prompt: Prompt) -> "ToReviewOut":
        """Build from its row and its prompt."""
        return cls(id=one.public_id, prompt=prompt.messages, text=one.completion.text)


class ReviewIn(_Strict):
    """A reviewer's rating."""

    rating: int = Field(ge=1, le=7)
    note: Annotated[Text, Field(max_length=2_000)] = ""


class SurveyResults(BaseModel):
    """How often each answer was given, once at least five people have answered."""

    enough: bool
    answered: int | None = Field(description="null while fewer than five people have answered.")
    questions: dict[str, dict[str, int]]
