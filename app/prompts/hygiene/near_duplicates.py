"""Near-duplicate prompts: MinHash signatures find candidates in SQL, then their words decide.

Two prompts are near-duplicates if they differ only in spacing, sentence marks, politeness around the sentence, and
initial capitals of words. Texts that quote, contain code or are about spelling must be identical to the letter.
A false duplicate is left out of an import, so in doubt they are distinct. Similarity alone cannot decide: among pairs
from TruthfulQA and SQuAD that share 0.8 or more of their shingles, none is a duplicate.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

from app.prompts.hygiene.context import word_set
from app.prompts.hygiene.folding import fold

SHINGLE = 5  # characters; an English word and its space
# P(a pair of similarity s shares a band) = 1 - (1 - s^ROWS)^BANDS: 0.986 at 0.8, 0.999 at 0.85, 0.13 at 0.5.
BANDS, ROWS = 18, 7
SEED = 1  # of the permutations; stored signatures are valid only for this seed
_PERMUTATIONS = BANDS * ROWS
_AT_ONCE = 4096  # shingles permuted at once: 2 MiB

_SENTENCE_MARKS = ".,;:!?\"'`()[]{}…。、「」『』【】·¿¡"
_APOSTROPHE = re.compile(r"(?<=[^\W\d_])'(?=[^\W\d_])")
_HYPHEN = re.compile(r"(?<=[^\W\d_])-+(?=[^\W\d_])")
# Scripts written without spaces: each character is a word.
_CHARACTER = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
# Words in which candidates may differ.
_SMALL = word_set(
    "a an the this that these those following below me my please pls plz kindly bitte proszę пожалуйста 请 請"
)
_GREETINGS = word_set("hi hello hey hallo hola bonjour ciao ok okay")
_ASKING = word_set("can could would will")  # with "you"
_THANKS = word_set("thanks thank thx danke merci gracias grazie obrigado obrigada dziękuję спасибо tack")
_WITH_THANKS = _THANKS | word_set("you so very much many a lot in advance vielen dank im voraus")

# Patterns that decide whether candidates are duplicates. Politeness is separated from the sentence by a mark, or begins
# it: "Say hello" and "How do you say thanks?" are about the word. 请 also begins verbs (to invite, to ask for leave).
_PLEASE = r"(?:please|pls|plz|kindly|bitte|proszę|пожалуйста)"
_OPENING = re.compile(
    rf"(?:(?:{'|'.join(sorted(_GREETINGS))}) ?[,.!]\s*)?"
    rf"(?:(?:(?:{'|'.join(sorted(_ASKING))}) you )?{_PLEASE},?\s|[请請](?![假客求教安示愿帖柬]))?",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    rf"[,.!?…。]\s*(?:{_PLEASE}|(?:many |vielen )?(?:{'|'.join(sorted(_THANKS))}|dank)"
    r"(?: you)?(?: a lot| (?:so|very) much)?(?: in advance| im voraus)?)$",
    re.IGNORECASE,
)
_FEWEST_WORDS = 3  # in the sentence that politeness surrounds
_ABOUT_MARKS = re.compile(
    r"punctuat|interpunktion|zeichensetzung|ponctu|puntua|標點|标点|\bcommas?\b|\bkomma|full stop|semicolon|colon\b|"
    r"exclamation|question mark|apostroph|hyphen|\bspaces?\b|whitespace|\btypos?\b",
    re.IGNORECASE,
)
# Quotation marks, code signs and calls, indented lines, and tasks about the letters themselves.
_TO_THE_LETTER = re.compile(
    r"[\"`{}=;<>\\|$^~_)「」『』‹›]|(?<![^\W\d_])'|'(?![^\W\d_])|\w[(\[]|\n[ \t]+\S|"
    r"spell|translat|übersetz|tradu[cirz]|перев[её]|翻译|翻譯|訳|proofread|\bgramma[rt]|pronou?nc|\brhym|"
    r"capitali[sz]|capital letter|(?:upper|lower|title|camel)[ -]?case|\bthe words?\b",
    re.IGNORECASE,
)
_GIVEN = re.compile(r":\s+\S|:[^\W\d_]")  # a colon and what follows it
_LAST_MARKS = ".!?…。！？ \t\n"
_MARKS = _LAST_MARKS + ",;:、·"
_FACTORIAL = re.compile(r"(?<![^\W_])(?:[^\W\d_]|[0-9]{1,3})$")  # 5! and n!, unlike "in 1789!"
# Names that are ordinary words in lower case.
_NAMES = word_set(
    "polish turkey china march may august java python ruby rust swift rose bill mark jack frank will bob pat job nice "
    "reading bath mobile lima apple amazon windows word excel oracle orange guinea jersey chad jordan god mercury "
    "earth sun moon cancer titanic catholic lent mass"
)


def words(text: str) -> list[str]:
    """Return the words of a text in their original case, without surrounding marks; signs of formulas and code stay."""
    text = _CHARACTER.sub(r" \g<0> ", fold(unicodedata.normalize("NFC", text)).text)
    text = _APOSTROPHE.sub("", _HYPHEN.sub(" ", text))
    found = [token.strip(_SENTENCE_MARKS) for token in text.split()]
    return [word for word in found if word.strip("-")] or text.split()


def normal_form(text: str) -> str:
    """Return the text to cut into shingles: folded case, single spaces, no marks around words, no small words."""
    return " ".join(_compared(words(text))).casefold()


def _compared(found: Sequence[str]) -> Sequence[str]:
    """Return the words without greeting, thanks and small words, or all words if nothing else remains."""
    lower = [word.casefold() for word in found]
    start, end = 0, len(lower)
    while start < end and (lower[start] in _GREETINGS or lower[start] in _SMALL):
        start += 1
    if lower[start : start + 1] and lower[start] in _ASKING and lower[start + 1 : start + 2] == ["you"]:
        start += 2
    while end > start and lower[end - 1] in _WITH_THANKS:
        end -= 1
    if _THANKS.isdisjoint(lower[end:]):
        end = len(lower)
    return [
        word for word, plain in zip(found[start:end], lower[start:end], strict=True) if plain not in _SMALL
    ] or found


def signature(text: str) -> bytes:
    """Return the MinHash signature of a text: 126 little-endian 32-bit numbers, 504 bytes.

    The permutations are those of datasketch (scheme "affine32"), whose import takes a second and 60 MiB for SciPy.
    """
    import numpy as np

    factors, terms = _permutations()
    hashes = _hashes(normal_form(text))
    least = np.full(_PERMUTATIONS, 0xFFFFFFFF, dtype=np.uint32)
    for begin in range(0, len(hashes), _AT_ONCE):
        some = hashes[begin : begin + _AT_ONCE, None]
        np.minimum(least, (some * factors + terms).min(axis=0), out=least)
    return least.astype("<u4").tobytes()


def _hashes(form: str):
    """Return the hash of each shingle, mixed (MurmurHash3's finalizer): uint32 [shingles]."""
    import numpy as np

    characters = np.frombuffer(form.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    count = max(1, len(characters) - SHINGLE + 1)
    hashes = np.zeros(count, dtype=np.uint64)
    for place in range(min(SHINGLE, len(characters))):
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + characters[place : place + count] + np.uint64(1)
    # The last character is in the lowest bits; one more product carries it to the upper half, which is kept.
    hashes = (hashes ^ (hashes >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    mixed = (hashes >> np.uint64(32)).astype(np.uint32)
    mixed ^= mixed >> np.uint32(16)
    mixed *= np.uint32(0x85EBCA6B)
    mixed ^= mixed >> np.uint32(13)
    mixed *= np.uint32(0xC2B2AE35)
    return mixed ^ (mixed >> np.uint32(16))


@cache
def _permutations():
    """Return factors (odd) and terms of the permutations h -> factor * h + term modulo 2^32: uint32 [126] each."""
    import numpy as np

    random = np.random.RandomState(SEED)
    factors = random.randint(0, 1 << 31, _PERMUTATIONS, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return factors, random.randint(0, 1 << 32, _PERMUTATIONS, dtype=np.uint32)


def bands(signed: bytes) -> list[int]:
    """Return the 18 keys of a signature, signed 64-bit numbers: texts that share one are candidates.

    A key includes its band, so that one column and one IN query find all candidates.
    """
    width = 4 * ROWS
    pieces = (signed[place : place + width] for place in range(0, len(signed), width))
    digests = (hashlib.blake2b(piece, digest_size=8, salt=bytes([band])).digest() for band, piece in enumerate(pieces))
    return [int.from_bytes(digest, "big", signed=True) for digest in digests]


def are_near_duplicates(one: str, other: str) -> bool:
    """Return whether two texts have the same words or, where letters and signs matter, the same characters."""
    first, second = _form(one), _form(other)
    if first.about_marks or second.about_marks:
        return _same_but_for_first_letter(first.plain, second.plain)
    if first.to_the_letter or second.to_the_letter:
        return _same_but_for_first_letter(first.bare, second.bare)
    if first.given or second.given:
        these, those = (form.bare.split() or [form.bare] for form in (first, second))
    else:
        these, those = first.words, second.words
    if len(these) != len(those):
        return False
    if len(these) > _FEWEST_WORDS and (first.bare.isupper() or second.bare.isupper()):
        return [word.casefold() for word in these] == [word.casefold() for word in those]
    return _same_but_for_first_letter(these[0], those[0]) and all(map(_is_same_word, these[1:], those[1:]))


class _Form(NamedTuple):
    """A text prepared for comparison, and which of its signs count."""

    plain: str
    bare: str  # without trailing marks
    words: list[str]
    about_marks: bool
    to_the_letter: bool
    given: bool


@lru_cache(maxsize=64)  # consecutive prompts of a template have the same candidates
def _form(text: str) -> _Form:
    plain = fold(unicodedata.normalize("NFC", text)).text.strip()
    bare = _without_marks(plain, _LAST_MARKS)
    marks = (bool(pattern.search(where)) for pattern, where in
             ((_ABOUT_MARKS, plain), (_TO_THE_LETTER, bare), (_GIVEN, bare)))  # fmt: skip
    return _Form(plain, bare, _sentence(bare), *marks)


def _sentence(text: str) -> list[str]:
    """Return the words of a text without surrounding marks, and without politeness if enough words remain."""
    plain = _OPENING.sub("", _CLOSING.sub("", text), count=1)
    split, whole = (_CHARACTER.sub(r" \g<0> ", _HYPHEN.sub(" ", form)).split() for form in (plain, text))
    found = split if len(split) >= _FEWEST_WORDS else whole
    return [_without_marks(word.lstrip("¿¡"), _MARKS) or word for word in found] or [text]


def _without_marks(text: str, marks: str) -> str:
    """Return the text without trailing marks; a text of only marks and the mark of a factorial stay."""
    bare = text.rstrip(marks)
    if text[len(bare) :].startswith("!") and _FACTORIAL.search(bare[-4:]):
        bare += "!"
    return bare or text


def _same_but_for_first_letter(one: str, other: str) -> bool:
    return one[1:] == other[1:] and one[:1].casefold() == other[:1].casefold()


def _is_same_word(one: str, other: str) -> bool:
    """Return whether two words within a sentence match: "French" is "french", but "US" is not "us", nor "May" "may"."""
    if one == other or one.lower() == other.lower() == "i":
        return True
    return _same_but_for_first_letter(one, other) and one[1:].islower() and one.lower() not in _NAMES
