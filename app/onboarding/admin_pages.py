"""Onboarding pages for admins: exercises, screenings, reviewers and the survey."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Path, Request, Response
from pydantic import ValidationError
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from app.accounts.tables import Account
from app.database import reading, transaction
from app.errors import BadInput, PlumblineError
from app.guidelines import rules as guidelines
from app.guidelines.defaults import COMPLETION_FORM
from app.guidelines.queries import newest_form
from app.guidelines.tables import FormKind
from app.kit.i18n import gettext as _
from app.kit.i18n import ngettext
from app.kit.text import Text, TypedText
from app.onboarding import exercises, queries, screening, survey
from app.onboarding.schemas import ExerciseIn, ReferenceIn
from app.onboarding.tables import Exercise, Verdict
from app.rounds.tables import ONBOARDING, RoundPurpose
from app.web.auth import admin
from app.web.responses import FormText, form_data, page, redirect

router = APIRouter(prefix="/admin/onboarding", include_in_schema=False)
Posted = Annotated[FormData, Depends(form_data)]
Reason = Annotated[TypedText, Form(max_length=2000)]
Number = Annotated[int, Path(ge=0, le=2**31 - 1)]


@router.get("")
def overview(request: Request) -> Response:
    """Show exercises, screenings, reviewers and the survey."""
    return _overview(request)


def _overview(request: Request, error: PlumblineError | None = None):
    account = admin(request)
    with reading() as session:
        found = queries.exercises(session)
        shown = [(one, screening.figures(session, one)) for one in queries.screenings(session)]
        reviewers = queries.reviewers(session)
        waiting = len(queries.to_review(session, account))
        covered = queries.coverage(session)
    return page(
        request,
        "onboarding/admin.html",
        account,
        error.status if error else 200,
        exercises=found,
        screens=any(map(_screens, found)),
        screenings=shown,
        reviewers=reviewers,
        waiting=waiting,
        coverage=covered,
        topics=screening.TOPICS,
        error=error,
    )


def _screens(exercise: Exercise) -> bool:
    return exercise.item.round.purpose is RoundPurpose.SCREENING and exercise.retired_at is None


def _to(path: str, note: str):
    return redirect(f"/admin/onboarding{path}", note)


# --- Exercises ---


@router.get("/exercises/new")
def new_exercise(request: Request, part: Text = "practice", kind: Text = "comparison") -> Response:
    """Show the form for a new exercise."""
    admin(request)
    blank = [{"text": "", "tier": "", "why": "", "flags": []}] * 4
    return _new(
        request,
        {
            "part": part if part in ONBOARDING else RoundPurpose.PRACTICE,
            "prompt": "",
            "sensitive": False,
            "completions": [] if kind == "demonstration" else blank,
            "explanation": "",
        },
    )


def _flag_questions(session: Session):
    form = newest_form(session, FormKind.COMPLETION)
    found = guidelines.questions(form) if form else COMPLETION_FORM
    return [question for question in found if question.kind == "yes_no"]


def _new(request: Request, given: dict, error: PlumblineError | None = None):
    with reading() as session:
        flags = _flag_questions(session)
    status = error.status if error else 200
    return page(request, "onboarding/new.html", admin(request), status, given=given, flags=flags, error=error)


def _given(form: FormData) -> dict:
    count = min(len(form.getlist("text")), 9)
    return {
        "part": str(form.get("part", "")),
        "prompt": str(form.get("prompt", "")),
        "sensitive": bool(form.get("sensitive")),
        "explanation": str(form.get("explanation", "")),
        "completions": [
            {
                "text": str(form.getlist("text")[n]),
                "tier": str(form.get(f"tier.{n}", "")),
                "why": str(form.get(f"why.{n}", "")),
                "flags": [str(name) for name in form.getlist(f"flag.{n}")],
            }
            for n in range(count)
        ],
    }


@router.post("/exercises/new")
def write_exercise(request: Request, form: Posted) -> Response:
    """Create an exercise, or show the form with one more completion."""
    account = admin(request)
    given = _given(form)
    if form.get("more"):
        given["completions"] = [*given["completions"], {"text": "", "tier": "", "why": "", "flags": []}][:9]
        return _new(request, given)
    try:
        with transaction() as session:
            names = [question.name for question in _flag_questions(session)]
            written = [one for one in given["completions"] if one["text"].strip()]
            new = _checked(
                ExerciseIn, {**given, "completions": [{"text": one["text"], **_said(one, names)} for one in written]}
            )
            made = exercises.write(session, new, account)
    except PlumblineError as error:
        return _new(request, given, error)
    return _to("", _("Exercise saved: “%(text)s”.") % {"text": made.item.prompt.messages[-1]["text"][:60]})


def _said(one: dict, names: list[str]) -> dict:
    """Return the reference that the form gives for one completion; an unticked flag counts as no."""
    return {"tier": one["tier"] or None, "why": one["why"], "flags": {name: name in one["flags"] for name in names}}


def _checked(schema, values):
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "exercise"
        raise BadInput(f"{field}: {first['msg']}", field=field) from error


@router.get("/exercises/{id}")
def exercise(request: Request, id: str) -> Response:
    """Show one exercise for reading and editing."""
    account = admin(request)
    with reading() as session:
        return _one(request, account, exercises.exercise_(session, id), _flag_questions(session))


def _one(request: Request, account: Account, found: Exercise, flags, error: PlumblineError | None = None):
    status = error.status if error else 200
    return page(request, "onboarding/exercise.html", account, status, exercise=found, flags=flags, error=error)


@router.post("/exercises/{id}")
def change_exercise(request: Request, id: str, form: Posted) -> Response:
    """Save an exercise's reference and explanation."""
    account = admin(request)
    try:
        with transaction() as session:
            found = exercises.exercise_(session, id)
            asked = {flag for one in found.references for flag in one.flags}
            names = [question.name for question in _flag_questions(session)]
            references = []
            for n in range(len(found.references)):
                ticked = [str(name) for name in form.getlist(f"flag.{n}")]
                one = {"tier": form.get(f"tier.{n}"), "why": form.get(f"why.{n}", ""), "flags": ticked}
                said = _said(one, [name for name in names if name in asked or name in ticked])
                references.append(_checked(ReferenceIn, said))
            exercises.change(
                session, found, account, explanation=str(form.get("explanation", "")), references=references
            )
    except BadInput as error:
        with reading() as session:
            return _one(request, account, exercises.exercise_(session, id), _flag_questions(session), error)
    return _to(f"/exercises/{id}", _("Saved."))


