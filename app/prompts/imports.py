"""Import of prompts: parsing the fields of each row, and deciding on its prompts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field
from sqlalchemy.orm import Session

from app.accounts import rules as accounts
from app.accounts.tables import Account
from app.errors import BadInput
from app.guidelines.rules import check_answers
from app.kit.given import BadRow, Given, Problem, Row
from app.kit.i18n import N_
from app.kit.i18n import gettext as _
from app.kit.imports import FileMemory, Found, ImportReport, Watch, run
from app.kit.text import Text, require_text
from app.prompts.admission import Admission, reason, refusal, refused_field, remark
from app.prompts.schemas import PromptDraft, Verdict
from app.prompts.shapes import prompts_of
from app.prompts.tables import PromptSource
from training.contract.records import Message, Split, UseCase

JOINED = N_("%(n)d prompts are already stored; they are added to the collection.")
T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
Name = Annotated[Text, Field(max_length=120)]

_SPLITS = {"valid": Split.VALIDATION, "val": Split.VALIDATION, "dev": Split.VALIDATION}
_SOURCES = {
    "plain": PromptSource.LABELER_PLAIN,
    "few_shot": PromptSource.LABELER_FEW_SHOT,
    "user_based": PromptSource.LABELER_USER_BASED,
}


@dataclass(frozen=True)
class PromptDefaults:
    """Values for fields that a row omits."""

    collection: Name = ""
    source: PromptSource = PromptSource.CUSTOMER
    owner: Name = ""
    owner_field: Name = "owner"

    def __post_init__(self) -> None:
        """Strip and check values that no schema has checked, such as those of the command line."""
        for name in ("collection", "owner", "owner_field"):
            said = require_text(getattr(self, name).strip(), name, may_be_empty=True, at_most=120)
            object.__setattr__(self, name, said)


def import_prompts(
    path: Path,
    *,
    as_csv: bool,
    defaults: PromptDefaults,
    keep_similar: bool = False,
    skip_bad: bool = False,
    dry_run: bool = False,
    by: Account | None = None,
    watch: Watch | None = None,
) -> ImportReport:
    """Import a file of prompts; unless `skip_bad`, any bad row stops the import, and all bad rows are reported."""

    def check(session: Session, found: Found, report: ImportReport, memory: FileMemory, write: bool) -> None:
        admission = Admission(session, keep_similar=keep_similar, write=write, memory=memory)
        _take(found, defaults, admission, report, by)

    return run(
        check,
        path,
        lambda session, added: accounts.record(
            session, by, "prompts.import", added=added, collection=defaults.collection
        ),
        as_csv=as_csv,
        skip_bad=skip_bad,
        dry_run=dry_run,
        watch=watch,
    )


def _take(
    found: Found, defaults: PromptDefaults, admission: Admission, report: ImportReport, by: Account | None
) -> None:
    """Decide on the prompts of some rows and count the outcomes."""
    lines, drafts = [], []
    for row in found:
        if isinstance(row, BadRow):
            report.refuse([row.problem])
            continue
        made, problems = drafts_of(row, defaults, by)
        if problems:
            report.refuse(problems)
            continue
        report.unused.update(row.values.unused())
        lines += [row.line] * len(made)
        drafts += made
    for line, draft, decision in zip(lines, drafts, admission.take(drafts), strict=True):
        remark(decision, report)
        if decision.verdict is Verdict.ADDED:
            report.take(partial(shown, line, draft))
        elif decision.verdict is Verdict.KNOWN:
            report.take_known()
            if decision.joined:
                report.joined += 1
                report.remarks[JOINED] += 1
        elif decision.verdict is Verdict.SPLIT:
            report.refuse([Problem(line, "split", refusal(decision, draft))])
        else:
            why = refusal(decision, draft)
            report.leave_out(line, refused_field(decision), reason(decision) or why, why)


def shown(line: int, draft: PromptDraft) -> dict:
    """Return a draft's entry in the preview."""
    return {"line": line, "prompt": [message.model_dump() for message in draft.messages]}


def drafts_of(row: Row, defaults: PromptDefaults, by: Account | None = None) -> tuple[list[PromptDraft], list[Problem]]:
    """Parse a row; returns its prompts, or no prompts and everything that is wrong with it."""
    values = row.values
    problems: list[Problem] = []

    def read(parse: Callable[[Given], T], otherwise: T) -> T:
        try:
            return parse(values)
        except BadInput as error:
            problems.append(Problem(row.line, error.field or "line", error.message))
            return otherwise

    prompts: list[tuple[Message, ...]] = read(prompts_of, [])
    source = read(_source, None) or defaults.source
    use_case = read(_use_case, None)
    split = read(_split, None)
    owner = read(lambda given: _short(given, defaults.owner_field), "") or defaults.owner
    collection = read(lambda given: _short(given, "collection"), "") or defaults.collection
    answers: dict[str, bool] = read(_answers, {})
    if problems:
        return [], problems
    written_by_id = by.id if by else None
    return [
        PromptDraft(messages, source, use_case, owner, split, collection, answers, written_by_id)
        for messages in prompts
    ], []


def _word(values: Mapping[str, object], field: str) -> str:
    given = values.get(field)
    return "" if given is None or given == "" else require_text(given, field).strip()


def _short(values: Mapping[str, object], field: str) -> str:
    given = values.get(field)
    word = str(given) if isinstance(given, int) and not isinstance(given, bool) else _word(values, field)
    return require_text(word, field, may_be_empty=True, at_most=120)


def _source(values: Mapping[str, object]) -> PromptSource | None:
    word = _word(values, "source")
    known = word.lower().replace("-", "_").replace(" ", "_")
    return _one_of(known, word, "source", PromptSource, _SOURCES)


def _use_case(values: Mapping[str, object]) -> UseCase | None:
    word = _word(values, "use_case")
    known = word.lower().replace("-", " ").replace("_", " ")
    return _one_of(known, word, "use_case", UseCase, {})


def _split(values: Mapping[str, object]) -> Split | None:
    word = _word(values, "split")
    return _one_of(word.lower(), word, "split", Split, _SPLITS)


def _one_of(known: str, word: str, field: str, values: type[E], aliases: Mapping[str, E]) -> E | None:
    if not word:
        return None
    if known in aliases:
        return aliases[known]
    if known in list(values):
        return values(known)
    raise BadInput(
        _("%(field)s is “%(word)s”; it must be one of: %(known)s. It can also be omitted.")
        % {"field": field, "word": word[:80], "known": ", ".join(values)},
        field=field,
    )


def _answers(values: Given) -> dict[str, bool]:
    given = values.structured("answers") or {}
    if not isinstance(given, Mapping):
        raise BadInput(_('answers must be an object such as {"closed_domain": true}.'), field="answers")
    return check_answers(given)
