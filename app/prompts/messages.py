"""A prompt's messages in canonical form, with their hashes, length in tokens, and split."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Literal

from app.config import settings
from app.errors import BadInput
from app.kit.i18n import gettext as _
from app.kit.text import folded, normal_form, require_text
from training.contract.records import Message, Split

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant")
_FROM = {"human": "user", "gpt": "assistant"}  # ShareGPT's names
_MEDIA = ("images", "image", "audio", "video", "videos", "files", "attachments")
MAX_TOKENS = 1024  # prompts "longer than 1k tokens" are left out, InstructGPT appendix C
PREFIX_CHARACTERS = 200  # a "long common prefix"; the paper gives no number
BYTES_PER_TOKEN = 4  # roughly, for English text under a 50k BPE


def canonical(messages: object, field: str = "messages") -> tuple[Message, ...]:
    """Return checked messages as {role, text}, ending with the user's; raises BadInput that names the faulty message.

    Also accepts the formats of OpenAI ({role, content}, at most one text part) and ShareGPT ({from, value}).
    """
    made = dialogue(messages, field)
    if made[-1].role != "user":
        raise BadInput(
            _("The last message is from “%(role)s”, but a prompt must end with a user message. Leave out what follows, "
              "or import the rows as completions.") % {"role": made[-1].role},
            field=f"{field}.{len(made) - 1}.role",
        )  # fmt: skip
    return made


def dialogue(messages: object, field: str) -> tuple[Message, ...]:
    """Return checked messages as {role, text}, the last one of any role; raises BadInput."""
    if isinstance(messages, str | Mapping) or not isinstance(messages, Iterable):
        raise BadInput(_("%(field)s must be a list of {role, text}.") % {"field": field}, field=field)
    made = [message(one, f"{field}.{number}") for number, one in enumerate(messages)]
    if not made:
        raise BadInput(_("%(field)s is empty; a prompt needs at least one message.") % {"field": field}, field=field)
    return tuple(made)


def message(given: object, field: str, *, may_be_empty: bool = False) -> Message:
    """Return a message as {role, text}, or raise BadInput."""
    if isinstance(given, Message):
        given = given.model_dump()
    if not isinstance(given, Mapping):
        raise BadInput(_("%(field)s must be an object {role, text}.") % {"field": field}, field=field)
    by = "from" if "from" in given else "role"
    said = _FROM.get(str(given[by]), given[by]) if by == "from" else given.get("role")
    role = next((known for known in ROLES if known == said), None)
    if role is None:
        raise BadInput(
            _("%(field)s is “%(role)s”; it must be one of %(roles)s.")
            % {"field": f"{field}.{by}", "role": str(said)[:40], "roles": ", ".join(ROLES)},
            field=f"{field}.{by}",
        )
    keys = [key for key in ("text", "content", "value") if given.get(key) is not None] or ["text"]
    key, text = keys[0], _only_part(given.get(keys[0]))
    if any(given[other] != given[key] for other in keys[1:]):
        raise BadInput(
            _("%(field)s has different texts in %(keys)s; keep one.") % {"field": field, "keys": ", ".join(keys)},
            field=field,
        )
    if media := next((name for name in _MEDIA if given.get(name)), None):
        raise BadInput(
            _("%(field)s contains %(kind)s, which cannot be stored; leave the row out.")
            % {"field": field, "kind": media},
            field=f"{field}.{media}",
        )
    if given.get("tool_calls") or given.get("function_call"):
        raise BadInput(
            _("%(field)s calls a tool, which cannot be stored; leave the row out.") % {"field": field}, field=field
        )
    text = require_text(text, f"{field}.{key}", may_be_empty=may_be_empty)
    return Message.model_construct(role=role, text=text) if may_be_empty else Message(role=role, text=text)


def stored(messages: Iterable[Mapping]) -> tuple[Message, ...]:
    """Return messages as they are stored; they were checked before."""
    return tuple(Message.model_construct(**message) for message in messages)


def _only_part(content: object) -> object:
    """Return the text of OpenAI-style content that is a single text part; return other content unchanged."""
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], Mapping):
        part = content[0]
        return part.get("text") if part.get("type") == "text" else content
    return content


def text_sha256(messages: Sequence[Message]) -> str:
    """Return the hash that identifies a prompt: that of its messages in normal form, as canonical JSON."""
    return _sha256([[message.role, normal_form(message.text).strip()] for message in messages])


def folded_sha256(messages: Sequence[Message]) -> str:
    """Return the hash shared by prompts that differ only in case and spacing."""
    return _sha256([[message.role, folded(message.text)] for message in messages])


def _sha256(turns: list[list[str]]) -> str:
    return hashlib.sha256(json.dumps(turns, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def prefix_sha256(messages: Sequence[Message]) -> str | None:
    """Return the hash of a prompt's first 200 characters, ignoring case and spacing; None if it is shorter.

    System messages are left out, because many prompts of one product share them.
    """
    text = "\n".join(f"{message.role}: {message.text}" for message in messages if message.role != "system")
    text = folded(text)
    if len(text) < PREFIX_CHARACTERS:
        return None
    return hashlib.sha256(text[:PREFIX_CHARACTERS].encode()).hexdigest()


def split_for(key: str) -> Split:
    """Choose a split by keyed hash: 80 % train, 10 % validation, 10 % test, the same in every installation."""
    digest = hashlib.blake2b(key.encode(), key=b"plumbline split", digest_size=8).digest()
    share = int.from_bytes(digest, "big") / 2**64
    return Split.TRAIN if share < 0.8 else Split.VALIDATION if share < 0.9 else Split.TEST


@lru_cache(maxsize=4)
def _tokenizer(path: str):
    from tokenizers import Tokenizer

    return Tokenizer.from_file(path)


def count_tokens(texts: Iterable[str], tokenizer: str) -> int:
    """Count tokens with the tokenizer.json at this path; without one, estimate them as UTF-8 bytes / 4."""
    if tokenizer:
        return sum(len(_tokenizer(tokenizer).encode(text, add_special_tokens=False).ids) for text in texts)
    return -(-sum(len(text.encode()) for text in texts) // BYTES_PER_TOKEN)


def tokens(messages: Sequence[Message]) -> int:
    """Return a prompt's length in tokens, counted with PLUMBLINE_TOKENIZER or estimated."""
    return count_tokens((message.text for message in messages), settings().tokenizer)


def few_shot(instruction: str, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return (prompt text, completion) for each of K pairs, with the other K - 1 as examples (InstructGPT A.1)."""
    if len(pairs) < 2:
        raise BadInput(
            _("A few-shot prompt needs at least two pairs: one to ask, the others as examples."), field="pairs"
        )
    instruction = require_text(instruction, "instruction").strip()
    trimmed = [
        (require_text(given, f"input {number}").strip(), require_text(completion, f"output {number}").strip())
        for number, (given, completion) in enumerate(pairs, 1)
    ]
    made = []
    for asked, (given, completion) in enumerate(trimmed):
        shown = [f"Input: {i}\nOutput: {o}" for number, (i, o) in enumerate(trimmed) if number != asked]
        made.append(("\n\n".join([instruction, *shown, f"Input: {given}\nOutput:"]), completion))
    return made
