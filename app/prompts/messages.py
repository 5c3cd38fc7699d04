"""What a prompt's text is: messages in one canonical form, their hashes, length in tokens, and split."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from app.config import settings
from app.errors import BadInput
from app.i18n import gettext as _
from training.records import Message, Split

ROLES = ("system", "user", "assistant")
MAX_TOKENS = 1024  # "longer than 1k tokens" are left out, InstructGPT appendix C
PREFIX_CHARACTERS = 200  # a "long common prefix"; the paper gives no number
BYTES_PER_TOKEN = 4  # of English text under a 50k BPE, roughly


def clean_text(text: object, field: str) -> str:
    """Text as it is stored: line ends as \\n, no blanks around it; refuses what a database cannot hold."""
    if not isinstance(text, str):
        raise BadInput(
            _("%(field)s is %(kind)s, not text; put it in quotes.") % {"field": field, "kind": type(text).__name__},
            field=field,
        )
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    if not text:
        raise BadInput(_("%(field)s is empty; write a text or take the row out.") % {"field": field}, field=field)
    if "\x00" in text:
        raise BadInput(
            _("%(field)s holds a NUL character at position %(n)d; remove it.")
            % {"field": field, "n": text.index("\x00")},
            field=field,
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadInput(
            _("%(field)s holds half a character (a lone surrogate) at position %(n)d; remove it.")
            % {"field": field, "n": error.start},
            field=field,
        ) from error
    return text


def canonical(messages: Iterable[Message | Mapping[str, object]]) -> tuple[Message, ...]:
    """Messages as {role, text} (or {role, content}), each checked; the last is the user's."""
    if isinstance(messages, str | Mapping) or not isinstance(messages, Iterable):
        raise BadInput(_("messages must be a list of {role, text}."), field="messages")
    made = []
    for number, message in enumerate(messages):
        given = message.model_dump() if isinstance(message, Message) else message
        where = f"messages.{number}"
        if not isinstance(given, Mapping):
            raise BadInput(_("%(field)s must be an object {role, text}.") % {"field": where}, field=where)
        role = given.get("role")
        if role not in ROLES:
            raise BadInput(
                _("%(field)s is “%(role)s”; it must be one of %(roles)s.")
                % {"field": f"{where}.role", "role": role, "roles": ", ".join(ROLES)},
                field=f"{where}.role",
            )
        key = "text" if "text" in given else "content"
        made.append(Message(role=role, text=clean_text(given.get(key), f"{where}.{key}")))
    if not made:
        raise BadInput(_("messages is empty; a prompt has at least one message."), field="messages")
    if made[-1].role != "user":
        raise BadInput(
            _("The last message is from “%(role)s”; a prompt ends with the user's. Take what follows it out.")
            % {"role": made[-1].role},
            field=f"messages.{len(made) - 1}.role",
        )
    return tuple(made)


def text_sha256(messages: Sequence[Message]) -> str:
    """The hash by which two prompts are the same: the messages as canonical JSON, Unicode composed."""
    turns = [[message.role, unicodedata.normalize("NFC", message.text)] for message in messages]
    return hashlib.sha256(json.dumps(turns, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def prefix_sha256(messages: Sequence[Message]) -> str | None:
    """The hash of a prompt's first 200 characters, case and spacing aside; None for a shorter one.

    A system message does not count: many prompts of one product share it.
    """
    text = "\n".join(f"{message.role}: {message.text}" for message in messages if message.role != "system")
    text = re.sub(r"\s+", " ", unicodedata.normalize("NFC", text)).casefold()
    if len(text) < PREFIX_CHARACTERS:
        return None
    return hashlib.sha256(text[:PREFIX_CHARACTERS].encode()).hexdigest()


def split_for(key: str) -> Split:
    """80 % train, 10 % validation, 10 % test by a keyed hash, the same in every installation."""
    digest = hashlib.blake2b(key.encode(), key=b"plumbline split", digest_size=8).digest()
    share = int.from_bytes(digest, "big") / 2**64
    return Split.TRAIN if share < 0.8 else Split.VALIDATION if share < 0.9 else Split.TEST


@lru_cache(maxsize=4)
def _tokenizer(path: str):
    from tokenizers import Tokenizer

    return Tokenizer.from_file(path)


def count_tokens(texts: Iterable[str], tokenizer: str) -> int:
    """The texts' length in tokens by the tokenizer.json at this path; without one estimated as UTF-8 bytes / 4."""
    if tokenizer:
        return sum(len(_tokenizer(tokenizer).encode(text, add_special_tokens=False).ids) for text in texts)
    return -(-sum(len(text.encode()) for text in texts) // BYTES_PER_TOKEN)


def tokens(messages: Sequence[Message]) -> int:
    """The prompt's length in tokens, counted by PLUMBLINE_TOKENIZER or estimated."""
    return count_tokens((message.text for message in messages), settings().tokenizer)


def few_shot(instruction: str, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """(prompt text, its own completion) for each of K pairs, the other K - 1 as examples (InstructGPT A.1)."""
    if len(pairs) < 2:
        raise BadInput(
            _("A few-shot prompt needs at least two pairs; one is asked, the others are shown."), field="pairs"
        )
    instruction = clean_text(instruction, "instruction")
    clean = [
        (clean_text(given, f"input {number}"), clean_text(completion, f"output {number}"))
        for number, (given, completion) in enumerate(pairs, 1)
    ]
    made = []
    for asked, (given, completion) in enumerate(clean):
        shown = [f"Input: {i}\nOutput: {o}" for number, (i, o) in enumerate(clean) if number != asked]
        made.append(("\n\n".join([instruction, *shown, f"Input: {given}\nOutput:"]), completion))
    return made
