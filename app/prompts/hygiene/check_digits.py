"""Check digits, which show whether a number of a person, card or account can have been issued."""

from collections.abc import Sequence
from datetime import date

_VERHOEFF_PRODUCT = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_VERHOEFF_PERMUTATION = (
    "0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip


def weighted(digits: str, weights: Sequence[int]) -> int:
    """Return the weighted sum of the digits; digits beyond the weights do not count."""
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


def luhn(digits: str) -> bool:
    """Return whether the last digit is Luhn's (ISO/IEC 7812-1)."""
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (doubled + sum(int(digit) for digit in digits[::-2])) % 10 == 0


def verhoeff(digits: str) -> bool:
    """Return whether the last digit is Verhoeff's (the dihedral group of ten)."""
    state = 0
    for place, digit in enumerate(reversed(digits)):
        state = int(_VERHOEFF_PRODUCT[state][int(_VERHOEFF_PERMUTATION[place % 8][int(digit)])])
    return state == 0


def mod_11_10(digits: str) -> bool:
    """Return whether the last digit is that of ISO/IEC 7064, mod 11,10."""
    state = 10
    for digit in digits[:-1]:
        state = ((state + int(digit)) % 10 or 10) * 2 % 11
    return (state + int(digits[-1])) % 10 == 1


def mod_97(letters_and_digits: str) -> bool:
    """Return whether the number is 1 modulo 97, letters as 10 to 35 (ISO/IEC 7064, mod 97-10)."""
    return int("".join(str(int(character, 36)) for character in letters_and_digits)) % 97 == 1


def mrz(field: str) -> int:
    """Return the check digit of a field of a travel document: weights 7, 3, 1, letters as 10 to 35 (ICAO 9303)."""
    values = (0 if character == "<" else int(character, 36) for character in field)
    return sum(value * (7, 3, 1)[place % 3] for place, value in enumerate(values)) % 10


def ean(digits: str) -> bool:
    """Return whether the last digit is that of a 13-digit article number (GS1)."""
    return weighted(digits, (1, 3) * 6 + (1,)) % 10 == 0


def is_day(year: str, month: str, day: str) -> bool:
    """Return whether this is a valid date; a two-digit year is tried in both the 1900s and the 2000s."""
    years = (int(year),) if len(year) == 4 else (1900 + int(year), 2000 + int(year))
    for one in years:
        try:
            date(one, int(month), int(day))
        except ValueError:
            continue
        return True
    return False
