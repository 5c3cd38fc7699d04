"""A comparison's submitted content, and comparisons as REST shows them."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import permutations
from typing import Annotated, Literal

from pydantic import AliasChoices, AwareDatetime, BaseModel, ConfigDict, Field, StrictBool

from app.accounts.tables import AccountKind
from app.assignments.tables import LETTERS
from app.comparisons.queries import ranked
from app.comparisons.tables import Comparison, ComparisonSource, SeededOrder
from app.kit.text import Text
from training.contract.records import Message, Pool

Letter = Literal[*LETTERS]  # type: ignore[valid-type]  # mypy does not read the letters of a constant
UNACCEPTABLE = "unacceptable"  # in place of a number, on the page


class CompletionAnswer(BaseModel):
    """Answers about one completion; absent ones are unanswered."""

    model_config = ConfigDict(extra="forbid")

    rating: int | None = Field(None, ge=1, le=7)
    flags: dict[Text, StrictBool | None] = {}
    flags_complete: StrictBool = Field(
        False,
        validation_alias=AliasChoices("flags_complete", "gone_on"),
        description="Whether the labeler confirmed the flags: unchecked ones then count as no. "
        "Its earlier name `gone_on` is deprecated and accepted for one release.",
    )
    tier: int | None = Field(None, ge=1, le=9, description="1 is best; equal tiers are a tie.")
    undecided: StrictBool = Field(
        False,
        description="In a draft: the tier comes from the ratings, and the labeler has not decided whether it is a tie.",
    )
    unacceptable: StrictBool = Field(
        False, description="Placed in the last tier, which only unacceptable completions share, whatever `tier` says."
    )

    @property
    def depth(self) -> tuple[bool, int] | None:
        """A place in the ranking that sorts best first; None: not placed yet."""
        if self.unacceptable:
            return True, 0
        return None if self.tier is None else (False, self.tier)


class ComparisonContent(BaseModel):
    """Answers by completion letter; a draft may lack any of them."""

    model_config = ConfigDict(extra="forbid")

    completions: dict[Letter, CompletionAnswer] = {}
    notes: Annotated[Text, Field(max_length=10_000)] = ""
    seeded_order: SeededOrder | None = Field(
        None, description="What the labeler did with the order suggested by the ratings; null: none was shown."
    )
    first_action_at: AwareDatetime | None = Field(None, description="When the first answer was given.")

    def of(self, letter: str) -> CompletionAnswer:
        """Return the answer about one completion so far."""
        return self.completions.get(letter) or CompletionAnswer()

    def seeded(self, letters: str) -> dict[str, CompletionAnswer]:
        """Return the places that the ratings suggest, each after all better ratings; equal ratings are undecided."""
        ratings = {letter: self.of(letter).rating for letter in letters}
        rated = [rating for rating in ratings.values() if rating is not None]
        return {
            letter: CompletionAnswer()
            if rating is None
            else CompletionAnswer(tier=1 + sum(one > rating for one in rated), undecided=rated.count(rating) > 1)
            for letter, rating in ratings.items()
        }

    def placed(self, letters: str) -> dict[str, CompletionAnswer]:
        """Return each completion's place in the ranking: the labeler's, else the one that the ratings suggest."""
        return {letter: self.of(letter) for letter in letters} if self._is_placed() else self.seeded(letters)

    def undecided(self, letters: str) -> list[str]:
        """Return the letters that have no decided place yet."""
        return [letter for letter, place in self.placed(letters).items() if place.depth is None or place.undecided]

    def contradictions(self, letters: str) -> list[tuple[str, str]]:
        """Return pairs (a, b) where a is rated at least two points above b and yet ranked below it."""
        places = self.placed(letters)
        known = [
            (one, rating, depth)
            for one in letters
            if (rating := self.of(one).rating) is not None and (depth := places[one].depth) is not None
        ]
        pairs = permutations(known, 2)
        return [(a, b) for (a, high, below), (b, low, above) in pairs if high >= low + 2 and below > above]

    def with_form(self, form: Mapping[str, str], letters: str, flags: Iterable[str]) -> "ComparisonContent":
        """Return the content with a posted form applied: answers about completions, or places in the ranking.

        An unticked box answers nothing; confirming the flags is what answers no.
        """
        made = {letter: self.of(letter).model_dump() for letter in letters}
        for letter in letters:
            # A page opened before an upgrade posts the earlier name.
            complete = form.get(f"flags_complete.{letter}", form.get(f"gone_on.{letter}"))
            if complete is not None:
                ticked = {flag: True for flag in flags if f"flag.{letter}.{flag}" in form}
                before = self.of(letter).flags
                denied = {flag: False for flag, answer in before.items() if answer is False and flag not in ticked}
                rating = form.get(f"rating.{letter}") or None
                here = form.get("do") == "go_on" and form.get("rated") == letter
                made[letter] |= {"rating": rating, "flags": denied | ticked}
                made[letter]["flags_complete"] |= rating is not None and (here or bool(complete))
        notes = form.get("notes", self.notes)
        content = ComparisonContent(completions=made, notes=notes, seeded_order=self.seeded_order)
        if "ranking" in form:
            content = content._with_places({letter: _place(form, letter) for letter in letters}, form.get("do", ""))
        answered = content.notes or any(answer != CompletionAnswer() for answer in content.completions.values())
        first = self.first_action_at or (datetime.now(UTC) if answered else None)
        return content.model_copy(update={"first_action_at": first})

    def _is_placed(self) -> bool:
        return any(answer.depth is not None for answer in self.completions.values())

    def _with_places(self, places: dict[str, CompletionAnswer], do: str) -> "ComparisonContent":
        """Return the content with the page's places; an unchanged seeded order is recorded only on submission."""
        handed_in = do in ("hand_in", "stop")
        if places == self.seeded("".join(places)):
            if not handed_in and not self._is_placed():
                return self
            order = SeededOrder.CONFIRMED
        else:
            order = SeededOrder.EDITED
            level = [place.depth for place in places.values()]
            for letter, place in places.items():  # the last one left of a group is decided
                if place.undecided and level.count(place.depth) == 1:
                    places[letter] = CompletionAnswer(tier=place.tier)
        said = {
            letter: self.of(letter).model_copy(
                update={name: getattr(place, name) for name in ("tier", "undecided", "unacceptable")}
            )
            for letter, place in places.items()
        }
        return self.model_copy(update={"completions": said, "seeded_order": order})


