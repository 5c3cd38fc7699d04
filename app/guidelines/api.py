"""Guidelines and forms over REST."""

from fastapi import APIRouter, Request

from app.database import reading, transaction
from app.guidelines import forms, queries, rules
from app.guidelines.schemas import FormIn, FormOut, GuidelineChanges, GuidelineIn, GuidelineOut
from app.guidelines.tables import FormKind
from app.kit.text import Text
from app.web.auth import api_account

router = APIRouter(prefix="/api/v1", tags=["guidelines"])


@router.get("/guidelines")
def list_guidelines(request: Request, name: Text | None = None) -> dict[str, list[GuidelineOut]]:
    """List the newest version of every guideline, or with `name` all versions of that one."""
    api_account(request, "read")
    with reading() as session:
        found = queries.versions(session, name) if name else queries.newest_guidelines(session)
    return {"items": [GuidelineOut.of(guideline) for guideline in found]}


@router.post("/guidelines", status_code=201, summary="Add Guideline Version")
def add_version(request: Request, given: GuidelineIn) -> GuidelineOut:
    """Add a version of a guideline; existing answers keep the version they were given under."""
    by = api_account(request, "write")
    with transaction() as session:
        made = rules.add_version(session, given, by)
        session.refresh(made)
    return GuidelineOut.of(made)


@router.get("/guidelines/{id}", summary="Read Guideline")
def read(request: Request, id: str) -> GuidelineOut:
    """Return one version of a guideline."""
    api_account(request, "read")
    with reading() as session:
        return GuidelineOut.of(rules.guideline(session, id))


@router.get("/guidelines/{id}/changes", summary="Compare Guideline Versions")
def changes(request: Request, id: str) -> GuidelineChanges:
    """Compare a version with the last one you have read, paragraph by paragraph."""
    account = api_account(request, "work")
    with reading() as session:
        found = rules.guideline(session, id)
        last = queries.last_read(session, found.name, account)
    return GuidelineChanges.of(found, last)


@router.post("/guidelines/{id}/acknowledge", status_code=204, summary="Acknowledge Guideline")
def acknowledge(request: Request, id: str) -> None:
    """Confirm that you have read this version; you then get new tasks that follow it."""
    account = api_account(request, "work")
    with transaction() as session:
        rules.acknowledge(session, rules.guideline(session, id), account)


@router.get("/forms")
def list_forms(request: Request) -> dict[str, list[FormOut]]:
    """List every version of the forms, newest first."""
    api_account(request, "read")
    with reading() as session:
        return {"items": [FormOut.of(form) for form in queries.forms(session)]}


@router.post("/forms", status_code=201, summary="Add Form Version")
def add_form(request: Request, given: FormIn) -> FormOut:
    """Add a version of a form; rounds created from now on use it."""
    by = api_account(request, "write")
    with transaction() as session:
        made = forms.add_version(session, given, by)
        session.refresh(made)
    return FormOut.of(made)


@router.get("/forms/{kind}", summary="Read Newest Form")
def newest_form(request: Request, kind: FormKind) -> FormOut:
    """Return the newest version of a form, e.g. to ask its questions about a prompt."""
    api_account(request, "work")
    with reading() as session:
        return FormOut.of(rules.form(session, kind, None))
