"""Onboarding over REST: a labeler's steps, a reviewer's ratings, and all actions of admins."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from app.accounts.schemas import AccountOut
from app.assignments import queries as assignments
from app.database import reading, transaction
from app.onboarding import exercises, queries, rules, screening, survey
from app.onboarding.schemas import (
    AssessmentIn,
    ExerciseChange,
    ExerciseIn,
    ExerciseOut,
    FeedbackCompletion,
    FeedbackOut,
    FeedbackPair,
    GivenOut,
    InviteIn,
    NextIn,
    OnboardingOut,
    Part,
    ProgressOut,
    ReviewIn,
    ScreeningOut,
    SurveyResults,
    ToReviewOut,
    VerdictIn,
)
from app.onboarding.tables import Screening
from app.web.auth import api_account

router = APIRouter(prefix="/api/v1/onboarding", tags=["onboarding"])
Number = Annotated[int, Path(ge=0, le=2**31 - 1)]


# --- A labeler's steps ---


@router.get("", summary="Onboarding Status")
def standing(request: Request) -> OnboardingOut:
    """Return your onboarding status."""
    labeler = api_account(request, "work")
    with reading() as session:
        return _standing(rules.onboarding_status(session, labeler))


def _standing(found: rules.OnboardingStatus) -> OnboardingOut:
    return OnboardingOut(
        guideline=found.to_read.public_id if found.to_read else None,
        practice=ProgressOut(**found.practice._asdict()),
        screening=ProgressOut(**found.screened._asdict()) if found.screening else None,
        handed_in=bool(found.screening and found.screening.handed_in_at),
        verdict=found.screening.verdict if found.screening else None,
    )


@router.post("/next", response_model=GivenOut, responses={204: {"description": "All exercises are done."}})
def next_exercise(request: Request, given: NextIn):
    """Get the next exercise of practice or screening; acknowledge the newest guideline first."""
    labeler = api_account(request, "work")
    with transaction() as session:
        begun = rules.begin(session, labeler, given.part)
    return GivenOut(assignment=begun.public_id) if begun else Response(status_code=204)


@router.get("/feedback/{id}", summary="Practice Feedback")
def feedback(request: Request, id: str) -> FeedbackOut:
    """Compare a practice exercise you submitted with its reference; `id` is the assignment's id."""
    labeler = api_account(request, "work")
    with reading() as session:
        found = rules.feedback(session, assignments.assignment(session, id, labeler), labeler)
    return FeedbackOut(
        alike=found.count.alike,
        compared=found.count.compared,
        pairs=[
            FeedbackPair(better=found.letters[pair.better], worse=found.letters[pair.worse], tied=pair in found.tied)
            for pair in (*found.reversed, *found.tied)
        ],
        completions=[
            FeedbackCompletion(
                letter=one.letter,
                text=one.text,
                tier=one.tier,
                reference_tier=one.reference.tier,
                flags=one.flags,
                why=one.reference.why,
            )
            for one in found.completions
        ],
        explanation=found.exercise.explanation,
    )


@router.put("/self-assessment", status_code=204, summary="Save Self-Assessment")
def assess(request: Request, given: AssessmentIn) -> None:
    """Save which sensitive speech you can identify; possible until the screening is submitted."""
    labeler = api_account(request, "work")
    with transaction() as session:
        screening.assess(session, labeler, given.comfort, given.note)


@router.post("/hand-in", summary="Submit Screening")
def hand_in(request: Request) -> OnboardingOut:
    """Submit the screening, once every exercise is done or skipped and the self-assessment is saved."""
    labeler = api_account(request, "work")
    with transaction() as session:
        screening.hand_in(session, labeler)
        return _standing(rules.onboarding_status(session, labeler))


# --- Rating demonstrations ---


@router.get("/reviews", summary="List Demonstrations to Rate")
def to_review(request: Request) -> dict[str, list[ToReviewOut]]:
    """List the demonstrations you have not rated yet, without names and in no particular order."""
    account = api_account(request, "work")
    with reading() as session:
        screening.check_reviewer(session, account)
        waiting = queries.to_review(session, account)
    return {"items": [ToReviewOut.of(one, prompt) for one, prompt in waiting]}


@router.post("/reviews/{id}", status_code=204, summary="Rate Demonstration")
def review(request: Request, id: str, given: ReviewIn) -> None:
    """Rate a demonstration; this is possible once."""
    account = api_account(request, "work")
    with transaction() as session:
        screening.review(session, id, account, given.rating, given.note)


# --- Exercises ---


@router.get("/exercises")
def list_exercises(request: Request, part: Part | None = None) -> dict[str, list[ExerciseOut]]:
    """List all exercises in the order in which they are assigned, retired ones last."""
    api_account(request, "read")
    with reading() as session:
        return {"items": [ExerciseOut.of(one) for one in queries.exercises(session, part)]}


