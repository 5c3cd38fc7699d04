"""Folding: the form of a text that detectors read, and where each of its characters comes from."""

import unicodedata
from typing import NamedTuple

_KNOWN_CHARACTERS = 50_000  # table limit, since texts may contain every character that exists


class Folded(NamedTuple):
    """A text in the detectors' form; `origins[i]` is the place of its character i in the original text."""

    text: str
    origins: list[int] | None  # None: no characters were removed

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Return the span of text[start:end] in the original text."""
        if self.origins is None or start == end:
            return start, end
        return self.origins[start], self.origins[end]  # includes invisible characters that follow


class _Table(dict[int, str | None]):
    """Table for str.translate: each character's replacement, or None for an invisible one."""

    def __missing__(self, code: int) -> str | None:
        if len(self) > _KNOWN_CHARACTERS:
            self.clear()
        self[code] = made = _folded(chr(code))
        return made


def _folded(character: str) -> str | None:
    category = unicodedata.category(character)
    if category == "Cf" or "\ufe00" <= character <= "\ufe0f" or character == "\u20e3":
        return None  # zero-width, direction and variation marks, and the keycap frame
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category == "Zs":
        return " "
    if category == "Pd" or character == "\u2212":
        return "-"
    if character in "\u2018\u2019":
        return "'"
    if character in "\u201c\u201d\u201e\u201f\u00ab\u00bb":
        return '"'
    # Full-width and styled letters and signs, but not superscripts (category "No"): ten squared is not 102.
    plain = unicodedata.normalize("NFKC", character) if category[0] in "LPS" else character
    return plain if len(plain) == 1 else character


_TABLE = _Table()


def fold(text: str) -> Folded:
    """Return the text with plain digits, spaces, dashes and letters, and without invisible characters."""
    if text.isascii():
        return Folded(text, None)
    folded = text.translate(_TABLE)
    if len(folded) == len(text):
        return Folded(folded, None)
    seen = [place for place, character in enumerate(text) if _TABLE[ord(character)] is not None]
    return Folded(folded, [*seen, len(text)])
