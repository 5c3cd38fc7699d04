"""Easily guessed passwords: listed ones, alone or joined in pairs, keyboard runs, and repetitions."""

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

LIST = Path(__file__).parent / "common_passwords.txt"
LEAST_UNIT = 10  # a repeated part this long counts as a password of its own
LEAST_DISTINCT = 5
MEAN_RUN = 4  # "abcd1234qwer" is three runs of four; ordinary words rarely contain a run of two
_LEET = str.maketrans("013457@$!", "oleastasi")
_SHIFTED = str.maketrans("!@#$%^&*()", "1234567890")
_SHORT = {"my", "the", "new", "plumbline"}
_ROWS = (
    "abcdefghijklmnopqrstuvwxyz", "01234567890", "qwertyuiop[]", "asdfghjkl;'", "zxcvbnm,./", "qwertzuiop",
    "yxcvbnm", "azertyuiop", "qsdfghjklm", "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p;/", "q1w2e3r4t5y6u7i8o9p0",
    "1q2w3e4r5t6y7u8i9o0p", "qawsedrftgyhujikolp",
)  # fmt: skip
_STEPS = {pair for row in _ROWS for way in (row, row[::-1]) for pair in pairwise(way)}


@lru_cache
def listed() -> frozenset[str]:
    """Return the passwords in the list."""
    return frozenset(line for line in LIST.read_text().splitlines() if not line.startswith("#"))


def is_common(password: str, *own: str) -> bool:
    """Return whether a password is easy to guess; `own` are words of its owner, such as the user name."""
    text = unicodedata.normalize("NFKC", password).casefold()
    known = listed() | _SHORT | {_letters(word.casefold()) for word in own if word}
    forms = {form for way in (text, text.translate(_LEET)) for form in (way, _bare(way), _letters(way))}
    return (
        len(set(text)) < LEAST_DISTINCT
        or _unit(text) < min(LEAST_UNIT, len(text))
        or _runs(text.translate(_SHIFTED)) * MEAN_RUN <= len(text)
        or any(_is_made_of(form, known) for form in forms)
    )


def _letters(text: str) -> str:
    """Remove everything that separates words: "iloveyou_monkey" becomes "iloveyoumonkey"."""
    return re.sub(r"[\W_]+", "", _bare(text))


def _bare(text: str) -> str:
    """Strip digits and punctuation from both ends: "!!password2024" becomes "password"."""
    return re.sub(r"^[\W\d_]+|[\W\d_]+$", "", text)


def _unit(text: str) -> int:
    """Return the length of the part that a text repeats (the last time perhaps cut off), else of the whole text."""
    periods = range(1, len(text) // 2 + 1)
    return next((length for length in periods if text == (text[:length] * len(text))[: len(text)]), len(text))


def _runs(text: str) -> int:
    """Count the runs in a text: within a run, each character equals the previous one or is next to it in _ROWS."""
    return 1 + sum(one != other and (one, other) not in _STEPS for one, other in pairwise(text))


def _is_made_of(text: str, known: frozenset[str]) -> bool:
    """Return whether a text is one known password or two joined."""
    return text in known or any(text[:at] in known and text[at:] in known for at in range(2, len(text) - 1))
