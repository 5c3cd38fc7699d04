"""Prompts over REST."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, UploadFile
from pydantic import BaseModel, ConfigDict

from app.accounts.tables import Account
from app.config import settings
from app.database import reading, transaction
from app.errors import BadInput
from app.kit import cursors
from app.kit.given import Given, Row
from app.kit.rows import is_csv
from app.kit.text import Text
from app.prompts import queries, rules, uploads
from app.prompts.admission import Admission, refusal, refused_field
from app.prompts.imports import PromptDefaults, drafts_of, import_prompts
from app.prompts.schemas import PromptIn, PromptOut, PromptQuery, PromptsIn, PromptsOut
from app.prompts.tables import Prompt
from app.web.auth import api_account
from app.web.openapi import NO_FINDER
from training.contract.records import UseCase

router = APIRouter(prefix="/api/v1/prompts", tags=["prompts"])
Limit = Annotated[int, Query(ge=1, le=500)]


class PromptChange(BaseModel):
    """Changes to a stored prompt; its text, owner and split cannot change."""

    model_config = ConfigDict(extra="forbid")

    use_case: UseCase | None = None
    answers: dict[Text, bool | None] = {}


@router.get("")
def list_prompts(
    request: Request, wanted: Annotated[PromptQuery, Query()], cursor: Text | None = None, limit: Limit = 100
) -> PromptsOut:
    """List prompts, newest first."""
    api_account(request, "read")
    with reading() as session:
        matching = queries.matching(session, q=wanted.q, withdrawn=wanted.withdrawn, columns=wanted.columns())
        found, following = cursors.page(session, matching, Prompt, cursor, limit)
    return PromptsOut(items=[PromptOut.of(prompt) for prompt in found], next_cursor=following)


@router.post("", status_code=201, responses=NO_FINDER)
def create(request: Request, given: PromptIn | PromptsIn, keep_similar: bool = False) -> PromptOut | PromptsOut:
    """Store a prompt, or many ({"prompts": [...]}, or one with `instances`): all or none.

    A prompt whose text is already stored is returned, not stored again.
    """
    by = api_account(request, "write")
    many = isinstance(given, PromptsIn)
    asked = given if isinstance(given, PromptsIn) else PromptsIn(prompts=[given])
    drafts = []
    for number, one in enumerate(asked.prompts):
        values = Given(one.model_dump(mode="json", exclude_unset=True))
        found, problems = drafts_of(Row(number, values), PromptDefaults(), by)
        if problems:
            where = f"prompts.{number}." if many else ""
            raise BadInput("; ".join(problem.message for problem in problems), field=where + problems[0].field)
        drafts += found
    with transaction() as session:
        admission = Admission(session, keep_similar=keep_similar or asked.keep_similar)
        decisions, ids = admission.take(drafts), []
        for number, (draft, decision) in enumerate(zip(drafts, decisions, strict=True)):
            if decision.prompt_id is None:
                where = f"prompts.{number}." if many else ""
                raise BadInput(refusal(decision, draft), field=where + refused_field(decision))
            ids.append(decision.prompt_id)
        stored = queries.by_ids(session, set(ids))
    items = [PromptOut.of(stored[id]) for id in ids]
    return PromptsOut(items=items) if many or len(items) > 1 else items[0]


@router.post("/import", max_body_size=settings().max_upload_bytes, responses=NO_FINDER)
def import_file(
    request: Request,
    file: UploadFile,
    defaults: Annotated[PromptDefaults, Depends()],
    keep_similar: bool = False,
    skip_bad: bool = False,
    dry_run: bool = False,
) -> dict:
    """Import a file like `plumbline import prompts`; `written` says whether anything was stored."""
    by = api_account(request, "write")
    name = file.filename or ""
    with uploads.kept(file.file, name) as path:
        report = import_prompts(
            path,
            as_csv=is_csv(name),
            defaults=defaults,
            keep_similar=keep_similar,
            skip_bad=skip_bad,
            dry_run=dry_run,
            by=by,
        )
    return report.as_dict()


@router.get("/{id}")
def read(request: Request, id: str) -> PromptOut:
    """Get a prompt."""
    api_account(request, "read")
    with reading() as session:
        return PromptOut.of(rules.prompt(session, id))


@router.patch("/{id}")
def change(request: Request, id: str, given: PromptChange) -> PromptOut:
    """Set the use case and the answers of the prompt form. Omitted fields stay unchanged."""
    by = api_account(request, "write")
    with transaction() as session:
        prompt = rules.prompt(session, id)
        use_case = given.use_case if "use_case" in given.model_fields_set else prompt.use_case
        answers = given.answers if "answers" in given.model_fields_set else prompt.answers
        rules.describe(session, prompt, use_case=use_case, answers=answers, by=by)
        return PromptOut.of(prompt)


@router.post("/{id}/withdraw")
def withdraw(request: Request, id: str) -> PromptOut:
    """Withdraw a prompt from lists and new rounds."""
    return _turn(id, api_account(request, "write"), rules.withdraw)


@router.post("/{id}/restore")
def restore(request: Request, id: str) -> PromptOut:
    """Restore a withdrawn prompt."""
    return _turn(id, api_account(request, "write"), rules.restore)


def _turn(id: str, by: Account, act) -> PromptOut:
    with transaction() as session:
        prompt = rules.prompt(session, id)
        act(session, prompt, by)
        session.refresh(prompt)
        return PromptOut.of(prompt)
