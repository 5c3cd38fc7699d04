"""Doing the exercises of practice and screening, and comparing an answer with the reference."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.accounts.tables import Account
from app.assignments import rules as assignments
from app.assignments.tables import LETTERS, Assignment
from app.comparisons.tables import Comparison
from app.errors import Conflict, NotFound
from app.guidelines import queries as guideline_queries
from app.guidelines import rules as guidelines
from app.guidelines.tables import Guideline
from app.kit.i18n import gettext as _
from app.onboarding import queries
from app.onboarding.agreement import Count, Outcome, ReferencePair, order_count, pairs
from app.onboarding.exercises import exercise_, round_of
from app.onboarding.queries import ExerciseProgress
from app.onboarding.schemas import FlagDifference
from app.onboarding.tables import Exercise, Reference, Screening
from app.rounds.tables import RoundPurpose


@dataclass(frozen=True)
class OnboardingStatus:
    """A labeler's onboarding status."""

    to_read: Guideline | None  # the guideline, if its newest version was not read
    practice: ExerciseProgress
    screening: Screening | None
    screened: ExerciseProgress
    reviews: bool  # whether the labeler rates demonstrations of other labelers' screenings


def onboarding_status(session: Session, labeler: Account) -> OnboardingStatus:
    """Return the labeler's onboarding status."""
    newest = guideline_queries.newest_guideline(session, guidelines.TRAINING)
    screening = queries.screening_of(session, labeler)
    return OnboardingStatus(
        to_read=newest if newest and not _has_read(session, newest, labeler) else None,
        practice=queries.progress(session, labeler, RoundPurpose.PRACTICE),
        screening=screening,
        screened=queries.progress(session, labeler, RoundPurpose.SCREENING) if screening else ExerciseProgress(0, 0),
        reviews=queries.may_review(session, labeler),
    )


def _has_read(session: Session, guideline: Guideline, labeler: Account) -> bool:
    """Return whether the labeler confirmed reading it; having worked under a version does not count."""
    last = guideline_queries.last_read(session, guideline.name, labeler, said_so=True)
    return last is not None and last.version >= guideline.version


def begin(session: Session, labeler: Account, part: RoundPurpose) -> Assignment | None:
    """Assign the labeler's next exercise, None when all are done; raise NotRead while the guideline is unread."""
    if part == RoundPurpose.SCREENING:
        screening = queries.screening_of(session, labeler)
        if screening is None:
            raise NotFound(_("You have not been invited to a screening; ask an admin."))
        if screening.handed_in_at:
            raise Conflict(_("You have submitted your screening; nothing more can be added."))
    item = queries.next_item(session, labeler, part)
    if item is None:
        return None
    round = round_of(session, part)
    if not _has_read(session, round.guideline, labeler):
        last = guideline_queries.last_read(session, round.guideline.name, labeler)
        raise guidelines.NotRead(round.guideline, first=last is None or last.version >= round.guideline.version)
    return assignments.give(session, item, labeler)


# --- Feedback ---


@dataclass(frozen=True)
class Judged:
    """One completion of an exercise: the answer next to the reference."""

    letter: str
    text: str
    tier: int | None
    rating: int | None
    reference: Reference
    flags: list[FlagDifference]


@dataclass(frozen=True)
class Feedback:
    """How an answer to a practice exercise differs from the reference."""

    exercise: Exercise
    completions: list[Judged]  # in the order shown
    pairs: list[ReferencePair]  # of completion ids
    letters: dict[int, str]

    @property
    def reversed(self) -> list[ReferencePair]:
        """Pairs that the answer orders the other way round."""
        return [pair for pair in self.pairs if pair.outcome is Outcome.REVERSED]

    @property
    def tied(self) -> list[ReferencePair]:
        """Pairs that the reference orders and the answer ties."""
        return [pair for pair in self.pairs if pair.outcome is Outcome.TIED]

    @property
    def count(self) -> Count:
        """Agreement on the order, over pairs that neither side ties."""
        return order_count(self.pairs)


def feedback(session: Session, assignment: Assignment, labeler: Account) -> Feedback:
    """Compare the labeler's submitted practice exercise with its reference; raise NotFound before submission."""
    item = assignment.item
    answer = queries.comparison(session, item, labeler) if item.round.purpose is RoundPurpose.PRACTICE else None
    if answer is None:
        raise NotFound(_("There is no feedback on this exercise; submit it first."))
    exercise = exercise_(session, item.public_id)
    references = {one.completion_id: one for one in exercise.references}
    judged = [
        Judged(
            letter=LETTERS[row.shown_position],
            text=references[row.completion_id].completion.text,
            tier=row.tier,
            rating=row.rating,
            reference=references[row.completion_id],
            flags=differences(references[row.completion_id].flags, row.flags),
        )
        for row in answer.completions
    ]
    return Feedback(
        exercise=exercise,
        completions=judged,
        pairs=list(pairs({id: one.tier for id, one in references.items()}, tiers(answer))),
        letters={row.completion_id: LETTERS[row.shown_position] for row in answer.completions},
    )


def tiers(answer: Comparison) -> dict[int, int | None]:
    """Return completion id -> tier."""
    return {row.completion_id: row.tier for row in answer.completions}


def differences(reference: dict[str, bool], given: dict[str, bool]) -> list[FlagDifference]:
    """Return flags that the labeler answered unlike the reference, or left open where the reference says yes."""
    return [
        FlagDifference(flag=flag, reference=right, given=given.get(flag))
        for flag, right in reference.items()
        if given.get(flag) is not right and (right or flag in given)
    ]
