"""Near-duplicate prompts: MinHash signatures find candidates in SQL, the words themselves decide.

Two prompts are near-duplicates if they say the same but for case, punctuation, spacing, politeness and misspelt words.
Likeness alone cannot tell: of the pairs of TruthfulQA and SQuAD that share 0.8 of their shingles and more none is a
duplicate. They ask another question of the same text, or the same of another country.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache

from app.prompts.hygiene.context import word_set
from app.prompts.hygiene.folding import fold

SHINGLE = 5  # characters; a word of English and its blank
THRESHOLD = 0.8  # of common shingles, below which nobody looks; a misspelt word in 50 characters is just above it
# A pair of likeness s meets in a band with 1 - (1 - s^ROWS)^BANDS: 0.986 at 0.8, 0.999 at 0.85, 0.13 at 0.5.
BANDS, ROWS = 18, 7
SEED = 1  # of the permutations; stored signatures are good for this one alone
_PERMUTATIONS = BANDS * ROWS
_AT_ONCE = 4096  # shingles that are permuted at once: 2 MiB

_SENTENCE_MARKS = ".,;:!?\"'`()[]{}…。、「」『』【】·¿¡"
_APOSTROPHE = re.compile(r"(?<=[^\W\d_])'(?=[^\W\d_])")
_HYPHEN = re.compile(r"(?<=[^\W\d_])-+(?=[^\W\d_])")
# Scripts written without blanks: each character is a word.
_CHARACTER = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
# Words that a prompt says as well without: wherever they stand, before it begins, and behind its end.
_SMALL = word_set(
    "a an the this that these those following below me my please pls plz kindly bitte proszę пожалуйста 请 請"
)
_GREETINGS = word_set("hi hello hey hallo hola bonjour ciao ok okay")
_ASKING = word_set("can could would will")  # with "you"
_THANKS = word_set("thanks thank thx danke merci gracias grazie obrigado obrigada dziękuję спасибо tack")
_WITH_THANKS = _THANKS | word_set("you so very much many a lot in advance vielen dank im voraus")
_SHORTEST_MISSPELT = 5  # "Iran" is no misspelt "Iraq"
_SHORTEST_MISHEARD = 8  # "batter" is no "butter"
_WORDS_TO_A_MISTAKE = 8


def words(text: str) -> list[str]:
    """Return the words of a text in its own case, without what surrounds them; signs of formulas and code stay."""
    text = _CHARACTER.sub(r" \g<0> ", fold(unicodedata.normalize("NFC", text)).text)
    text = _APOSTROPHE.sub("", _HYPHEN.sub(" ", text))
    found = [token.strip(_SENTENCE_MARKS) for token in text.split()]
    return [word for word in found if word.strip("-")] or text.split()


def normal_form(text: str) -> str:
    """Return the text as it is compared: folded case, single blanks, no punctuation around words, no small words."""
    return " ".join(_compared(words(text))).casefold()


def _compared(found: Sequence[str]) -> Sequence[str]:
    """Return the words without greeting, thanks and small words; all of them if nothing else is there."""
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
    """Return the MinHash signature of a text: 126 little-endian numbers of 32 bits, 504 bytes.

    The permutations are datasketch's (scheme "affine32"), whose import takes a second and 60 MiB for SciPy.
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
    # The last character stands in the lowest bits; they reach the upper half, which is kept, by one more product.
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
    """Return the 18 keys of a signature, signed numbers of 64 bits: texts that share one are candidates.

    A key says its band too, so that one column and one IN query find all candidates.
    """
    width = 4 * ROWS
    pieces = (signed[place : place + width] for place in range(0, len(signed), width))
    digests = (hashlib.blake2b(piece, digest_size=8, salt=bytes([band])).digest() for band, piece in enumerate(pieces))
    return [int.from_bytes(digest, "big", signed=True) for digest in digests]


def similarity(one: bytes, other: bytes) -> float:
    """Return the estimated Jaccard similarity of two texts by their signatures; its standard error is below 0.045."""
    import numpy as np

    return float((np.frombuffer(one, dtype="<u4") == np.frombuffer(other, dtype="<u4")).mean())


def jaccard(one: str, other: str) -> float:
    """Return the share of common shingles among all shingles of two texts."""
    first, second = _shingles(normal_form(one)), _shingles(normal_form(other))
    return len(first & second) / len(first | second)


def _shingles(form: str) -> set[str]:
    return {form[place : place + SHINGLE] for place in range(max(1, len(form) - SHINGLE + 1))}


def are_near_duplicates(one: str, other: str) -> bool:
    """Return whether two texts say the same: alike at THRESHOLD or more, and the same words in the same order.

    Small words ("please", "the") may be missing and one word in eight may be misspelt, but no number or name.
    """
    first, second = _compared_words(one), _compared_words(other)
    if "".join(first).casefold() == "".join(second).casefold():  # blanks and hyphens make no words, but numbers
        return re.findall("[0-9]+", " ".join(first)) == re.findall("[0-9]+", " ".join(second))
    if len(first) != len(second):
        return False
    # A capital begins a name, which is never misspelt, or a sentence.
    pairs = list(zip([first[0].lower(), *first[1:]], [second[0].lower(), *second[1:]], strict=True))
    unequal = [(a, b) for a, b in pairs if a.casefold() != b.casefold()]
    return (
        len(unequal) * _WORDS_TO_A_MISTAKE <= len(pairs)
        and all(_is_misspelt(a, b) for a, b in unequal)
        and jaccard(one, other) >= THRESHOLD  # last, as it takes longest
    )


@lru_cache(maxsize=64)  # the candidates of a template's next prompt are those of the last
def _compared_words(text: str) -> tuple[str, ...]:
    return tuple(_compared(words(text)))


def _is_misspelt(one: str, other: str) -> bool:
    """Return whether a letter within a word is missing, too many, swapped with its neighbour, or a like one."""
    if min(len(one), len(other)) < _SHORTEST_MISSPELT or not (one.isalpha() and other.isalpha()):
        return False
    if one[0] != other[0] or one[-1] != other[-1] or one[0].isupper():  # Marta is no Maria
        return False
    start = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    a, b = one[start:], other[start:]
    if a[1:] == b[1:]:  # "house" is no "horse", but "definately" is "definitely" and "summarise" "summarize"
        return {a[0], b[0]} <= set("sz") or (len(one) >= _SHORTEST_MISHEARD and {a[0], b[0]} <= set("aeiou"))
    return a[1:] == b or a == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])
