"""Importing what policies answered: each row names its prompt by text, and holds the completion."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson
from sqlalchemy.orm import Session

from app.accounts.tables import Account
from app.completions import queries
from app.completions.rules import CompletionDraft, check_text, insert_all
from app.errors import BadInput
from app.i18n import gettext as _
from app.policies import queries as policy_queries
from app.policies import rules as policies
from app.policies.tables import PolicyKind
from app.prompts import queries as prompt_queries
from app.prompts.imports import BATCH, PromptDefaults, batches, drafts_of, run
from app.prompts.messages import text_sha256
from app.prompts.rows import Row, rows
from app.prompts.rules import Admission
from app.prompts.schemas import ImportReport, Problem, PromptDraft

TEXT_FIELDS = ("completion", "response", "output", "text")


@dataclass(frozen=True)
class _Answer:
    line: int
    prompt: PromptDraft
    prompt_sha256: str
    policy: str
    text: str
    settings: Mapping[str, object]


def import_completions(
    path: Path,
    *,
    as_csv: bool,
    policy: str,
    add_prompts: PromptDefaults | None = None,
    skip_bad: bool = False,
    dry_run: bool = False,
    by: Account | None = None,
) -> ImportReport:
    """Import a file of completions of `policy` (or of the row's own `policy`).

    A prompt that is not stored is a bad row, unless `add_prompts` says what to store it with.
    """

    def check(session: Session, found: Iterable[Row], write: bool) -> ImportReport:
        return _Pass(session, policy, add_prompts, write).over(found)

    return run(
        check,
        lambda: rows(path, as_csv=as_csv),
        "completions.import",
        by,
        skip_bad=skip_bad,
        dry_run=dry_run,
        policy=policy,
    )


class _Pass:
    """One pass over a file."""

    def __init__(self, session: Session, policy: str, add_prompts: PromptDefaults | None, write: bool):
        self.session, self.policy, self.add_prompts, self.write = session, policy, add_prompts, write
        self.admission = Admission(session, filters=False, write=write and add_prompts is not None)
        self.seen: set[tuple[str, str, str]] = set()
        self.report = ImportReport()

    def over(self, found: Iterable[Row]) -> ImportReport:
        for batch in batches(self._answers(found), BATCH):
            self._take(batch)
        self.report.problems.sort(key=lambda problem: problem.line)
        return self.report

    def _answers(self, found: Iterable[Row]) -> Iterator[_Answer]:
        for row in found:
            self.report.rows += 1
            row = _completion_apart(row)
            drafts, problems = drafts_of(row, self.add_prompts or PromptDefaults())
            try:
                text = _text(row.values) if row.values is not None else ""
                policy = _policy(row.values or {}, self.policy)
                settings = _settings(row.values or {})
            except BadInput as error:
                problems.append(Problem(row.line, error.field or "line", error.message))
                text, policy, settings = "", "", {}
            if len(drafts) > 1:
                problems.append(Problem(row.line, "instances", _("One completion cannot answer several instances.")))
            self.report.problems += problems
            if problems:
                continue
            if not text.strip():
                self.report.left_out.append(Problem(row.line, "completion", _("The completion is empty.")))
                continue
            yield _Answer(row.line, drafts[0], text_sha256(drafts[0].messages), policy, text.strip(), settings)

    def _take(self, batch: list[_Answer]) -> None:
        if self.add_prompts:
            decisions = self.admission.take([answer.prompt for answer in batch])
            prompt_ids = {one.text_sha256: one.prompt_id for one in decisions}
        else:
            prompt_ids = prompt_queries.ids_by_text(self.session, {answer.prompt_sha256 for answer in batch})
        known = []
        for answer in batch:
            if answer.prompt_sha256 in prompt_ids:
                known.append(answer)
                continue
            message = _("No stored prompt has this text; import the prompts first, or let the import add them.")
            self.report.problems.append(Problem(answer.line, "prompt", message))
        self._store(known, prompt_ids)

    def _store(self, answers: list[_Answer], prompt_ids: Mapping[str, int | None]) -> None:
        names = {answer.policy for answer in answers}
        found = policy_queries.named(self.session, names)
        if self.write:
            found = {name: policies.get_or_create(self.session, name, _kind(found, name)) for name in sorted(names)}
        # A prompt or policy that a dry run would make has no id yet, and no completion either.
        drafts = [
            CompletionDraft(
                prompt_ids[answer.prompt_sha256] or 0,
                found[answer.policy].id if answer.policy in found else 0,
                answer.text,
                answer.settings,
            )
            for answer in answers
        ]
        stored = queries.stored(self.session, (draft.key for draft in drafts))
        new = []
        for answer, draft in zip(answers, drafts, strict=True):
            key = (answer.prompt_sha256, answer.policy, draft.key[2])
            if draft.key in stored or key in self.seen:
                self.report.known += 1
                continue
            self.seen.add(key)
            self.report.added += 1
            new.append(draft)
        if self.write and new:
            insert_all(self.session, new)


def _kind(found: Mapping, name: str) -> PolicyKind:
    # Texts of an endpoint or a checkpoint of ours may come by file too; people's do not.
    kind = found[name].kind if name in found else PolicyKind.IMPORTED
    return PolicyKind.IMPORTED if kind is PolicyKind.PEOPLE else kind


def _completion_apart(row: Row) -> Row:
    """A dialogue that ends with the assistant's message: the prompt before it, and that message as the completion."""
    messages = (row.values or {}).get("messages")
    if not isinstance(messages, list) or any(row.values.get(name) is not None for name in TEXT_FIELDS):
        return row
    last = messages[-1] if messages else None
    if not isinstance(last, Mapping) or last.get("role") != "assistant":
        return row
    text = last.get("text", last.get("content"))
    return Row(row.line, {**row.values, "messages": messages[:-1], "completion": text})


def _text(values: Mapping[str, object]) -> str:
    for name in TEXT_FIELDS:
        if name in values and values[name] is not None:
            return check_text(values[name], name, may_be_empty=True)
    if any(name in values for name in TEXT_FIELDS):
        return ""
    raise BadInput(
        _("No completion: a row needs completion (or response, output, text). It has: %(keys)s.")
        % {"keys": ", ".join(values)},
        field="completion",
    )


def _policy(values: Mapping[str, object], otherwise: str) -> str:
    name = values.get("policy") or otherwise
    if not isinstance(name, str) or not name.strip() or len(name.strip()) > 120:
        raise BadInput(_("policy must be a name of 1 to 120 characters."), field="policy")
    return check_text(name.strip(), "policy")


def _settings(values: Mapping[str, object]) -> Mapping[str, object]:
    settings = values.get("settings") or {}
    if not isinstance(settings, Mapping):
        raise BadInput(_('settings must be an object such as {"temperature": 0.7}.'), field="settings")
    if r"\u0000" in orjson.dumps(settings).decode():
        raise BadInput(_("settings holds a NUL character; remove it."), field="settings")
    return settings
