"""Snapshot pages for admins: list, creation, details and exports."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from starlette.datastructures import FormData

from app.database import reading, transaction
from app.errors import BadInput, Conflict, PlumblineError
from app.kit.choices import ALL, some_or_all, ticked
from app.kit.i18n import gettext as _
from app.kit.text import Text
from app.prompts import queries as prompts
from app.rounds.rules import round_
from app.snapshots import exports, left_out, queries, rules
from app.snapshots.downloads import export_response
from app.snapshots.tables import SnapshotState
from app.web.auth import admin
from app.web.responses import form_data, page, polled, redirect
from training.contract.records import Purpose, Split

router = APIRouter(include_in_schema=False)
Posted = Annotated[FormData, Depends(form_data)]
COLLECTIONS = {Purpose.SFT: "written", Purpose.RM: "imported", Purpose.PPO: "collections"}  # form field by purpose
LISTS = ("rounds", "also", "splits", *COLLECTIONS.values())
WHOLE = "splits", "collections"  # a new form chooses all of these


@router.get("/admin/snapshots")
def list_page(request: Request, cursor: Text | None = None) -> Response:
    """Show all snapshots."""
    account = admin(request)
    with reading() as session:
        snapshots, following = queries.listing(session, cursor)
    return page(request, "snapshots/list.html", account, snapshots=snapshots, following=following)


@router.get("/admin/snapshots/new")
def new_page(request: Request, round: Text = "") -> Response:
    """Show the form for a new snapshot; `round` is the public id of a round to preselect."""
    admin(request)
    given = {"purpose": Purpose.RM, "name": "", "train_on_evaluation": "", **{name: [] for name in LISTS}, ALL: WHOLE}
    if round:
        with reading() as session:
            given["rounds"] = [str(round_(session, round).number)]
    return _form(request, given)


def _form(request: Request, given: dict, error: PlumblineError | None = None):
    account = admin(request)
    with reading() as session:
        rounds = queries.nameable_rounds(session)
        shown = {
            "rounds": {str(round.number): round for round in rounds},
            "answers": queries.answers_of(session, rounds),
            "answered_by": queries.answers_by_kind(session),
            "all_rounds": len(queries.closed_training_rounds(session)),
            "all_prompts": prompts.count(session, prompts.matching(session)),
            **{name: queries.collections(session, purpose) for purpose, name in COLLECTIONS.items()},
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
def create(request: Request, form: Posted) -> Response:
    """Queue a snapshot and redirect to its page."""
    account = admin(request)
    purpose, name = str(form.get("purpose", "")), str(form.get("name", ""))
    given = {
        "purpose": purpose,
        "name": name,
        "train_on_evaluation": form.get("train_on_evaluation", ""),
        **ticked(form, LISTS),
    }
    try:
        if purpose not in list(Purpose):
            raise BadInput(_("Choose the purpose of the snapshot."), field="purpose")
        filter = _filter(Purpose(purpose), given)
        with transaction() as session:
            made = rules.create(session, Purpose(purpose), filter, name=name, by=account)
    except (BadInput, Conflict) as error:
        return _form(request, given, error)
    return redirect(f"/admin/snapshots/{made.public_id}", _("The snapshot is being written."))


def _filter(purpose: Purpose, given: dict) -> dict:
    """Return the filter that the form describes; choices for another purpose are ignored."""
    filter = {"splits": some_or_all(given, "splits", _("Splits")) or []}
    if purpose is Purpose.PPO:
        return filter | {"collections": some_or_all(given, "collections", _("Prompt collections")) or []}
    rounds = some_or_all(given, "rounds", _("Closed rounds"))
    return filter | {
        "collections": given[COLLECTIONS[purpose]],
        "also": given["also"],
        "rounds": rounds and [number for number in rounds if number != "none"],
        "train_on_evaluation": bool(given["train_on_evaluation"]),
    }


@router.get("/admin/snapshots/{id}")
def detail_page(request: Request, id: str) -> Response:
    """Show one snapshot; while it is written, htmx polls the block with its state."""
    account = admin(request)
    with reading() as session:
        snapshot = queries.find(session, id)
    return polled(
        request,
        "snapshots/detail.html",
        "state",
        account,
        snapshot=snapshot,
        is_open=snapshot.state in (SnapshotState.QUEUED, SnapshotState.WRITING),
        left_out=left_out.worded(snapshot.manifest.get("left_out", {})) if snapshot.manifest else [],
        available=exports.available(snapshot),
        formats=list(exports.Format),
    )


@router.get("/admin/snapshots/{id}/{name}")
def download(request: Request, id: str, name: Text) -> Response:
    """Download one export as a file."""
    admin(request)
    return export_response(id, name)
