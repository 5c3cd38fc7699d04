"""Importing prompts: a dry run over the whole file that reports every bad row, then the same pass by chunks, writing.

Each chunk is a transaction, so that nobody waits long for SQLite's one writer. An import that breaks off is run again:
what it stored is known by then.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import orjson
from sqlalchemy.orm import Session

from app.accounts import rules as accounts
from app.accounts.tables import Account
from app.database import reading, transaction
from app.errors import BadInput
from app.guidelines.rules import check_answers
from app.i18n import gettext as _
from app.prompts.messages import clean_text
from app.prompts.rows import Row, prompts_of, rows
from app.prompts.rules import Admission, refusal, refused_field
from app.prompts.schemas import ImportReport, Problem, PromptDraft, Verdict
from app.prompts.tables import PromptSource
from training.records import Split, UseCase

BATCH = 500
PAUSE_SECONDS = 0.1  # between chunks; SQLite looks that often whether another process still writes
T = TypeVar("T")

_SPLITS = {"valid": Split.VALIDATION, "val": Split.VALIDATION, "dev": Split.VALIDATION}
_SOURCES = {
    "plain": PromptSource.LABELER_PLAIN,
    "few_shot": PromptSource.LABELER_FEW_SHOT,
    "user_based": PromptSource.LABELER_USER_BASED,
}


@dataclass(frozen=True)
class PromptDefaults:
    """What a row's prompt gets where the row is silent."""

    collection: str = ""
    source: PromptSource = PromptSource.CUSTOMER
    owner: str = ""
    owner_field: str = "owner"


def import_prompts(
    path: Path,
    *,
    as_csv: bool,
    defaults: PromptDefaults,
    keep_similar: bool = False,
    skip_bad: bool = False,
    dry_run: bool = False,
    by: Account | None = None,
) -> ImportReport:
    """Import a file of prompts; with a bad row (and not `skip_bad`) nothing is written and all bad rows are told."""

    def check(session: Session, found: Iterable[Row], write: bool) -> ImportReport:
        admission = Admission(session, keep_similar=keep_similar, write=write)
        return _pass(found, defaults, admission, by)

    return run(
        check,
        lambda: rows(path, as_csv=as_csv),
        "prompts.import",
        by,
        skip_bad=skip_bad,
        dry_run=dry_run,
        collection=defaults.collection,
    )


def run(
    check: Callable[[Session, Iterable[Row], bool], ImportReport],
    read: Callable[[], Iterable[Row]],
    action: str,
    by: Account | None,
    *,
    skip_bad: bool,
    dry_run: bool,
    **detail: object,
) -> ImportReport:
    """Run a pass over all rows that only looks; if it may, run it again over one chunk after another and write."""
    with reading() as session:
        report = check(session, read(), False)
    if dry_run or (report.problems and not skip_bad) or not report.added:
        return report
    report = ImportReport(rows=report.rows, notes=report.notes, written=True)
    try:
        for number, chunk in enumerate(batches(read(), BATCH)):
            if number:
                time.sleep(PAUSE_SECONDS)
            with transaction() as session:
                report.take(check(session, chunk, True))
    finally:
        with transaction() as session:
            accounts.record(session, by, action, added=report.added, **detail)
    return report


def _pass(found: Iterable[Row], defaults: PromptDefaults, admission: Admission, by: Account | None) -> ImportReport:
    report = ImportReport()
    for batch in batches(_drafts(found, defaults, report, by), BATCH):
        decisions = admission.take([draft for _, draft in batch])
        for (line, draft), decision in zip(batch, decisions, strict=True):
            if decision.verdict is Verdict.ADDED:
                report.added += 1
            elif decision.verdict is Verdict.KNOWN:
                report.known += 1
            elif decision.verdict is Verdict.SPLIT:
                report.problems.append(Problem(line, "split", refusal(decision, draft)))
            else:
                report.left_out.append(Problem(line, refused_field(decision), refusal(decision, draft)))
    report.problems.sort(key=lambda problem: problem.line)
    return report


def _drafts(
    found: Iterable[Row], defaults: PromptDefaults, report: ImportReport, by: Account | None
) -> Iterator[tuple[int, PromptDraft]]:
    for row in found:
        report.rows += 1
        drafts, problems = drafts_of(row, defaults, by)
        report.problems += problems
        yield from ((row.line, draft) for draft in drafts)


def drafts_of(row: Row, defaults: PromptDefaults, by: Account | None = None) -> tuple[list[PromptDraft], list[Problem]]:
    """The prompts of a row, or everything that is wrong with it."""
    if row.values is None:
        return [], [row.problem]
    values, problems = row.values, []

    def read(parse: Callable[[Mapping[str, object]], T], otherwise: T) -> T:
        try:
            return parse(values)
        except BadInput as error:
            problems.append(Problem(row.line, error.field or "line", error.message))
            return otherwise

    prompts = read(prompts_of, [])
    source = read(_source, None) or defaults.source
    use_case = read(_use_case, None)
    split = read(_split, None)
    owner = read(lambda given: _short(given, defaults.owner_field), "") or defaults.owner
    collection = read(lambda given: _short(given, "collection"), "") or defaults.collection
    answers = read(_answers, {})
    if problems:
        return [], problems
    written_by_id = by.id if by else None
    return [
        PromptDraft(messages, source, use_case, owner, split, collection, answers, written_by_id)
        for messages in prompts
    ], []


def _word(values: Mapping[str, object], field: str) -> str:
    given = values.get(field)
    return "" if given is None or given == "" else clean_text(given, field)


def _short(values: Mapping[str, object], field: str) -> str:
    word = str(values[field]) if isinstance(values.get(field), int) else _word(values, field)
    if len(word) > 120:
        raise BadInput(
            _("%(field)s has %(n)d characters; 120 are the most.") % {"field": field, "n": len(word)}, field=field
        )
    return word


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


def _one_of(known: str, word: str, field: str, values: type, aliases: Mapping[str, object]):
    if not word:
        return None
    if known in aliases:
        return aliases[known]
    if known in list(values):
        return values(known)
    raise BadInput(
        _("%(field)s is “%(word)s”; it must be one of: %(known)s. Or leave it out.")
        % {"field": field, "word": word[:80], "known": ", ".join(values)},
        field=field,
    )


def _answers(values: Mapping[str, object]) -> dict[str, bool]:
    given = values.get("answers") or {}
    if isinstance(given, str):
        try:
            given = orjson.loads(given)
        except orjson.JSONDecodeError as error:
            raise BadInput(_("answers is not JSON: %(error)s.") % {"error": error}, field="answers") from error
    if not isinstance(given, Mapping):
        raise BadInput(_('answers must be an object such as {"closed_domain": true}.'), field="answers")
    return check_answers(given)


def batches(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size`, so that a big file is never in memory."""
    iterator = iter(values)
    while batch := list(islice(iterator, size)):
        yield batch
