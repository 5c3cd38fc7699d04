"""Onboarding pages for labelers: practice and screening, rating demonstrations of others, and the survey."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from starlette.datastructures import FormData

from app.accounts.tables import SurveyState
from app.assignments import queries as assignments
from app.database import reading, transaction
from app.errors import BadInput, NotFound
from app.guidelines.rules import NotRead
from app.kit.i18n import gettext as _
from app.kit.text import Text
from app.onboarding import queries, rules, screening, survey
from app.rounds.tables import ONBOARDING, RoundPurpose
from app.web.auth import signed_in
from app.web.responses import FormText, form_data, page, redirect

router = APIRouter(include_in_schema=False)
Posted = Annotated[FormData, Depends(form_data)]


@router.get("/onboarding")
def onboarding(request: Request) -> Response:
    """Show the steps and the labeler's progress."""
    return _onboarding(request)


def _onboarding(request: Request, error: BadInput | None = None, given: dict | None = None):
    labeler = signed_in(request)
    with reading() as session:
        standing = rules.onboarding_status(session, labeler)
    given = given or (
        {"comfort": standing.screening.comfort, "note": standing.screening.comfort_note} if standing.screening else {}
    )
    return page(
        request,
        "onboarding/onboarding.html",
        labeler,
        error.status if error else 200,
        standing=standing,
        given=given,
        error=error,
        topics=screening.TOPICS,
        comforts=screening.COMFORT,
    )


@router.post("/onboarding/next")
def next_exercise(request: Request, part: FormText = RoundPurpose.PRACTICE) -> Response:
    """Go to the next exercise, or back to the steps when all are done."""
    labeler = signed_in(request)
    if part not in ONBOARDING:
        raise NotFound(_("Page not found."))
    try:
        with transaction() as session:
            begun = rules.begin(session, labeler, RoundPurpose(part))
    except NotRead as unread:
        return redirect(f"/guidelines/{unread.public_id}/changes?next=/onboarding")
    return redirect(f"/assignments/{begun.public_id}" if begun else "/onboarding")


@router.get("/onboarding/exercises/{id}")
def after_exercise(request: Request, id: str) -> Response:
    """Show what follows a submitted exercise: feedback on practice, the next step of a screening."""
    labeler = signed_in(request)
    with reading() as session:
        assignment = assignments.assignment(session, id, labeler)
        if assignment.item.round.purpose is not RoundPurpose.PRACTICE:
            return redirect("/onboarding")
        found = rules.feedback(session, assignment, labeler)
        left = queries.progress(session, labeler, RoundPurpose.PRACTICE).left
        labels = {question["name"]: question["label"] for question in assignment.item.round.form.questions}
    return page(
        request, "onboarding/feedback.html", labeler, feedback=found, item=assignment.item, left=left, labels=labels
    )


@router.post("/onboarding/self-assessment")
def assess(request: Request, form: Posted) -> Response:
    """Save which sensitive speech the labeler can identify; submit the screening if that button was pressed."""
    labeler = signed_in(request)
    comfort = {topic: str(form[f"comfort.{topic}"]) for topic in screening.TOPICS if form.get(f"comfort.{topic}")}
    note_after = _("Saved.")
    try:
        with transaction() as session:
            screening.assess(session, labeler, comfort, str(form.get("note", "")))
        if form.get("do") == "hand_in":
            with transaction() as session:
                screening.hand_in(session, labeler)
            note_after = _("Submitted. Thank you! You will find the decision here.")
    except BadInput as error:
        return _onboarding(request, error)
    return redirect("/onboarding", note_after)


# --- Rating demonstrations ---


@router.get("/reviews")
def reviews(request: Request, show: Text = "") -> Response:
    """Show the next demonstration to rate, without a name; a sensitive one only if `show` names it, after a warning."""
    return _reviews(request, show)


def _reviews(request: Request, show: str, error: BadInput | None = None, note: str = ""):
    account = signed_in(request)
    with reading() as session:
        screening.check_reviewer(session, account)
        waiting = queries.to_review(session, account)
    status = error.status if error else 200
    one, prompt = waiting[0] if waiting else (None, None)
    return page(
        request,
        "onboarding/reviews.html",
        account,
        status,
        one=one,
        prompt=prompt,
        warns=one is not None and prompt is not None and prompt.sensitive and show != one.public_id,
        left=len(waiting),
        error=error,
        written=note,
    )


@router.post("/reviews/{id}")
def review(request: Request, id: str, form: Posted) -> Response:
    """Rate a demonstration."""
    account = signed_in(request)
    rating, note = str(form.get("rating", "")), str(form.get("note", ""))
    try:
        if rating not in set("1234567"):
            raise BadInput(_("Rate the demonstration from 1 to 7."), field="rating")
        with transaction() as session:
            screening.review(session, id, account, int(rating), note)
    except BadInput as error:
        return _reviews(request, id, error, note)
    return redirect("/reviews", _("Saved."))


# --- The survey ---


@router.get("/survey")
def survey_page(request: Request) -> Response:
    """Show the questions to those who were asked and have neither answered nor declined."""
    account = signed_in(request)
    offered = account.survey is SurveyState.OFFERED
    return page(request, "onboarding/survey.html", account, offered=offered, questions=survey.questions())


@router.post("/survey")
def answer_survey(request: Request, form: Posted) -> Response:
    """Answer or decline the survey: both are the same request, so that not even a request log reveals which."""
    account = signed_in(request)
    with transaction() as session:
        survey.end_asking(session, account)
    if form.get("do") == "answer":
        given = {name: [str(value) for value in form.getlist(name)] for name in form}
        with transaction() as session:
            survey.count(session, given)
    return redirect("/", _("Thank you. You will not be asked again."))