@router.post("/exercises", status_code=201)
def write_exercise(request: Request, given: ExerciseIn) -> ExerciseOut:
    """Create an exercise and add it to practice or screening at once."""
    by = api_account(request, "write")
    with transaction() as session:
        return ExerciseOut.of(exercises.write(session, given, by))


@router.get("/exercises/{id}")
def read_exercise(request: Request, id: str) -> ExerciseOut:
    """Return one exercise."""
    api_account(request, "read")
    with reading() as session:
        return ExerciseOut.of(exercises.exercise_(session, id))


@router.patch("/exercises/{id}")
def change_exercise(request: Request, id: str, given: ExerciseChange) -> ExerciseOut:
    """Edit an exercise's reference and explanation, or retire it; its texts stay."""
    by = api_account(request, "write")
    with transaction() as session:
        found = exercises.exercise_(session, id)
        return ExerciseOut.of(
            exercises.change(
                session,
                found,
                by,
                explanation=given.explanation,
                references=given.references,
                retired=given.retired,
            )
        )


# --- Screenings ---


@router.get("/screenings")
def list_screenings(request: Request) -> dict[str, list[ScreeningOut]]:
    """List all screenings by number, undecided ones first."""
    api_account(request, "read")
    with reading() as session:
        return {"items": [_screening(session, one) for one in queries.screenings(session)]}


def _screening(session, one: Screening) -> ScreeningOut:
    return ScreeningOut.of(one, screening.figures(session, one), screening.compared(session, one))


@router.post("/screenings", status_code=204, summary="Invite to Screening")
def invite(request: Request, given: InviteIn) -> None:
    """Invite a labeler to a screening; until the verdict they get no other new tasks."""
    by = api_account(request, "accounts")
    with transaction() as session:
        screening.invite(session, given.username, by)


@router.post("/screenings/call-off", status_code=204, summary="Cancel Screening")
def call_off(request: Request, given: InviteIn) -> None:
    """Cancel a screening that has not been decided; the labeler can work as before."""
    by = api_account(request, "accounts")
    with transaction() as session:
        screening.call_off(session, given.username, by)


@router.get("/screenings/{number}")
def read_screening(request: Request, number: Number) -> ScreeningOut:
    """Return one screening."""
    api_account(request, "read")
    with reading() as session:
        return _screening(session, screening.screening_(session, number))


@router.post("/screenings/{number}/decide", summary="Decide Screening")
def decide(request: Request, number: Number, given: VerdictIn) -> ScreeningOut:
    """Accept the labeler into a pool or decline; the first verdict is final."""
    by = api_account(request, "accounts")
    with transaction() as session:
        return _screening(session, screening.decide(session, number, given.verdict, by, given.reason))


@router.get("/coverage", summary="Read Coverage")
def coverage(request: Request) -> dict[str, dict[str, int]]:
    """Count, by topic, how comfortable accepted labelers are identifying sensitive speech."""
    api_account(request, "read")
    with reading() as session:
        return queries.coverage(session)


# --- Reviewers ---


@router.get("/reviewers")
def list_reviewers(request: Request) -> dict[str, list[AccountOut]]:
    """List the reviewers, who rate demonstrations in addition to the admins."""
    api_account(request, "accounts")
    with reading() as session:
        return {"items": [AccountOut.model_validate(one) for one in queries.reviewers(session)]}


@router.post("/reviewers", status_code=201, summary="Add Reviewer")
def name_reviewer(request: Request, given: InviteIn) -> AccountOut:
    """Add a reviewer, who can rate demonstrations."""
    by = api_account(request, "accounts")
    with transaction() as session:
        return AccountOut.model_validate(screening.name_reviewer(session, given.username, by))


@router.delete("/reviewers/{id}", status_code=204, summary="Remove Reviewer")
def dismiss_reviewer(request: Request, id: str) -> None:
    """Remove a reviewer; `id` is the account's id."""
    by = api_account(request, "accounts")
    with transaction() as session:
        screening.dismiss_reviewer(session, id, by)


# --- The survey ---


@router.get("/survey")
def survey_results(request: Request) -> SurveyResults:
    """How often each answer was given, once at least five people have answered."""
    api_account(request, "read")
    with reading() as session:
        found = survey.results(session)
    if found is None:
        return SurveyResults(enough=False, answered=None, questions={})
    answered = found.pop(survey.ANSWERED)
    return SurveyResults(enough=True, answered=answered["yes"], questions=found)


@router.post("/survey/offer")
def offer_survey(request: Request) -> dict[str, int]:
    """Offer the survey to every labeler who has not been asked yet."""
    by = api_account(request, "accounts")
    with transaction() as session:
        return {"asked": survey.offer(session, by)}
