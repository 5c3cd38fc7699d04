"""Completions over REST."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, UploadFile
from sqlalchemy.orm import Session

from app.completions import queries, rules
from app.completions.imports import import_completions
from app.completions.schemas import CompletionIn, CompletionOut, CompletionsIn, CompletionsOut
from app.config import settings
from app.database import reading, transaction
from app.errors import BadInput, NotFound
from app.kit.i18n import gettext as _
from app.kit.rows import is_csv
from app.kit.text import Text, require_text
from app.policies import queries as policy_queries
from app.policies import rules as policies
from app.policies.tables import PolicyKind
from app.prompts import rules as prompts
from app.prompts import uploads
from app.prompts.imports import PromptDefaults
from app.web.auth import api_account
from app.web.openapi import NO_FINDER

router = APIRouter(prefix="/api/v1/completions", tags=["completions"])


@router.get("")
def list_completions(
    request: Request,
    prompt: Annotated[Text | None, Query(description="Public id of a prompt.")] = None,
    policy: Annotated[Text | None, Query(description="Name of a policy.")] = None,
    cursor: Text | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> CompletionsOut:
    """List completions, newest first."""
    api_account(request, "read")
    with reading() as session:
        found, following = queries.page(session, cursor, limit, prompt=prompt, policy=policy)
    return CompletionsOut(items=[CompletionOut.of(one) for one in found], next_cursor=following)


@router.post("", status_code=201)
def create(request: Request, given: CompletionIn | CompletionsIn) -> CompletionOut | CompletionsOut:
    """Store a completion, or many ({"completions": [...]}): all or none. Identical texts are stored once."""
    api_account(request, "write")
    many = isinstance(given, CompletionsIn)
    asked = given.completions if isinstance(given, CompletionsIn) else [given]
    with transaction() as session:
        drafts = []
        for number, one in enumerate(asked):
            try:
                drafts.append(_draft(session, one))
            except (BadInput, NotFound) as error:
                where = f"completions.{number}." if many else ""
                raise BadInput(error.message, field=f"{where}{error.field or 'prompt'}") from error
        ids = rules.add_all(session, drafts)
        stored = queries.by_ids(session, ids)
    items = [CompletionOut.of(stored[id]) for id in ids]
    return CompletionsOut(items=items) if many else items[0]


def _draft(session: Session, given: CompletionIn) -> rules.CompletionDraft:
    prompt = prompts.prompt(session, given.prompt)
    known = policy_queries.by_name(session, given.policy)
    if known is not None and known.kind is PolicyKind.PEOPLE:
        raise BadInput(_("Completions by people are written at the desk; name another policy."), field="policy")
    policy = known or policies.get_or_create(session, given.policy, PolicyKind.IMPORTED)
    return rules.CompletionDraft(
        prompt.id, policy.id, require_text(given.text, "text"), given.settings, given.tokens, given.finished
    )


@router.post("/import", max_body_size=settings().max_upload_bytes, responses=NO_FINDER)
def import_file(
    request: Request,
    file: UploadFile,
    defaults: Annotated[PromptDefaults, Depends()],
    policy: Annotated[
        Text, Query(max_length=120, description="Policy of rows that name none. Default: the file's name.")
    ] = "",
    add_prompts: bool = False,
    skip_bad: bool = False,
    dry_run: bool = False,
) -> dict:
    """Import a file like `plumbline import completions`; `written` says whether anything was stored."""
    by = api_account(request, "write")
    name = file.filename or ""
    with uploads.kept(file.file, name) as path:
        report = import_completions(
            path,
            as_csv=is_csv(name),
            policy=policy,
            file_name=name,
            add_prompts=defaults if add_prompts else None,
            skip_bad=skip_bad,
            dry_run=dry_run,
            by=by,
        )
    return report.as_dict()


@router.get("/{id}")
def read(request: Request, id: str) -> CompletionOut:
    """Get a completion."""
    api_account(request, "read")
    with reading() as session:
        return CompletionOut.of(rules.completion(session, id))
