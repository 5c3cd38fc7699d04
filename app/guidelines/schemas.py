"""Questions of a form, and API schemas of guidelines and forms."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.guidelines.changes import Piece, compare_texts
from app.guidelines.tables import Form, FormKind, Guideline
from app.kit.text import Text


class PromptAnswer(StrEnum):
    """The eleven yes-or-no answers about a prompt (InstructGPT, Table 7)."""

    AMBIGUOUS = "ambiguous"
    SENSITIVE = "sensitive_content"
    IDENTITY_DEPENDENT = "identity_dependent"
    CLOSED_DOMAIN = "closed_domain"
    CONTINUATION = "continuation_style"
    OPINIONATED = "requests_opinionated_content"
    ADVICE = "requests_advice"
    MORAL_JUDGMENT = "requests_moral_judgment"
    SAFETY_CONSTRAINTS = "explicit_safety_constraints"
    OTHER_CONSTRAINTS = "other_explicit_constraints"
    INTENT_UNCLEAR = "intent_unclear"


KEYS = "qwertasdfgzxcvb"  # letters that toggle flags: for the left hand, while the right hand rates


class Question(BaseModel):
    """One question of a form; it is hidden only if all prompt answers named in `shown_if` are known to be no."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Text
    kind: Literal["rating", "yes_no"] = "yes_no"
    label: Text
    definition: Text = ""
    low: Text = ""  # labels of 1 and 7, for a rating
    high: Text = ""
    shown_if: tuple[PromptAnswer, ...] = ()
    key: Text = ""  # one of KEYS; empty: the next free one

    def is_shown(self, answers: dict[str, bool | None]) -> bool:
        """Return whether to ask this about a prompt with these answers; an unknown answer hides nothing."""
        return not self.shown_if or any(answers.get(name) is not False for name in self.shown_if)


class GuidelineIn(BaseModel):
    """A new version of a guideline."""

    model_config = ConfigDict(extra="forbid")

    name: Text = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,79}$", description='E.g. "training".')
    title: Text = Field(min_length=1, max_length=200)
    body: Text = Field(min_length=1, max_length=100_000, description="Markdown.")
    what_changed: Text = Field("", max_length=2000)


class GuidelineOut(BaseModel):
    """One version of a guideline."""

    id: str
    name: str
    version: int
    title: str
    body: str
    what_changed: str
    created_at: datetime

    @classmethod
    def of(cls, guideline: Guideline) -> "GuidelineOut":
        """Build from a row."""
        return cls(
            id=guideline.public_id,
            name=guideline.name,
            version=guideline.version,
            title=guideline.title,
            body=guideline.body,
            what_changed=guideline.what_changed,
            created_at=guideline.created_at,
        )


class GuidelineChanges(BaseModel):
    """One version compared with the last version you have read."""

    guideline: GuidelineOut
    last_read: int | None = Field(description="Version number; null: none yet, so everything is new.")
    paragraphs: list[list[Piece]] = Field(description="In order; a reworded paragraph is split into several pieces.")

    @classmethod
    def of(cls, guideline: Guideline, last: Guideline | None) -> "GuidelineChanges":
        """Compare a version with the last one read; without one, everything is new."""
        return cls(
            guideline=GuidelineOut.of(guideline),
            last_read=last.version if last else None,
            paragraphs=compare_texts(last.body if last else "", guideline.body),
        )


class FormIn(BaseModel):
    """A new version of a form: all of its questions, in order."""

    model_config = ConfigDict(extra="forbid")

    kind: FormKind
    questions: list[Question] = Field(max_length=40)
    after: int | None = Field(None, description="The version it is based on; 409 if there is a newer one.")


class FormOut(BaseModel):
    """One version of a form."""

    id: str
    kind: FormKind
    version: int
    questions: list[Question]
    created_at: datetime

    @classmethod
    def of(cls, form: Form) -> "FormOut":
        """Build from a row."""
        return cls(
            id=form.public_id,
            kind=form.kind,
            version=form.version,
            questions=form.questions,
            created_at=form.created_at,
        )
