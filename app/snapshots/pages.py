"""Snapshots for admins: what was frozen, freezing more, and taking it away."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.datastructures import FormData

from app.database import reading, transaction
from app.errors import BadInput
from app.i18n import gettext as _
from app.kit.text import Text
from app.snapshots import exports, queries, rules
from app.snapshots.downloads import export_response
from app.snapshots.tables import SnapshotState
from app.web import admin, flash, form_data, fragment, is_htmx, page, redirect
from training.records import Purpose, Split

router = APIRouter(include_in_schema=False)
Posted = Annotated[FormData, Depends(form_data)]


@router.get("/admin/snapshots")
def list_page(request: Request, cursor: Text | None = None):
    """All snapshots."""
    account = admin(request)
    with reading() as session:
        snapshots, following = queries.listing(session, cursor)
    return page(request, "snapshots/list.html", account, snapshots=snapshots, following=following)


@router.get("/admin/snapshots/new")
def new_page(request: Request):
    """The form that freezes."""
    return _form(request, {"purpose": Purpose.RM, "name": "", "rounds": [], "collections": [], "splits": []})


def _form(request: Request, given: dict, error: BadInput | None = None):
    account = admin(request)
    with reading() as session:
        shown = {
            "rounds": queries.nameable_rounds(session),
            "imported": queries.imported_collections(session),
            "collections": queries.prompt_collections(session),
        }
    return page(
        request,
        "snapshots/new.html",
        account,
        status=error.status if error else 200,
        given=given,
        error=error,
        purposes=list(Purpose),
        splits=list(Split),
        **shown,
    )


@router.post("/admin/snapshots/new")
def create(request: Request, form: Posted):
    """Queue a snapshot and follow it on its page."""
    account = admin(request)
    purpose = form.get("purpose", "")
    given = {
        "purpose": purpose,
        "name": form.get("name", ""),
        "rounds": form.getlist("rounds"),
        "collections": form.getlist("collections"),
        "splits": form.getlist("splits"),
    }
    filter = {"splits": given["splits"]}
    if purpose == Purpose.PPO:
        filter["collections"] = given["collections"]
    else:
        numbers = [number for number in given["rounds"] if number != "none"]
        filter["rounds"] = numbers if given["rounds"] else None
        filter["collections"] = given["collections"] if purpose in (Purpose.RM, Purpose.SFT) else []
    try:
        if purpose not in list(Purpose):
            raise BadInput(_("Choose what it is for."), field="purpose")
        with transaction() as session:
            made = rules.create(session, Purpose(purpose), filter, name=given["name"], by=account)
    except BadInput as error:
        return _form(request, given, error)
    response = redirect(f"/admin/snapshots/{made.public_id}")
    flash(response, _("The snapshot is being written."))
    return response


@router.get("/admin/snapshots/{id}")
def detail_page(request: Request, id: str):
    """One snapshot; while it is written, htmx asks again for the block that says how far it is."""
    account = admin(request)
    with reading() as session:
        snapshot = queries.find(session, id)
    shown = {
        "snapshot": snapshot,
        "is_open": snapshot.state in (SnapshotState.QUEUED, SnapshotState.WRITING),
        "available": exports.available(snapshot),
        "formats": list(exports.Format),
    }
    if is_htmx(request):
        return fragment(request, "snapshots/detail.html", "state", account, **shown)
    return page(request, "snapshots/detail.html", account, **shown)


@router.get("/admin/snapshots/{id}/{name}")
def download(request: Request, id: str, name: Text):
    """One export as a file."""
    admin(request)
    return export_response(id, name)
