"""Pages on which labelers read guidelines, and admins manage guidelines and forms."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from pydantic import ValidationError

from app.database import reading, transaction
from app.errors import BadInput, PlumblineError
from app.guidelines import queries, rules
from app.guidelines.changes import compare_texts
from app.guidelines.schemas import GuidelineIn
from app.kit.i18n import gettext as _
from app.kit.text import Text, TypedText
from app.web.auth import admin, signed_in
from app.web.responses import FormText, local_path, page, redirect

router = APIRouter(include_in_schema=False)


@router.get("/guidelines")
def guidelines(request: Request) -> Response:
    """List the newest version of each guideline, with the version that the reader last read."""
    account = signed_in(request)
    with reading() as session:
        found = [(one, queries.last_read(session, one.name, account)) for one in queries.newest_guidelines(session)]
    return page(request, "guidelines/list.html", account, guidelines=found)


@router.get("/guidelines/{id}")
def guideline(request: Request, id: str) -> Response:
    """Show one version of a guideline, with a list of all versions."""
    account = signed_in(request)
    with reading() as session:
        found = rules.guideline(session, id)
        versions = queries.versions(session, found.name)
    return page(request, "guidelines/one.html", account, guideline=found, versions=versions)


@router.get("/guidelines/{id}/changes")
def changed(request: Request, id: str, next: Text = "/") -> Response:
    """Show the changes since the version that the reader last read, and the button that confirms reading."""
    account = signed_in(request)
    with reading() as session:
        found = rules.guideline(session, id)
        last = queries.last_read(session, found.name, account)
        read = queries.last_read(session, found.name, account, said_so=True)
    known = read is not None and read.version >= found.version
    before = last if last and last.version < found.version else None
    pieces = compare_texts(before.body, found.body) if before and not known else []
    shown = {"guideline": found, "last": before, "known": known, "paragraphs": pieces, "next": local_path(next)}
    return page(request, "guidelines/changes.html", account, 200, **shown)


@router.post("/guidelines/{id}/acknowledge")
def acknowledge(request: Request, id: str, next: FormText = "/") -> Response:
    """Record that the reader has read this version."""
    account = signed_in(request)
    with transaction() as session:
        rules.acknowledge(session, rules.guideline(session, id), account)
    return redirect(local_path(next), _("Thank you. You can continue."))


@router.get("/admin/guidelines")
def admin_guidelines(request: Request) -> Response:
    """List every guideline with its versions, and the forms."""
    account = admin(request)
    with reading() as session:
        found = [(one, queries.versions(session, one.name)) for one in queries.newest_guidelines(session)]
        forms = [(form, rules.questions(form)) for form in queries.forms(session)]
    return page(request, "guidelines/admin.html", account, guidelines=found, forms=forms)


@router.get("/admin/guidelines/new")
def new_version(request: Request, name: Text = "") -> Response:
    """Show the form for a new version, or for a new guideline."""
    account = admin(request)
    with reading() as session:
        newest = queries.newest_guideline(session, name) if name else None
    given = {
        "name": name,
        "title": newest.title if newest else "",
        "body": newest.body if newest else "",
        "what_changed": "",
    }
    return page(request, "guidelines/new.html", account, newest=newest, given=given, error=None)


@router.post("/admin/guidelines/new")
def add_version(
    request: Request,
    name: FormText = "",
    title: FormText = "",
    body: Annotated[TypedText, Form(max_length=200_000)] = "",
    what_changed: Annotated[TypedText, Form(max_length=4000)] = "",
) -> Response:
    """Add a version of a guideline."""
    account = admin(request)
    given = {"name": name, "title": title, "body": body.replace("\r\n", "\n"), "what_changed": what_changed.strip()}
    try:
        with transaction() as session:
            made = rules.add_version(session, _checked(given), account)
    except PlumblineError as error:
        with reading() as session:
            newest = queries.newest_guideline(session, name)
        return page(request, "guidelines/new.html", account, error.status, newest=newest, given=given, error=error)
    return redirect(
        f"/guidelines/{made.public_id}", _("Saved as version %(n)d. New rounds use it.") % {"n": made.version}
    )


def _checked(given: dict[str, str]) -> GuidelineIn:
    try:
        return GuidelineIn(**given)
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        messages = {
            "name": _("A name must have only lowercase letters, digits and hyphens, e.g. “training”."),
            "title": _("The title must have 1 to 200 characters."),
            "body": _("The text must have 1 to 100,000 characters."),
            "what_changed": _("Keep it under 2,000 characters."),
        }
        raise BadInput(messages[field], field=field) from error
