"""What a labeler hands in for a comparison, and comparisons as REST tells them."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from app.accounts.tables import AccountKind
from app.assignments.tables import LETTERS
from app.comparisons.queries import ranked
from app.comparisons.tables import Comparison, ComparisonSource
from app.demonstrations.schemas import Typed
from training.records import Message, Pool

Letter = Literal[*LETTERS]


class Answer(BaseModel):
    """What was answered about one completion; what is absent is unanswered."""

    model_config = ConfigDict(extra="forbid")

    rating: int | None = Field(None, ge=1, le=7)
    flags: dict[str, StrictBool | None] = {}
    gone_on: StrictBool = Field(False, description="The labeler's word that none of the other flags apply.")
    tier: int | None = Field(None, ge=1, le=9, description="1 is best; equal tiers are a tie.")


class ComparisonContent(BaseModel):
    """Answers by the letters of the completions; a draft may lack any of it."""

    model_config = ConfigDict(extra="forbid")

    completions: dict[Letter, Answer] = {}
    notes: Annotated[Typed, Field(max_length=10_000)] = ""

    def of(self, letter: str) -> Answer:
        """What was answered about one completion so far."""
        return self.completions.get(letter) or Answer()

    def with_form(self, form: Mapping[str, str], letters: str, flags: Iterable[str]) -> "ComparisonContent":
        """What stands after the fields of a posted form: the answers about one completion, or places in the ranking.

        A box that is not ticked answers nothing; going on is what answers no.
        """
        made = {letter: self.of(letter).model_dump() for letter in letters}
        if (at := form.get("rated", "")) and at in letters:
            before = made[at]["flags"]
            ticked = {flag: True for flag in flags if f"flag.{flag}" in form}
            denied = {flag: False for flag, answer in before.items() if answer is False and flag not in ticked}
            made[at] |= {"rating": form.get("rating") or None, "flags": denied | ticked}
            made[at]["gone_on"] |= form.get("do") == "go_on" and bool(form.get("rating"))
        for letter in letters:
            if f"tier.{letter}" in form:
                made[letter]["tier"] = form[f"tier.{letter}"] or None
        return ComparisonContent(completions=made, notes=form.get("notes", self.notes))


class ComparedOut(BaseModel):
    """One completion of a comparison."""

    letter: str = Field(description="As which it was shown.")
    completion: str = Field(description="Public id.")
    policy: str
    text: str
    rating: int | None
    tier: int | None
    flags: dict[str, bool] = Field(description="What is absent was not asked or not answered.")


class ComparisonOut(BaseModel):
    """A comparison as REST tells it."""

    id: str
    source: ComparisonSource
    round: int | None
    collection: str
    prompt: list[Message]
    completions: list[ComparedOut] = Field(description="The best first, ties in the order in which they were shown.")
    labeler: str | None = Field(description="Public id of the account, or the name an import gave.")
    labeler_kind: AccountKind | None = Field(description="`simulated`: ranked by a program.")
    pool: Pool
    guideline: str | None = Field(description="Name and version, e.g. `training 1`.")
    form_version: int | None
    notes: str
    surplus: bool
    active_seconds: float
    submitted_at: datetime

    @classmethod
    def of(cls, one: Comparison) -> "ComparisonOut":
        """From the row and what it points to."""
        return cls(
            id=one.public_id,
            source=one.source,
            round=one.item.round.number if one.item else None,
            collection=one.collection,
            prompt=one.prompt.messages,
            completions=[
                ComparedOut(
                    letter=row.letter,
                    completion=row.completion.public_id,
                    policy=row.completion.policy.name,
                    text=row.completion.text,
                    rating=row.rating,
                    tier=row.tier,
                    flags=row.flags,
                )
                for row in ranked(one)
            ],
            labeler=one.labeler.public_id if one.labeler else one.imported_labeler or None,
            labeler_kind=one.labeler.kind if one.labeler else None,
            pool=one.pool,
            guideline=f"{one.guideline.name} {one.guideline.version}" if one.guideline else None,
            form_version=one.form.version if one.form else None,
            notes=one.notes,
            surplus=one.surplus,
            active_seconds=one.active_seconds,
            submitted_at=one.submitted_at,
        )


class ComparisonPage(BaseModel):
    """Comparisons, the newest first."""

    items: list[ComparisonOut]
    next_cursor: str | None
