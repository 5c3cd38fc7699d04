"""Reading one row of a file of comparisons: an HH pair of dialogues, a preference pair, or one of our own rankings."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydantic import ValidationError

from app.completions.rules import check_text
from app.errors import BadInput
from app.i18n import gettext as _
from app.prompts.imports import PromptDefaults, drafts_of
from app.prompts.messages import canonical, text_sha256
from app.prompts.rows import Row
from app.prompts.schemas import Problem, PromptDraft
from training.records import ComparisonRecord, Pool, Split

ROLES = {"Human": "user", "Assistant": "assistant"}
TURN = re.compile(r"\n\n(Human|Assistant):")


class ComparisonFormat(StrEnum):
    """What a row of the file is."""

    HH = "hh"  # {"chosen", "rejected"}: two whole dialogues, "\n\nHuman: ...\n\nAssistant: ..."
    PAIRS = "pairs"  # {"prompt", "chosen", "rejected"}: texts or lists of messages
    RANKINGS = "rankings"  # our own export: records.ComparisonRecord


@dataclass(frozen=True)
class Ranked:
    """One completion of a row; `tier` 1 is best."""

    text: str
    policy: str
    tier: int | None
    rating: int | None = None
    flags: Mapping[str, bool] | None = None
    shown_position: int | None = None


@dataclass(frozen=True)
class Ranking:
    """One row: a prompt, its completions in order of their position, and who ranked."""

    line: int
    prompt: PromptDraft
    completions: tuple[Ranked, ...]
    labeler: str = ""
    pool: Pool = Pool.TRAIN
    probability: float | None = None  # that each pair's order is right, where a judge gave one
    fell_back: bool = False  # the dialogues part before their last turn

    @property
    def import_key(self) -> str:
        """The hash by which two rows are the same ranking."""
        said = [[one.text, one.tier, one.rating, dict(one.flags or {})] for one in self.completions]
        whole = [text_sha256(self.prompt.messages), self.labeler, self.pool, said, self.probability]
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def read(
    row: Row, format: ComparisonFormat, defaults: PromptDefaults, policy: str
) -> tuple[Ranking | None, list[Problem]]:
    """The ranking of a row, or what is wrong with it; raises BadInput where that is one thing."""
    if format is ComparisonFormat.RANKINGS:
        return _read_ranking(row, defaults)
    for side in ("chosen", "rejected"):
        if row.values.get(side) is None:
            raise BadInput(
                _("No %(side)s: a row needs chosen and rejected. It has: %(keys)s.")
                % {"side": side, "keys": ", ".join(row.values)},
                field=side,
            )
    fell_back = False
    if format is ComparisonFormat.HH:
        messages, chosen, rejected, fell_back = _dialogues(row.values)
        values = {**row.values, "messages": messages}
    else:
        values, chosen, rejected = _pair(row.values)
    drafts, problems = drafts_of(Row(row.line, values), defaults)
    if problems:
        return None, problems
    if len(drafts) > 1:
        raise BadInput(_("One pair cannot answer several instances."), field="instances")
    sides = sorted((Ranked(chosen, policy, 1), Ranked(rejected, policy, 2)), key=_by_text)
    labeler, pool = _labeler(row.values)
    return Ranking(row.line, drafts[0], tuple(sides), labeler, pool, fell_back=fell_back), []


def _dialogues(values: Mapping[str, object]) -> tuple[list[dict], str, str, bool]:
    """(messages that both dialogues share, the rest of chosen, the rest of rejected, whether they part early).

    The rest starts at the assistant's turn after the last human turn that both share: nearly always the last
    turn of each; where the dialogues part earlier, it is the longest common prefix at turn boundaries.
    """
    chosen, rejected = (check_text(values.get(side), side) for side in ("chosen", "rejected"))
    sides = [_turns(chosen, "chosen"), _turns(rejected, "rejected")]
    shared = 0
    while shared < min(map(len, sides)) and sides[0][shared][:2] == sides[1][shared][:2]:
        shared += 1
    # The last turn of a dialogue is its completion, and a prompt ends with the human's turn.
    shared = min(shared, len(sides[0]) - 1, len(sides[1]) - 1)
    while shared and not (
        sides[0][shared - 1][0] == "Human" and sides[0][shared][0] == sides[1][shared][0] == "Assistant"
    ):
        shared -= 1
    if not shared:
        raise BadInput(_("The two dialogues share no human turn that the assistant answers in both."), field="rejected")
    fell_back = any(len(side) > shared + 1 for side in sides)
    messages: list[dict] = []
    for speaker, text, _start in sides[0][:shared]:
        if not text.strip():
            continue
        if messages and messages[-1]["role"] == ROLES[speaker]:  # one speaker twice in a row is one message
            messages[-1]["text"] += f"\n\n{text.strip()}"
        else:
            messages.append({"role": ROLES[speaker], "text": text.strip()})
    return messages, chosen[sides[0][shared][2] :].strip(), rejected[sides[1][shared][2] :].strip(), fell_back


def _read_ranking(row: Row, defaults: PromptDefaults) -> tuple[Ranking | None, list[Problem]]:
    try:
        record = ComparisonRecord.model_validate_json(json.dumps(row.values))
    except ValidationError as error:
        return None, [
            Problem(row.line, ".".join(map(str, found["loc"])) or "line", found["msg"]) for found in error.errors()
        ]
    # A held-out labeler's record of a train prompt says validation, so there it does not tell the prompt's own split.
    unsure = record.pool is Pool.HELD_OUT and record.split is Split.VALIDATION
    prompt = PromptDraft(
        messages=canonical(record.prompt),
        source=defaults.source,
        use_case=record.use_case,
        owner=defaults.owner,
        split=None if unsure else record.split,
        collection=defaults.collection,
    )
    # Dense, as ours are: what counts is the order.
    given = {one.tier for one in record.completions if one.tier is not None}
    tiers = {tier: place for place, tier in enumerate(sorted(given), 1)}
    completions = tuple(
        Ranked(
            check_text(one.text, f"completions.{number}.text", may_be_empty=True),
            check_text(one.policy, f"completions.{number}.policy"),
            tiers.get(one.tier),
            one.rating,
            {flag.value: answer for flag, answer in one.flags.items() if answer is not None},
            one.shown_position,
        )
        for number, one in enumerate(record.completions)
    )
    positions = [one.shown_position for one in completions]
    if set(positions) != {None} and set(positions) != set(range(len(positions))):
        raise BadInput(
            _("The shown positions must be 0 to %(last)d, each once, or all left out.") % {"last": len(positions) - 1},
            field="completions.shown_position",
        )
    labeler, pool = _labeler(row.values)
    return Ranking(row.line, prompt, completions, labeler, pool, record.probability), []


def _turns(dialogue: str, field: str) -> list[tuple[str, str, int]]:
    """(speaker, text, where the text starts) of each turn."""
    marks = list(TURN.finditer(dialogue))
    if len(marks) < 2 or marks[0].group(1) != "Human" or dialogue[: marks[0].start()].strip():
        raise BadInput(
            _(r"%(field)s is not a dialogue: it must read “\n\nHuman: ...\n\nAssistant: ...”.") % {"field": field},
            field=field,
        )
    ends = [mark.start() for mark in marks[1:]] + [len(dialogue)]
    return [(mark.group(1), dialogue[mark.end() : end], mark.end()) for mark, end in zip(marks, ends, strict=True)]


def _pair(values: Mapping[str, object]) -> tuple[dict, str, str]:
    """(the row with its prompt as messages, chosen, rejected) of TRL's explicit and implicit forms."""
    chosen, rejected = values.get("chosen"), values.get("rejected")
    if isinstance(chosen, list) and isinstance(rejected, list):
        shared = 0
        while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
            shared += 1
        own = values.get("prompt")
        before = own if isinstance(own, list) else [{"role": "user", "text": own}] if own else []
        if len(chosen) != shared + 1 or len(rejected) != shared + 1:
            raise BadInput(
                _("chosen and rejected must be the same messages up to the last one, which is the assistant's."),
                field="chosen",
            )
        values = {**values, "messages": [*before, *chosen[:shared]]}
        chosen, rejected = (
            _last_message(side[-1], name) for side, name in ((chosen, "chosen"), (rejected, "rejected"))
        )
    sides = [check_text(text, name, may_be_empty=True) for text, name in ((chosen, "chosen"), (rejected, "rejected"))]
    return dict(values), sides[0].strip(), sides[1].strip()


def _last_message(message: object, field: str) -> object:
    if not isinstance(message, Mapping) or message.get("role") != "assistant":
        raise BadInput(_("%(field)s must end with a message of the assistant.") % {"field": field}, field=field)
    return message.get("text", message.get("content"))


def _labeler(values: Mapping[str, object]) -> tuple[str, Pool]:
    labeler, pool = values.get("labeler") or "", values.get("pool") or Pool.TRAIN
    if not isinstance(labeler, str | int) or len(str(labeler)) > 120:
        raise BadInput(_("labeler must be a name of at most 120 characters."), field="labeler")
    check_text(str(labeler), "labeler", may_be_empty=True)
    if pool not in list(Pool):
        raise BadInput(_("pool must be one of: %(known)s.") % {"known": ", ".join(Pool)}, field="pool")
    return str(labeler), Pool(pool)


def _by_text(one: Ranked) -> bytes:
    # The position of the two must not tell which was chosen.
    return hashlib.sha256(one.text.encode()).digest()
