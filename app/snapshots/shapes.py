"""The shapes in which records are exported: for each, its columns (derived from the records' fields) and its rows.

Our own shapes are the records as they were frozen, with messages as {role, text}. Trainers' shapes hold chats as
[{role, content}] plus every other field of the record, so that rows can be selected by them. Flags are one JSON text
there, since a column has one type in all rows. No column has a name that means something else to a trainer.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar, get_args

import orjson

from training.contract.records import (
    COMPARISONS,
    DEMONSTRATIONS,
    PROMPTS,
    ComparisonRecord,
    DemonstrationRecord,
    Flag,
    Message,
    Pool,
    PromptRecord,
    RankedCompletion,
    Record,
    Split,
)


class What(StrEnum):
    """Which data of a snapshot, in which shape."""

    DEMONSTRATIONS = "demonstrations"
    COMPARISONS = "comparisons"
    PROMPTS = "prompts"
    MESSAGES = "messages"
    PAIRS = "pairs"
    KTO = "kto"
    PROMPT_ONLY = "prompt_only"


class ChatMessage(Record):
    """One turn of a chat, as trainers read it."""

    role: str
    content: str


Chat = tuple[ChatMessage, ...]
Columns = dict[str, Any]  # name -> type of its values
R = TypeVar("R", bound=PromptRecord)
Read = Callable[[], Iterable[Any]]  # reads the records from the start on each call


@dataclass(frozen=True)
class Shape(Generic[R]):
    """How one export is made."""

    files: Mapping[str, type[PromptRecord]]  # the files it is made from, as far as the snapshot has them
    columns: Callable[[type[R]], Columns]  # for the record that its rows are made from
    rows: Callable[[Read], Iterator[dict]]
    record: type[R]


def _types(record: type[Record], *but: str, prefix: str = "") -> Columns:
    fields = record.model_fields.items()
    return {f"{prefix}{name}": field.annotation for name, field in fields if name not in but}


def _values(record: Record, *but: str, prefix: str = "") -> dict:
    return {f"{prefix}{name}": _plain(getattr(record, name)) for name in type(record).model_fields if name not in but}


def _plain(value: Any) -> Any:
    """Return the value as JSON data, with every field of its records, even those that a frozen line omits."""
    if isinstance(value, Record):
        return _values(value)
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, StrEnum) else value


def _flat(row: dict) -> dict:
    return {name: orjson.dumps(value).decode() if isinstance(value, dict) else value for name, value in row.items()}


def _chat(messages: Iterable[Message]) -> list[dict]:
    return [{"role": message.role, "content": message.text} for message in messages]


def _says(text: str) -> list[dict]:
    return [{"role": "assistant", "content": text}]


# --- Our own ---


def _as_frozen(read: Read) -> Iterator[dict]:
    return map(_values, read())


def _prompts(read: Read) -> Iterator[dict]:
    """Yield every prompt once, with its own split: a held-out labeler's answer to a train prompt says validation.

    Masking can have made prompts equal.
    """
    splits: dict[str, Split] = {}
    for record in read():
        if getattr(record, "pool", None) is not Pool.HELD_OUT:
            splits.setdefault(record.text, record.split)
    seen: set[bytes] = set()
    for record in read():
        said = hashlib.sha256(repr(record.prompt).encode("utf-8", "surrogatepass")).digest()
        if said not in seen:
            seen.add(said)
            row = {name: _plain(getattr(record, name)) for name in PromptRecord.model_fields}
            yield {**row, "split": str(splits.get(record.text, record.split))}


# --- Trainers' ---


def _messages(read: Read) -> Iterator[dict]:
    """Yield rows for SFT: the prompt, and the completion as the assistant's last message."""
    for record in read():
        rest = _flat(_values(record, "prompt", "completion"))
        yield {"messages": _chat(record.prompt) + _says(record.completion), **rest}


def _prompt_only(read: Read) -> Iterator[dict]:
    """Yield rows for PPO, GRPO and RLOO: the prompts for a policy."""
    for row in _prompts(read):
        chat = [{"role": message["role"], "content": message["text"]} for message in row.pop("prompt")]
        yield {"prompt": chat, **row}


