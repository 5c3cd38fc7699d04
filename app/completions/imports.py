"""Import of policies' completions: each row has a completion and the text of its prompt."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy.orm import Session

from app.accounts import rules as accounts
from app.accounts.tables import Account
from app.completions import queries
from app.completions.rules import CompletionDraft, insert_all
from app.errors import BadInput
from app.kit.files import stem
from app.kit.given import BadRow, Given, Problem, Row
from app.kit.i18n import N_
from app.kit.i18n import gettext as _
from app.kit.imports import FileMemory, Found, ImportReport, Watch, run
from app.kit.text import is_blank, require_text
from app.policies import queries as policy_queries
from app.policies import rules as policies
from app.policies.tables import PolicyKind
from app.prompts import queries as prompt_queries
from app.prompts.admission import Admission, refusal, remark
from app.prompts.imports import PromptDefaults, drafts_of, shown
from app.prompts.messages import message, text_sha256
from app.prompts.schemas import PromptDraft, Verdict
from app.prompts.shapes import dialogue_field

TEXT_FIELDS = ("completion", "response", "output", "text")
POLICY_FIELDS = ("policy", "generator")  # "generator" is AlpacaEval's name
NAMED_AFTER_FILE = N_("%(n)d completions name no policy and belong to one named after the file.")


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
    policy: str = "",
    file_name: str = "",
    add_prompts: PromptDefaults | None = None,
    skip_bad: bool = False,
    dry_run: bool = False,
    by: Account | None = None,
    watch: Watch | None = None,
) -> ImportReport:
    """Import completions for the policy that each row names, else for `policy`, else for one named after the file.

    A row whose prompt is not stored is bad, unless `add_prompts` gives the defaults to store it with.
    """
    after_file = "" if policy else stem(file_name)

    def check(session: Session, found: Found, report: ImportReport, memory: FileMemory, write: bool) -> None:
        answers = []
        for row in found:
            if isinstance(row, BadRow):
                report.refuse([row.problem])
                continue
            answer = _answer(row, policy or after_file, add_prompts or PromptDefaults())
            if isinstance(answer, list):
                report.refuse(answer)
            elif is_blank(answer.text):
                report.leave_out(row.line, "completion", _("The completion is empty or has no visible characters."))
            else:
                report.unused.update(row.values.unused())
                if after_file and not any(row.values.get(name) for name in POLICY_FIELDS):
                    report.remarks[NAMED_AFTER_FILE] += 1
                answers.append(answer)
        _Chunk(session, report, memory, add_prompts, write).take(answers)

    return run(
        check,
        path,
        lambda session, added: accounts.record(session, by, "completions.import", added=added, policy=policy),
        as_csv=as_csv,
        skip_bad=skip_bad,
        dry_run=dry_run,
        watch=watch,
    )


class _Chunk:
    """Rows of a file that are checked and stored together."""

    def __init__(
        self,
        session: Session,
        report: ImportReport,
        memory: FileMemory,
        add_prompts: PromptDefaults | None,
        write: bool,
    ):
        self.session, self.report, self.memory, self.write = session, report, memory, write
        self.adds_prompts = add_prompts is not None
        self.admission = Admission(session, filters=False, write=write and self.adds_prompts, memory=memory)

    def take(self, answers: list[_Answer]) -> None:
        prompt_ids = self._prompts(answers)
        known = []
        for answer in answers:
            if answer.prompt_sha256 in prompt_ids:
                known.append(answer)
            elif not self.adds_prompts:
                message = _("No stored prompt has this text; import the prompts first, or let this import add them.")
                self.report.refuse([Problem(answer.line, "prompt", message)])
        self._store(known, prompt_ids)

    def _prompts(self, answers: list[_Answer]) -> Mapping[str, int | None]:
        """Return the ids of the answered prompts by text hash; None for prompts that a dry run would add."""
        if not self.adds_prompts:
            return prompt_queries.ids_by_text(self.session, {answer.prompt_sha256 for answer in answers})
        decisions = self.admission.take([answer.prompt for answer in answers])
        for answer, decision in zip(answers, decisions, strict=True):
            remark(decision, self.report)
            if decision.verdict is Verdict.SPLIT:
                self.report.refuse([Problem(answer.line, "split", refusal(decision, answer.prompt))])
        return {one.text_sha256: one.prompt_id for one in decisions if one.verdict is not Verdict.SPLIT}

    def _store(self, answers: list[_Answer], prompt_ids: Mapping[str, int | None]) -> None:
        names = {answer.policy for answer in answers}
        found = policy_queries.named(self.session, names)
        if self.write:
            found = {name: policies.get_or_create(self.session, name, _kind(found, name)) for name in sorted(names)}
        # A prompt or policy that a dry run would create has no id and no completions.
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
        keys = [
            f"completion {draft.prompt_id or answer.prompt_sha256} {draft.key[2]} {answer.policy}"
            for answer, draft in zip(answers, drafts, strict=True)
        ]
        met = set(self.memory.find(keys))
        new = []
        for answer, draft, key in zip(answers, drafts, keys, strict=True):
            if draft.key in stored or key in met:
                self.report.take_known()
                continue
            met.add(key)
            self.report.take(partial(_shown, answer))
            new.append(draft)
        self.memory.keep(dict.fromkeys(met, ""))
        if self.write and new:
            insert_all(self.session, new)


def _kind(found: Mapping, name: str) -> PolicyKind:
    # Texts of endpoints and trained policies can be imported too; those of people cannot.
    kind = found[name].kind if name in found else PolicyKind.IMPORTED
    return PolicyKind.IMPORTED if kind is PolicyKind.PEOPLE else kind


def _shown(answer: _Answer) -> dict:
    return {**shown(answer.line, answer.prompt), "completions": [{"policy": answer.policy, "text": answer.text}]}


def _answer(row: Row, policy: str, defaults: PromptDefaults) -> _Answer | list[Problem]:
    """Parse a row; returns its answer, or everything that is wrong with it."""
    values, text = row.values, ""
    settings: Mapping[str, object] = {}
    problems: list[Problem] = []
    try:
        values, last = _completion_apart(row.values)
        text = _text(values) if last is None else last
        policy = _policy(values, policy)
        settings = _settings(values)
    except BadInput as error:
        problems.append(Problem(row.line, error.field or "line", error.message))
    drafts, more = drafts_of(Row(row.line, values), defaults)
    problems += more
    if len(drafts) > 1:
        problems.append(Problem(row.line, "instances", _("One completion cannot answer several instances.")))
    if problems:
        return problems
    return _Answer(row.line, drafts[0], text_sha256(drafts[0].messages), policy, text, settings)


def _completion_apart(values: Given) -> tuple[Given, str | None]:
    """Split a dialogue that ends with an assistant message into its prompt and that message's text, else None."""
    field = dialogue_field(values)
    said = values.structured(field) if field else None
    if (
        field is None
        or not isinstance(said, list)
        or not said
        or any(values.get(name) is not None for name in TEXT_FIELDS)
    ):
        return values, None
    last = message(said[-1], f"{field}.{len(said) - 1}", may_be_empty=True)
    if last.role != "assistant":
        return values, None
    return values.replaced({field: said[:-1]}), last.text


