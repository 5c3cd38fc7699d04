"""Importing by page: upload, see every bad row, then import; for prompts, completions and comparisons alike."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.datastructures import FormData, UploadFile

from app.accounts.tables import Account
from app.comparisons.formats import ComparisonFormat
from app.comparisons.imports import import_comparisons
from app.completions.imports import import_completions
from app.config import settings
from app.errors import BadInput, PlumblineError
from app.i18n import gettext as _
from app.prompts import uploads
from app.prompts.imports import PromptDefaults, import_prompts
from app.prompts.rows import is_csv
from app.prompts.schemas import ImportReport
from app.prompts.tables import PromptSource
from app.web import admin, flash, form_data, page, redirect

router = APIRouter(include_in_schema=False)
SHOWN_ROWS = 1000
OPTIONS = ("kind", "collection", "source", "owner", "owner_field", "policy", "add_prompts", "keep_similar", "format")


@router.get("/admin/prompts/import")
def import_page(request: Request, kind: str = "prompts"):
    """The form that takes a file."""
    return _form(request, admin(request), {"kind": kind})


def _form(request: Request, account: Account, given: dict[str, str], error: PlumblineError | None = None):
    shown = dict.fromkeys(OPTIONS, "") | {"source": "customer", "owner_field": "owner", "format": "pairs"} | given
    return page(
        request,
        "prompts/import.html",
        account,
        error.status if error else 200,
        given=shown,
        error=error,
        sources=list(PromptSource),
        formats=list(ComparisonFormat),
        max_megabytes=settings().max_upload_bytes // 1_000_000,
    )


@router.post("/admin/prompts/import", max_body_size=settings().max_upload_bytes)
def check_or_import(request: Request, form: Annotated[FormData, Depends(form_data)]):
    """Check an upload and report on it; with `key`, import the upload that was checked."""
    account = admin(request)
    given = {name: str(form.get(name, "")) for name in OPTIONS}
    file, key = form.get("file"), str(form.get("key", ""))
    try:
        if key:
            report = _run(uploads.path(key), given, account, dry_run=False, skip_bad=bool(form.get("skip_bad")))
            uploads.forget(key)
            return _done(given, report)
        if not isinstance(file, UploadFile) or not file.filename:
            raise BadInput(_("Choose a file first."), field="file")
        key = uploads.keep(file.file, file.filename)
        report = _run(uploads.path(key), given, account, dry_run=True, skip_bad=False)
    except PlumblineError as error:
        return _form(request, account, given, error)
    return page(
        request,
        "prompts/report.html",
        account,
        report=report,
        problems=report.problems[:SHOWN_ROWS],
        left_out=report.left_out[:SHOWN_ROWS],
        given=given,
        key=key,
        file=getattr(file, "filename", ""),
    )


def _run(path: Path, given: dict[str, str], by: Account, *, dry_run: bool, skip_bad: bool) -> ImportReport:
    try:
        source = PromptSource(given["source"] or PromptSource.CUSTOMER)
        format = ComparisonFormat(given["format"] or ComparisonFormat.PAIRS)
    except ValueError as error:
        raise BadInput(str(error), field="source") from error
    defaults = PromptDefaults(
        given["collection"].strip()[:120], source, given["owner"].strip()[:120], given["owner_field"].strip() or "owner"
    )
    shared = {"as_csv": is_csv(path.name), "dry_run": dry_run, "skip_bad": skip_bad, "by": by}
    if given["kind"] == "prompts":
        return import_prompts(path, defaults=defaults, keep_similar=bool(given["keep_similar"]), **shared)
    if given["kind"] == "completions":
        if not given["policy"].strip():
            raise BadInput(_("Name the policy that wrote these completions."), field="policy")
        add_prompts = defaults if given["add_prompts"] else None
        return import_completions(path, policy=given["policy"].strip(), add_prompts=add_prompts, **shared)
    if given["kind"] == "comparisons":
        policy = given["policy"].strip() or given["collection"].strip()
        if not policy and format is not ComparisonFormat.RANKINGS:
            raise BadInput(_("Name the collection: the completions of the pairs go by it."), field="collection")
        return import_comparisons(path, format=format, defaults=defaults, policy=policy, **shared)
    raise BadInput(_("There is no import of “%(kind)s”.") % {"kind": given["kind"]}, field="kind")


def _done(given: dict[str, str], report: ImportReport):
    places = {"prompts": "/admin/prompts", "completions": "/admin/policies", "comparisons": "/admin/comparisons"}
    response = redirect(places[given["kind"]])
    flash(
        response,
        _("Imported: %(added)d added, %(known)d there already, %(left)d left out.")
        % {"added": report.added, "known": report.known, "left": len(report.left_out)},
    )
    return response