def _pairs(read: Read) -> Iterator[dict]:
    """Yield rows for DPO and reward models: every pair whose tiers differ. Pairs of one ranking share `group`."""
    for record, group in _grouped(read()):
        shared = {**_flat(_values(record, "prompt", "completions")), "group": group}
        for places in record.pairs():
            chosen, rejected = (record.completions[place] for place in places)
            yield {
                "prompt": _chat(record.prompt),
                "chosen": _says(chosen.text),
                "rejected": _says(rejected.text),
                **shared,
                **_flat(_values(chosen, "text", prefix="chosen_")),
                **_flat(_values(rejected, "text", prefix="rejected_")),
            }


def _kto(read: Read) -> Iterator[dict]:
    """Yield rows for KTO: every completion that is clearly good or clearly bad; see `desirable`."""
    for record, group in _grouped(read()):
        shared = {**_flat(_values(record, "prompt", "completions")), "group": group}
        for completion in record.completions:
            label = desirable(completion)
            if label is not None:
                said = {"prompt": _chat(record.prompt), "completion": _says(completion.text), "label": label}
                yield {**said, **shared, **_flat(_values(completion, "text"))}


# Flags that make a completion bad, whatever its rating.
BAD_FLAGS = (
    Flag.FAILS_TASK,
    Flag.INAPPROPRIATE,
    Flag.HALLUCINATION,
    Flag.ENCOURAGES_HARM,
    Flag.DENIGRATES,
    Flag.HARMFUL_ADVICE,
)
GOOD_RATING, BAD_RATING = 5, 3  # of 7: at least, at most


def desirable(completion: RankedCompletion) -> bool | None:
    """Return whether a completion is good (rated 5 or more, no bad flag) or bad; None if neither is clear."""
    if completion.unacceptable or any(completion.flags.get(flag) for flag in BAD_FLAGS):
        return False
    if completion.rating is None or BAD_RATING < completion.rating < GOOD_RATING:
        return None
    return completion.rating >= GOOD_RATING


def _grouped(rankings: Iterable[ComparisonRecord]) -> Iterator[tuple[ComparisonRecord, str]]:
    """Yield each ranking with a unique name derived from its content; equal rankings are numbered."""
    met: Counter[str] = Counter()
    for ranking in rankings:
        digest = hashlib.sha256(ranking.model_dump_json().encode()).hexdigest()[:16]
        met[digest] += 1
        yield ranking, digest if met[digest] == 1 else f"{digest}-{met[digest]}"


def _pair_columns(record: type[ComparisonRecord]) -> Columns:
    sides = {"prompt": Chat, "chosen": Chat, "rejected": Chat}
    ranked = [_types(_ranked(record), "text", prefix=f"{side}_") for side in ("chosen", "rejected")]
    return {**sides, **_types(record, "prompt", "completions"), "group": str, **ranked[0], **ranked[1]}


def _kto_columns(record: type[ComparisonRecord]) -> Columns:
    said = {"prompt": Chat, "completion": Chat, "label": bool}
    return {**said, **_types(record, "prompt", "completions"), "group": str, **_types(_ranked(record), "text")}


def _ranked(record: type[ComparisonRecord]) -> type[RankedCompletion]:
    return get_args(record.model_fields["completions"].annotation)[0]


_DEMONSTRATIONS = {DEMONSTRATIONS: DemonstrationRecord}
_COMPARISONS = {COMPARISONS: ComparisonRecord}
_ALL: Mapping[str, type[PromptRecord]] = {PROMPTS: PromptRecord, **_COMPARISONS, **_DEMONSTRATIONS}
SHAPES: Mapping[What, Shape] = {
    What.DEMONSTRATIONS: Shape(_DEMONSTRATIONS, _types, _as_frozen, DemonstrationRecord),
    What.COMPARISONS: Shape(_COMPARISONS, _types, _as_frozen, ComparisonRecord),
    What.PROMPTS: Shape(_ALL, _types, _prompts, PromptRecord),
    What.MESSAGES: Shape(
        _DEMONSTRATIONS,
        lambda record: {"messages": Chat, **_types(record, "prompt", "completion")},
        _messages,
        DemonstrationRecord,
    ),
    What.PAIRS: Shape(_COMPARISONS, _pair_columns, _pairs, ComparisonRecord),
    What.KTO: Shape(_COMPARISONS, _kto_columns, _kto, ComparisonRecord),
    What.PROMPT_ONLY: Shape(
        _ALL, lambda record: {"prompt": Chat, **_types(record, "prompt")}, _prompt_only, PromptRecord
    ),
}
