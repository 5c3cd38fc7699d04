"""Admin page for editing the questions of a form."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ValidationError
from starlette.datastructures import FormData

from app.database import reading, transaction
from app.errors import BadInput, PlumblineError
from app.guidelines import forms, queries, rules
from app.guidelines.defaults import COMPLETION_FORM, PROMPT_FORM
from app.guidelines.schemas import KEYS, FormIn, PromptAnswer, Question
from app.guidelines.tables import FormKind
from app.kit.i18n import gettext as _
from app.web.auth import admin
from app.web.responses import form_data, page, redirect

router = APIRouter(include_in_schema=False)
DEFAULTS = {FormKind.COMPLETION: COMPLETION_FORM, FormKind.PROMPT: PROMPT_FORM}
PARTS = ("name", "kind", "label", "definition", "low", "high", "key")


@router.get("/admin/forms/{kind}")
def form(request: Request, kind: FormKind) -> Response:
    """Show the questions of the newest version for editing."""
    with reading() as session:
        newest = queries.newest_form(session, kind)
    shown = rules.questions(newest) if newest else list(DEFAULTS[kind])
    return _page(request, kind, newest.version if newest else 1, shown)


def _page(
    request: Request, kind: FormKind, version: int, questions: Sequence[Question], error: PlumblineError | None = None
) -> Response:
    account = admin(request)
    with reading() as session:
        prompt_form = queries.newest_form(session, FormKind.PROMPT)
    asked = rules.questions(prompt_form) if prompt_form else PROMPT_FORM
    labels = {question.name: question.label for question in (*PROMPT_FORM, *asked)}
    shown = [question for question in questions if question.label.strip()]
    flags = [question for question in shown if question.kind == "yes_no"]
    return page(
        request,
        "guidelines/form.html",
        account,
        error.status if error else 200,
        kind=kind,
        version=version,
        questions=questions,
        shown=shown,
        rating=next((question for question in shown if question.kind == "rating"), None),
        flags=list(zip(flags, forms.letters(flags), strict=True)),
        conditions=[(answer.value, labels[answer]) for answer in PromptAnswer],
        keys=KEYS,
        error=error,
    )


@router.post("/admin/forms/{kind}")
def save(request: Request, kind: FormKind, form: Annotated[FormData, Depends(form_data)]) -> Response:
    """Save a new version; the other buttons only preview it or add an empty question."""
    by = admin(request)
    version = str(form.get("version", ""))
    seen = int(version) if version.isdecimal() and len(version) < 10 else 0
    given = _given(form)
    if form.get("do") == "more":
        return _page(request, kind, seen, [*given, Question(name="", label="")])
    try:
        if form.get("do") == "preview":
            forms.check(kind, given)
            return _page(request, kind, seen, given)
        with transaction() as session:
            made = forms.add_version(session, FormIn(kind=kind, questions=given, after=seen), by)
    except PlumblineError as error:
        return _page(request, kind, seen, given, error)
    return redirect(
        "/admin/guidelines",
        _("Saved as version %(n)d. New rounds use it; open rounds keep theirs.") % {"n": made.version},
    )


def _given(form: FormData) -> list[Question]:
    """Return the questions in the order of their places, without those marked for removal and empty rows."""
    rows = str(form.get("rows", ""))
    count = min(int(rows), 60) if rows.isdecimal() and len(rows) < 4 else 0
    found = []
    for number in range(count):
        value = {part: str(form.get(f"{part}.{number}", "")).strip() for part in PARTS}
        if form.get(f"remove.{number}") or not any(value[part] for part in ("name", "label", "definition")):
            continue
        place = str(form.get(f"place.{number}", ""))
        value["kind"] = value["kind"] or "yes_no"
        value["key"] = value["key"].lower()
        shown_if = [str(name) for name in form.getlist(f"shown_if.{number}")]
        try:
            question = Question(**value, shown_if=shown_if)
        except ValidationError as error:
            raise BadInput(_("A question cannot be read; reload the page.")) from error
        found.append((int(place) if place.isdecimal() and len(place) < 4 else 999, number, question))
    return [question for _place, _number, question in sorted(found, key=lambda row: row[:2])]