def _text(values: Given) -> str:
    for name in TEXT_FIELDS:
        value = values.text_or_messages(name)
        if isinstance(value, list):  # a list with only the assistant's message
            if len(value) != 1:
                raise BadInput(
                    _("%(field)s has %(n)d messages; it must have only the assistant's message.")
                    % {"field": name, "n": len(value)},
                    field=name,
                )
            last = message(value[0], f"{name}.0", may_be_empty=True)
            if last.role != "assistant":
                raise BadInput(_("%(field)s must be a message from the assistant.") % {"field": name}, field=name)
            return last.text
        if value is not None:
            return require_text(value, name, may_be_empty=True)
    if any(name in values for name in TEXT_FIELDS):
        return ""
    raise BadInput(
        _("No completion: a row needs completion (or response, output, text). It has: %(keys)s.")
        % {"keys": values.named()},
        field="completion",
    )


def _policy(values: Given, otherwise: str) -> str:
    field, name = next(((field, values[field]) for field in POLICY_FIELDS if values.get(field)), ("policy", otherwise))
    if not name:
        raise BadInput(_("No policy: name the policy in the row, or for the whole file."), field="policy")
    return require_text(name, field, at_most=120).strip()


def _settings(values: Given) -> Mapping[str, object]:
    settings = values.structured("settings") or {}
    if not isinstance(settings, Mapping):
        raise BadInput(_('settings must be an object such as {"temperature": 0.7}.'), field="settings")
    for name, value in settings.items():
        require_text(name, "settings")
        if isinstance(value, str):
            require_text(value, f"settings.{name}", may_be_empty=True)
        elif value is not None and not isinstance(value, int | float):
            raise BadInput(
                _("settings.%(name)s must be a number or a text.") % {"name": name}, field=f"settings.{name}"
            )
    return settings