def _place(form: Mapping[str, str], letter: str) -> CompletionAnswer:
    """Return a completion's place from the page: chosen, or undecided where several have the same rating."""
    chosen = form.get(f"tier.{letter}", "")
    if chosen == UNACCEPTABLE:
        return CompletionAnswer(unacceptable=True)
    if chosen:
        return CompletionAnswer(tier=chosen)
    undecided = form.get(f"undecided.{letter}", "")
    return CompletionAnswer(tier=undecided or None, undecided=bool(undecided))


class ComparedOut(BaseModel):
    """One completion of a comparison."""

    letter: str = Field(description="Letter under which it was shown.")
    completion: str = Field(description="Public id.")
    policy: str
    text: str
    rating: int | None
    tier: int | None
    unacceptable: bool = Field(description="Placed in the last tier, which only unacceptable completions share.")
    flags: dict[str, bool] = Field(description="Absent flags were not asked or not answered.")


class ComparisonOut(BaseModel):
    """A comparison."""

    id: str
    source: ComparisonSource
    round: int | None
    collection: str
    prompt: list[Message]
    completions: list[ComparedOut] = Field(description="Best first; ties in the order in which they were shown.")
    labeler: str | None = Field(description="Public id of the account, or the name given in an import.")
    labeler_kind: AccountKind | None = Field(description="`simulated`: ranked by a program.")
    pool: Pool
    probability: float | None = Field(
        description="Probability that each pair's order is right, where an imported judge gave one."
    )
    guideline: str | None = Field(description="Name and version, e.g. `training 1`.")
    form_version: int | None
    notes: str
    surplus: bool
    seeded_order: SeededOrder | None = Field(
        description="Whether the labeler confirmed or edited the order suggested by the ratings; null: none was shown."
    )
    active_seconds: float
    first_action_at: datetime | None = Field(description="When the first answer was given.")
    submitted_at: datetime

    @classmethod
    def of(cls, one: Comparison) -> "ComparisonOut":
        """Build it from the row and what it points to."""
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
                    unacceptable=row.unacceptable,
                    flags=row.flags,
                )
                for row in ranked(one)
            ],
            labeler=one.labeler.public_id if one.labeler else one.imported_labeler or None,
            labeler_kind=one.labeler.kind if one.labeler else None,
            pool=one.pool,
            probability=one.probability,
            guideline=f"{one.guideline.name} {one.guideline.version}" if one.guideline else None,
            form_version=one.form.version if one.form else None,
            notes=one.notes,
            surplus=one.surplus,
            seeded_order=one.seeded_order,
            active_seconds=one.active_seconds,
            first_action_at=one.first_action_at,
            submitted_at=one.submitted_at,
        )


class ComparisonPage(BaseModel):
    """List comparisons, newest first."""

    items: list[ComparisonOut]
    next_cursor: str | None
