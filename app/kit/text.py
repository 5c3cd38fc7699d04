"""Text from people and files: what can be stored, what is visible, and when two texts are the same."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, overload

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from app.errors import BadInput
from app.kit.i18n import gettext as _

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_LINE_ENDS = re.compile("\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f]")
# Zero-width joiners change how their neighbors look in some scripts and in emoji; next to ASCII they are invisible.
_IDLE_JOINERS = re.compile("(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f])")
# Tag characters after a black flag select a regional flag, e.g. England's, and are invisible anywhere else.
_IDLE_TAGS = re.compile("(\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f)|[\U000e0001-\U000e007f]")
# Visible format characters, which precede the numbers that they belong to.
_DRAWN = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
# Letters and marks that are invisible on their own; controls, formats and blanks are recognized by their category.
_FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")


def storable(text: str) -> str:
    """Return the text; raise a validation error for what databases refuse: NUL and lone surrogates."""
    if bad := UNSTORABLE.search(text):
        raise PydanticCustomError("unstorable_text", "{why}", {"why": _unstorable(bad)})
    return text


def _unstorable(bad: re.Match) -> str:
    return _("NUL or half a character (a lone surrogate) at position %(n)d cannot be stored; remove it.") % {
        "n": bad.start()
    }


def _storable_json(value: Any) -> Any:
    if isinstance(value, str):
        storable(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            storable(key)
            _storable_json(item)
    elif isinstance(value, Sequence):
        for item in value:
            _storable_json(item)
    return value


@overload
def typed(text: str) -> str: ...
@overload
def typed(text: object) -> object: ...
def typed(text: object) -> object:
    """Normalize text from a browser: line ends become \\n, NUL is removed, lone surrogates are replaced."""
    if not isinstance(text, str):
        return text
    return UNSTORABLE.sub(lambda found: "" if found[0] == "\x00" else "\ufffd", text.replace("\r\n", "\n"))


Text = Annotated[str, AfterValidator(storable)]  # every text in a schema
TypedText = Annotated[str, BeforeValidator(typed), AfterValidator(storable)]  # of a form on a page
SearchText = Annotated[str, Field(max_length=200), AfterValidator(storable)]  # databases refuse longer patterns
JsonObject = Annotated[dict[str, Any], AfterValidator(_storable_json)]  # JSON whose keys are validated elsewhere


def require_text(value: object, field: str, *, may_be_empty: bool = False, at_most: int | None = None) -> str:
    """Return a value of a file or a caller as text; raise BadInput that names the field and the fix."""
    if not isinstance(value, str):
        raise BadInput(
            _("%(field)s is %(kind)s, not text; put it in quotes.") % {"field": field, "kind": type(value).__name__},
            field=field,
        )
    if bad := UNSTORABLE.search(value):
        raise BadInput(f"{field}: {_unstorable(bad)}", field=field)
    if not may_be_empty and is_blank(value):
        raise BadInput(
            _("%(field)s is empty or has no visible characters; write some text, or remove the field.")
            % {"field": field},
            field=field,
        )
    if at_most is not None and len(value) > at_most:
        raise BadInput(
            _("%(field)s has %(n)d characters; at most %(most)d are allowed.")
            % {"field": field, "n": len(value), "most": at_most},
            field=field,
        )
    return value


@lru_cache(maxsize=4096)
def _shows_nothing(letter: str) -> bool:
    return (
        (unicodedata.category(letter) in ("Cc", "Cf", "Zs", "Zl", "Zp") and letter not in _DRAWN)
        or letter in _FILLERS
        or "\ufe00" <= letter <= "\ufe0f"
        or "\U000e0100" <= letter <= "\U000e01ef"
    )


def is_blank(text: str) -> bool:
    """Return whether the text is invisible: only blanks, line ends, zero-width and other invisible characters."""
    return all(map(_shows_nothing, text))


def normal_form(text: str) -> str:
    """Return the form in which texts are compared: equal for texts that look alike, different for others.

    Unicode is composed (NFC). Every line end is \\n, without blanks before it, and every blank is a space. Invisible
    characters are removed, and so are empty lines at the beginning and end. Indentation counts, including that of the
    first line. A single blank before the first word does not count, since many models write it.
    """
    text = _CONTROLS.sub("", _LINE_ENDS.sub("\n", text))
    if not text.isascii():
        text = _IDLE_TAGS.sub(r"\1", unicodedata.normalize("NFC", text))
        text = _IDLE_JOINERS.sub("", "".join(map(_as_seen, text)))
    text = "\n".join(line.rstrip(" \t") for line in text.split("\n")).strip("\n")
    return text[1:] if text[:1] == " " and text[1:2] not in (" ", "\t") else text


@lru_cache(maxsize=4096)
def _as_seen(letter: str) -> str:
    if letter in "\n\t\u200c\u200d" or "\U000e0020" <= letter <= "\U000e007f":
        return letter
    if unicodedata.category(letter) == "Zs":
        return " "
    return "" if _shows_nothing(letter) else letter


def folded(text: str) -> str:
    """Return the normal form without case and spacing, for finding texts that say the same."""
    return " ".join(normal_form(text).casefold().split())
