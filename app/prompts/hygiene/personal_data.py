"""Detection and masking of personal data in texts.

Detected: e-mail addresses, phone numbers, payment cards, bank accounts, IP and MAC addresses, passwords and keys, and
identity numbers of some fifty countries. Names and places are found only by presidio.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache

from app.config import settings
from app.prompts.hygiene.folding import fold
from app.prompts.hygiene.kinds import PLACEHOLDERS, Hit, PersonalData

__all__ = ["Hit", "PersonalData", "find", "mask", "without_overlaps"]

Detectors = tuple[Callable[[str], Iterator[Hit]], ...]
_FEWEST_DIGITS = 4  # in a number that identifies a person
_RANK = {kind: place for place, kind in enumerate(PersonalData)}


def find(text: str) -> list[Hit]:
    """Return the personal data in a text, in order and without overlaps: the longest finding wins.

    Raises PresidioMissing if the setting asks for presidio and it is not installed.
    """
    folded = fold(text)
    of_any_text, of_numbers = _detectors()
    many = sum(map(str.isdigit, folded.text)) >= _FEWEST_DIGITS
    found = [hit for detect in (of_any_text + of_numbers if many else of_any_text) for hit in detect(folded.text)]
    hits = [Hit(kind, *folded.place(start, end)) for kind, start, end in found]
    if settings().personal_data == "presidio":
        from app.prompts.hygiene.presidio import findings

        hits += findings(text)
    return without_overlaps(hits)


@cache
def _detectors() -> tuple[Detectors, Detectors]:
    """Return the detectors for all texts, and those for texts with digits."""
    # Their patterns take a tenth of a second to compile: the first text pays for it, not the start of each process.
    from app.prompts.hygiene.accounts import bank_accounts, cards
    from app.prompts.hygiene.credentials import secrets
    from app.prompts.hygiene.emails import emails
    from app.prompts.hygiene.machines import ip_addresses, mac_addresses
    from app.prompts.hygiene.national_ids import national_ids
    from app.prompts.hygiene.phones import phones

    return (emails, secrets, ip_addresses, mac_addresses), (phones, cards, bank_accounts, national_ids)


def without_overlaps(hits: Iterable[Hit]) -> list[Hit]:
    """Return the hits in order; of two that overlap, keep the longer or the one whose kind is listed first."""
    kept: list[tuple[int, int, PersonalData]] = []
    for kind, start, end in sorted(hits, key=lambda hit: (hit.start - hit.end, _RANK[hit.kind], hit.start)):
        place = bisect_left(kept, (start,))
        if (place and kept[place - 1][1] > start) or (place < len(kept) and kept[place][0] < end):
            continue
        kept.insert(place, (start, end, kind))
    return [Hit(kind, start, end) for start, end, kind in kept]


def mask(text: str, hits: Sequence[Hit]) -> str:
    """Replace each hit by a placeholder such as [e-mail]; hits must be in order, as `find` returns them."""
    pieces: list[str] = []
    place = 0
    for hit in hits:
        pieces += text[place : hit.start], PLACEHOLDERS[hit.kind]
        place = hit.end
    return "".join(pieces) + text[place:]
