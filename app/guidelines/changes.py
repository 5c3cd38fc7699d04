"""What is different between two versions of a text: paragraph by paragraph, and word by word within one."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum

ALIKE = 0.4  # two paragraphs with less in common are shown whole, the old one and the new one


class Kind(StrEnum):
    """What became of a piece of text."""

    SAME = "same"
    ADDED = "added"
    REMOVED = "removed"


@dataclass(frozen=True)
class Piece:
    """Some words and what became of them."""

    kind: Kind
    text: str


def changes(old: str, new: str) -> list[list[Piece]]:
    """The paragraphs of both texts in order, each as its pieces; what is the same in both stands once."""
    before, after = _paragraphs(old), _paragraphs(new)
    made: list[list[Piece]] = []
    for tag, i, j, k, n in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            made += [[Piece(Kind.SAME, text)] for text in before[i:j]]
        else:
            made += _replaced(before[i:j], after[k:n])
    return made


def _paragraphs(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _replaced(before: list[str], after: list[str]) -> Iterator[list[Piece]]:
    """Removed and added paragraphs; one that was only reworded, word by word."""
    waiting = list(after)
    for text in before:
        words = _words(text)
        likeness = [SequenceMatcher(None, words, _words(other), autojunk=False).ratio() for other in waiting]
        best = max(range(len(waiting)), key=likeness.__getitem__, default=None)
        if best is None or likeness[best] < ALIKE:
            yield [Piece(Kind.REMOVED, text)]
            continue
        yield from ([Piece(Kind.ADDED, other)] for other in waiting[:best])
        yield list(_reworded(words, _words(waiting[best])))
        waiting = waiting[best + 1 :]
    yield from ([Piece(Kind.ADDED, other)] for other in waiting)


def _words(text: str) -> list[str]:
    return re.findall(r"\s+|\w+|[^\w\s]", text)


def _reworded(before: list[str], after: list[str]) -> Iterator[Piece]:
    for tag, i, j, k, n in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            yield Piece(Kind.SAME, "".join(before[i:j]))
            continue
        if i < j:
            yield Piece(Kind.REMOVED, "".join(before[i:j]))
        if k < n:
            yield Piece(Kind.ADDED, "".join(after[k:n]))