@router.post("/exercises/{id}/retire")
def retire_exercise(request: Request, id: str) -> Response:
    """Retire an exercise: it is no longer assigned."""
    return _set_retired(request, id, True, _("Exercise retired: no longer assigned. Existing answers are kept."))


@router.post("/exercises/{id}/restore")
def restore_exercise(request: Request, id: str) -> Response:
    """Restore a retired exercise: it is assigned again."""
    return _set_retired(request, id, False, _("Exercise restored: assigned again."))


def _set_retired(request: Request, id: str, retired: bool, note: str):
    account = admin(request)
    with transaction() as session:
        exercises.change(session, exercises.exercise_(session, id), account, retired=retired)
    return _to(f"/exercises/{id}", note)


# --- Screenings ---


@router.post("/invite")
def invite(request: Request, username: FormText = "") -> Response:
    """Invite a labeler to a screening."""
    account = admin(request)
    try:
        with transaction() as session:
            screening.invite(session, username, account)
    except PlumblineError as error:
        return _overview(request, error)
    return _to("", _("“%(name)s” is invited; the steps appear on their desk.") % {"name": username.strip()})


@router.post("/call-off")
def call_off(request: Request, username: FormText = "") -> Response:
    """Cancel a screening."""
    account = admin(request)
    try:
        with transaction() as session:
            screening.call_off(session, username, account)
    except PlumblineError as error:
        return _overview(request, error)
    return _to("", _("Screening of “%(name)s” canceled; they can work as before.") % {"name": username.strip()})


@router.get("/screenings/{number}")
def screening_page(request: Request, number: Number) -> Response:
    """Show one screening by its number: its figures, demonstrations and self-assessment."""
    return _screening(request, number)


def _screening(request: Request, number: int, error: PlumblineError | None = None):
    account = admin(request)
    with reading() as session:
        found = screening.screening_(session, number)
        figures = screening.figures(session, found)
        compared = screening.compared(session, found)
        written = queries.demonstrations_of(session, found)
    return page(
        request,
        "onboarding/screening.html",
        account,
        error.status if error else 200,
        screening=found,
        figures=figures,
        compared=compared,
        written=written,
        topics=screening.TOPICS,
        comforts=screening.COMFORT,
        error=error,
    )


@router.post("/screenings/{number}/decide")
def decide(request: Request, number: Number, verdict: FormText = "", reason: Reason = "") -> Response:
    """Accept a labeler into a pool, or decline."""
    account = admin(request)
    try:
        if verdict not in set(Verdict):
            raise BadInput(_("Choose one of the three decisions."), field="verdict")
        with transaction() as session:
            screening.decide(session, number, Verdict(verdict), account, reason.replace("\x00", ""))
    except PlumblineError as error:
        return _screening(request, number, error)
    return _to(f"/screenings/{number}", _("Decision saved."))


# --- Reviewers and the survey ---


@router.post("/reviewers")
def name_reviewer(request: Request, username: FormText = "") -> Response:
    """Add a reviewer, who can rate demonstrations."""
    account = admin(request)
    try:
        with transaction() as session:
            named = screening.name_reviewer(session, username, account)
    except PlumblineError as error:
        return _overview(request, error)
    return _to("", _("%(name)s can now rate demonstrations at /reviews.") % {"name": named.name})


@router.post("/reviewers/{id}/dismiss")
def dismiss_reviewer(request: Request, id: str) -> Response:
    """Remove a reviewer."""
    account = admin(request)
    with transaction() as session:
        screening.dismiss_reviewer(session, id, account)
    return _to("", _("Saved."))


@router.get("/survey")
def survey_results(request: Request) -> Response:
    """Show the survey's counts, once at least five have answered."""
    account = admin(request)
    with reading() as session:
        found = survey.results(session)
    return page(
        request, "onboarding/results.html", account, results=found, questions=survey.questions(), enough=survey.ENOUGH
    )


@router.post("/survey/offer")
def offer_survey(request: Request) -> Response:
    """Offer the survey to every labeler who was never asked."""
    account = admin(request)
    with transaction() as session:
        asked = survey.offer(session, account)
    note = ngettext("%(num)d labeler will be asked once.", "%(num)d labelers will be asked once.", asked)
    return _to("/survey", note % {"num": asked})
