"""Importing comparisons over REST."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, UploadFile

from app.comparisons.formats import ComparisonFormat
from app.comparisons.imports import import_comparisons
from app.config import settings
from app.kit.rows import is_csv
from app.kit.text import Text
from app.prompts import uploads
from app.prompts.imports import PromptDefaults
from app.web.auth import api_account
from app.web.openapi import NO_FINDER

router = APIRouter(prefix="/api/v1/comparisons", tags=["comparisons"])


@router.post("/import", max_body_size=settings().max_upload_bytes, responses=NO_FINDER)
def import_file(
    request: Request,
    file: UploadFile,
    format: ComparisonFormat,
    defaults: Annotated[PromptDefaults, Depends()],
    policy: Text = "",
    skip_bad: bool = False,
    dry_run: bool = False,
) -> dict:
    """Import a file as `plumbline import comparisons` does; `written` says whether anything was stored."""
    by = api_account(request, "write")
    name = file.filename or ""
    with uploads.kept(file.file, name) as path:
        report = import_comparisons(
            path,
            format=format,
            as_csv=is_csv(name),
            defaults=defaults,
            policy=policy,
            skip_bad=skip_bad,
            dry_run=dry_run,
            by=by,
        )
    return report.as_dict()
