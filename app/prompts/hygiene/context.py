"""Context of a number in folded text, which decides what kind of number it is."""

import re
from functools import lru_cache
from typing import NamedTuple

# Characters that make an adjacent number part of a word, in scripts with spaces. Scripts without spaces are left out:
# there, a number of its own appears directly between two letters.
WORD = r"0-9A-Za-z_\u00C0-\u024F\u0370-\u052F"
NOT_AFTER_WORD = rf"(?<![{WORD}])"
NOT_BEFORE_WORD = rf"(?![{WORD}])"

_WORDS = re.compile(r"[^\W\d_]+")


class Vocabulary(NamedTuple):
    """Words that match as a whole, and parts (stems or phrases) that match anywhere.

    A set lookup is ten times as fast as a pattern of alternatives, which matters in a text full of numbers.
    """

    words: frozenset[str]  # lower case, or capitals for words that count only in capitals
    parts: tuple[str, ...]

    def is_in(self, text: str) -> bool:
        """Return whether the text contains one of the words or parts."""
        words, lower = _words(text)
        return not self.words.isdisjoint(words) or any(part in lower for part in self.parts)


def word_set(words: str) -> frozenset[str]:
    """Split words separated by spaces into a set."""
    return frozenset(words.split())


def vocabulary(words: str, parts: str = "") -> Vocabulary:
    """Build a vocabulary from words separated by spaces and parts separated by commas."""
    return Vocabulary(word_set(words), tuple(part.strip() for part in parts.split(",") if part))


@lru_cache(maxsize=64)  # several rules in a row ask about the same place
def _words(text: str) -> tuple[frozenset[str], str]:
    lower = text.lower()
    return frozenset(_WORDS.findall(text)) | frozenset(_WORDS.findall(lower)), lower


def near(known: Vocabulary, text: str, start: int, end: int, before: int = 40, after: int = 0) -> bool:
    """Return whether a known word is within `before` characters before text[start:end] or `after` characters after."""
    if known.is_in(text[max(0, start - before) : start]):
        return True
    return bool(after) and known.is_in(text[end : end + after])


def mentions(text: str, stems: tuple[str, ...]) -> bool:
    """Return whether the text contains one of the stems, given in lower case."""
    lower = text.lower()
    return any(stem in lower for stem in stems)


# --- Numbers of things ---

_THINGS = word_set(
    "order bestellung auftrag pedido commande invoice rechnung factura receipt tracking track sendung parcel shipment "
    "isbn issn doi pmid pubmed arxiv serial seriennummer sku part parts model version release patent upc ean gtin "
    "barcode imei iccid transaction ticket case booking reference ref tweet status article artikel item product lot "
    "batch build commit flight vin cas post pin seed range size dimensions isin sim bestellnummer rechnungsnummer "
    "sendungsnummer auftragsnummer artikelnummer"
)
_NUMBER_WORDS = word_set("no nr num number numbers nummer numero número n nº id code key is")
_TASKS = word_set("compute calculate evaluate solve simplify subtract multiply divide factor berechne calcula calcule")
_LABEL_END = re.compile(r"[^\W\d_]+[ .:#=°\"'-]{0,4}(?:[A-Za-z]{1,4}-)?$")
_AN_ID = re.compile(r"id[ .:#=\"']{1,4}$", re.IGNORECASE)
_TERM_BEFORE = re.compile(r"(?:[0-9)=]|[^A-Za-z][a-z]) ?[*/^+\u00d7\u00f7-] ?$")
_TERM_AFTER = re.compile(r" ?[=^\u00d7\u00f7]| ?[*/+] ?[0-9]{1,3}(?![0-9])")


def is_of_a_thing(text: str, start: int) -> bool:
    """Return whether the words before text[start] announce the number of an order, a book, a part or the like."""
    before = text[max(0, start - 32) : start]
    if not _LABEL_END.search(before[-20:]):
        return False
    words = _WORDS.findall(before.lower())
    while len(words) > 1 and words[-1] in _NUMBER_WORDS:
        words.pop()
    return words[-1] in _THINGS


def is_a_key(text: str, start: int) -> bool:
    """Return whether text[start:] is the value of an id, as in a database row."""
    return bool(_AN_ID.search(text[max(0, start - 6) : start]))


def in_a_formula(text: str, start: int, end: int) -> bool:
    """Return whether text[start:end] is a term of a calculation."""
    before = text[max(0, start - 16) : start]
    if _TERM_BEFORE.search(before[-5:]) or _TERM_AFTER.match(text[end : end + 8]):
        return True
    words = _WORDS.findall(before.lower())
    return bool(words) and words[-1] in _TASKS
