"""Differences between two versions of a text, by paragraph and, within a reworded paragraph, by word."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum

ALIKE = 0.4  # least similarity of a reworded paragraph; below it, the old and the new one are shown whole
NEAR = 6  # number of new paragraphs searched for a reworded old one
MOST_WORDS = 1500  # in a paragraph compared word by word; the time grows quadratically


class Kind(StrEnum):
    """How a piece of text changed between two versions."""

    SAME = "same"
    ADDED = "added"
    REMOVED = "removed"


@dataclass(frozen=True)
class Piece:
    """Some words and how they changed."""

    kind: Kind
    text: str


def compare_texts(old: str, new: str) -> list[list[Piece]]:
    """Return the paragraphs of both texts in order, each as a list of pieces; unchanged text appears once."""
    before, after = _paragraphs(old), _paragraphs(new)
    made: list[list[Piece]] = []
    for tag, i, j, k, n in SequenceMatcher(None, before, after).get_opcodes():
        if tag == "equal":
            made += [[Piece(Kind.SAME, text)] for text in before[i:j]]
        else:
            made += _replaced(before[i:j], after[k:n])
    return made


def _paragraphs(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _replaced(before: list[str], after: list[str]) -> Iterator[list[Piece]]:
    """Yield removed and added paragraphs whole, and reworded ones word by word."""
    new = [_words(text) for text in after]
    done = 0  # new paragraphs already yielded
    for text in before:
        words = _words(text)
        found = next((n for n in range(done, min(done + NEAR, len(new))) if _alike(words, new[n])), None)
        if found is None:
            yield [Piece(Kind.REMOVED, text)]
            continue
        yield from ([Piece(Kind.ADDED, other)] for other in after[done:found])
        yield list(_reworded(words, new[found]))
        done = found + 1
    yield from ([Piece(Kind.ADDED, other)] for other in after[done:])


def _alike(old: list[str], new: list[str]) -> bool:
    if max(len(old), len(new)) > MOST_WORDS:
        return False
    matcher = SequenceMatcher(None, old, new)
    return matcher.quick_ratio() >= ALIKE and matcher.ratio() >= ALIKE


def _words(text: str) -> list[str]:
    return re.findall(r"\s+|\w+|[^\w\s]", text)


def _reworded(before: list[str], after: list[str]) -> Iterator[Piece]:
    for tag, i, j, k, n in SequenceMatcher(None, before, after).get_opcodes():
        if tag == "equal":
            yield Piece(Kind.SAME, "".join(before[i:j]))
            continue
        if i < j:
            yield Piece(Kind.REMOVED, "".join(before[i:j]))
        if k < n:
            yield Piece(Kind.ADDED, "".join(after[k:n]))
