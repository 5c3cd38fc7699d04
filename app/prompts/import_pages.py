"""Import pages for prompts, completions and comparisons: upload files, review their contents, then import."""

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, NamedTuple, TypedDict

from fastapi import APIRouter, Depends, Request, Response
from starlette.datastructures import FormData, UploadFile

from app.accounts.tables import Account
from app.comparisons.formats import ComparisonFormat
from app.comparisons.imports import import_comparisons
from app.completions.imports import import_completions
from app.config import settings
from app.errors import BadInput, PlumblineError
from app.kit.i18n import gettext as _
from app.kit.imports import MOST_LISTED, ImportReport
from app.kit.rows import is_csv
from app.kit.text import Text, require_text
from app.prompts import uploads
from app.prompts.imports import PromptDefaults, import_prompts
from app.prompts.tables import PromptSource
from app.web.auth import admin
from app.web.responses import flash, form_data, page, redirect

router = APIRouter(include_in_schema=False)
OPTIONS = ("kind", "collection", "source", "owner", "owner_field", "policy", "add_prompts", "keep_similar", "format")


class Upload(NamedTuple):
    """A checked file: its name, and the key under which it is kept until the import."""

    name: str
    key: str


class _Shared(TypedDict):
    """Arguments that all three imports take."""

    as_csv: bool
    dry_run: bool
    skip_bad: bool
    by: Account | None


@router.get("/admin/prompts/import")
def import_page(request: Request, kind: Text = "prompts") -> Response:
    """Show the upload form."""
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
def check_or_import(request: Request, form: Annotated[FormData, Depends(form_data)]) -> Response:
    """Check uploads and report on them; with `key`, import the checked uploads."""
    account = admin(request)
    given = {name: str(form.get(name, "")) for name in OPTIONS}
    try:
        if keys := form.getlist("key"):
            names = form.getlist("name")
            kept = [Upload(str(name), str(key)) for name, key in zip_longest(names[: len(keys)], keys, fillvalue="")]
            reports = _run(kept, given, account, skip_bad=bool(form.get("skip_bad")))
            for upload, _report in reports:
                uploads.forget(upload.key)
            return _done(given, [report for _upload, report in reports])
        files = [
            (one.file, one.filename) for one in form.getlist("file") if isinstance(one, UploadFile) and one.filename
        ]
        if not files:
            raise BadInput(_("Choose a file first."), field="file")
        kept = [Upload(name, uploads.keep(file, name)) for file, name in files]
        reports = _run(kept, given, account, dry_run=True)
    except PlumblineError as error:
        return _form(request, account, given, error)
    return page(
        request,
        "prompts/report.html",
        account,
        reports=reports,
        given=given,
        most_listed=MOST_LISTED,
        to_add=sum(report.added + report.joined for _upload, report in reports),
        bad=sum(report.bad_rows for _upload, report in reports),
    )


def _run(
    kept: Sequence[Upload], given: dict[str, str], by: Account, *, dry_run: bool = False, skip_bad: bool = False
) -> list[tuple[Upload, ImportReport]]:
    """Import the files one after another (or check them with `dry_run`); an error names its file."""
    reports = []
    for upload in kept:
        try:
            report = _one(uploads.path(upload.key), upload.name, given, by, dry_run=dry_run, skip_bad=skip_bad)
        except BadInput as error:
            if len(kept) > 1 and error.field in (None, "file"):
                raise BadInput(f"{upload.name}: {error.message}", field=error.field) from error
            raise
        reports.append((upload, report))
    return reports


def _one(path: Path, name: str, given: dict[str, str], by: Account, *, dry_run: bool, skip_bad: bool) -> ImportReport:
    try:
        source = PromptSource(given["source"] or PromptSource.CUSTOMER)
        format = ComparisonFormat(given["format"] or ComparisonFormat.PAIRS)
    except ValueError as error:
        raise BadInput(str(error), field="source") from error
    collection, owner, policy = (
        require_text(given[field].strip(), field, may_be_empty=True, at_most=120)
        for field in ("collection", "owner", "policy")
    )
    defaults = PromptDefaults(collection, source, owner, given["owner_field"].strip() or "owner")
    shared: _Shared = {"as_csv": is_csv(path.name), "dry_run": dry_run, "skip_bad": skip_bad, "by": by}
    if given["kind"] == "prompts":
        return import_prompts(path, defaults=defaults, keep_similar=bool(given["keep_similar"]), **shared)
    if given["kind"] == "completions":
        add_prompts = defaults if given["add_prompts"] else None
        return import_completions(path, policy=policy, file_name=name, add_prompts=add_prompts, **shared)
    if given["kind"] == "comparisons":
        if not (policy or collection) and format is not ComparisonFormat.RANKINGS:
            raise BadInput(
                _("Enter a collection; the policy of the pairs' completions is named after it."), field="collection"
            )
        return import_comparisons(path, format=format, defaults=defaults, policy=policy or collection, **shared)
    raise BadInput(_("“%(kind)s” cannot be imported.") % {"kind": given["kind"]}, field="kind")


def _done(given: dict[str, str], reports: Sequence[ImportReport]):
    places = {"prompts": "/admin/prompts", "completions": "/admin/policies", "comparisons": "/admin/comparisons"}
    response = redirect(places[given["kind"]])
    counts = {
        name: sum(getattr(report, name) for report in reports)
        for name in ("added", "known", "left_out_rows", "bad_rows")
    }
    flash(
        response,
        _("Imported %(added)d (%(known)d duplicates, %(left_out_rows)d left out, %(bad_rows)d bad).") % counts,
    )
    return response
