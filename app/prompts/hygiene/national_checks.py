"""Checks whether a number can be a document of any country or an identity number of a country outside Europe.

Each takes the number in capitals, without punctuation and spaces, as long as its pattern in national_ids requires.
"""

from app.prompts.hygiene.check_digits import is_day, luhn, mrz, verhoeff, weighted

# Printed on a sample card of 1938, in a leaflet, and everywhere; 987-65-432x are reserved for advertisements.
_US_SPECIMENS = frozenset({"078051120", "219099999", "123456789"})


def always(number: str) -> bool:
    """Return True: the pattern is strict enough by itself."""
    return True


def has_digits(number: str) -> bool:
    """Return whether there are enough digits for a document number."""
    return sum(map(str.isdigit, number)) >= 5


def us_ssn(number: str) -> bool:
    """United States: an issued area, group and serial, or a taxpayer number (9xx), but not a specimen."""
    if number in _US_SPECIMENS or number.startswith("98765432"):
        return False
    area, group, serial = number[:3], number[3:5], number[5:]
    if area[0] == "9":
        return 50 <= int(group) <= 99 and group not in ("66", "67", "68", "69", "89", "93")
    return area not in ("000", "666") and group != "00" and serial != "0000"


def cpf(number: str) -> bool:
    """Brazil: two check digits, mod 11."""
    first = (11 - weighted(number[:9], range(10, 1, -1)) % 11) % 11 % 10
    second = (11 - weighted(number[:10], range(11, 1, -1)) % 11) % 11 % 10
    return (first, second) == (int(number[9]), int(number[10]))


def canadian(number: str) -> bool:
    """Canada: Luhn."""
    return luhn(number)


def curp(number: str) -> bool:
    """Mexico: a birth date and the check digit of the CURP."""
    letters = "0123456789ABCDEFGHIJKLMN\u00d1OPQRSTUVWXYZ"
    total = sum(letters.index(one) * (18 - place) for place, one in enumerate(number[:17]))
    return is_day(number[4:6], number[6:8], number[8:10]) and (10 - total % 10) % 10 == int(number[17])


def chilean(number: str) -> bool:
    """Chile: mod 11, with K for ten."""
    total = weighted(number[-2::-1], (2, 3, 4, 5, 6, 7, 2, 3)) % 11
    return "0K987654321"[total] == number[-1]


def argentine(number: str) -> bool:
    """Argentina: mod 11, with 9 for ten."""
    return "01234567899"[-weighted(number[:10], (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11] == number[10]


def aadhaar(number: str) -> bool:
    """India: Verhoeff, and not a palindrome."""
    return verhoeff(number) and number != number[::-1]


def chinese(number: str) -> bool:
    """China: a birth date and ISO 7064 mod 11-2."""
    total = weighted(number[:17], (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)) % 11
    date = is_day(number[6:10], number[10:12], number[12:14]) and number[6:8] in ("18", "19", "20")
    return date and "10X98765432"[total] == number[17]


def taiwanese(number: str) -> bool:
    """Taiwan: mod 10, with the letter as two digits."""
    letter = str(10 + "ABCDEFGHJKLMNPQRSTUVXYWZIO".index(number[0]))
    return weighted(letter + number[1:], (1, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1)) % 10 == 0


def hong_kong(number: str) -> bool:
    """Hong Kong: mod 11; a single letter is padded with a space (36) in front."""
    values = [36] * (9 - len(number)) + [int(one, 36) for one in number[:-1]]
    total = sum(value * weight for value, weight in zip(values, range(9, 1, -1), strict=True)) + int(number[-1], 16)
    return total % 11 == 0


def singaporean(number: str) -> bool:
    """Singapore: the letter of a weighted sum, mod 11."""
    total = weighted(number[1:8], (2, 7, 6, 5, 4, 3, 2)) + {"T": 4, "G": 4, "M": 3}.get(number[0], 0)
    letters = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "M": "KLJNPQRTUWX"}.get(number[0], "XWUTRQPNMLK")
    return letters[10 - total % 11 if number[0] == "M" else total % 11] == number[8]


def korean(number: str) -> bool:
    """South Korea: a birth date; since October 2020 numbers need no check digit."""
    return is_day(number[:2], number[2:4], number[4:6])


def japanese(number: str) -> bool:
    """Japan: My Number, mod 11."""
    total = weighted(number[:11], (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return (0 if total < 2 else 11 - total) == int(number[11])


def thai(number: str) -> bool:
    """Thailand: mod 11."""
    return (11 - weighted(number[:12], range(13, 1, -1)) % 11) % 10 == int(number[12])


def israeli(number: str) -> bool:
    """Israel: Luhn."""
    return luhn(number)


def iranian(number: str) -> bool:
    """Iran: mod 11."""
    total = weighted(number[:9], range(10, 1, -1)) % 11
    return (total if total < 2 else 11 - total) == int(number[9])


def south_african(number: str) -> bool:
    """South Africa: a birth date and Luhn."""
    return luhn(number) and is_day(number[:2], number[2:4], number[4:6])


def australian_tfn(number: str) -> bool:
    """Australia: tax file number, mod 11; nine digits, formerly eight."""
    weights = (1, 4, 3, 7, 5, 8, 6, 9, 10) if len(number) == 9 else (10, 7, 8, 4, 6, 3, 5, 1)
    return weighted(number, weights) % 11 == 0


def medicare(number: str) -> bool:
    """Australia: Medicare card, mod 10 check digit in ninth place."""
    return weighted(number[:8], (1, 3, 7, 9, 1, 3, 7, 9)) % 10 == int(number[8])


def mrz_line(line: str) -> bool:
    """Second line of a passport's machine-readable zone: all check digits (ICAO 9303-4)."""
    fields = ((line[:9], line[9]), (line[13:19], line[19]), (line[21:27], line[27]))
    return all(mrz(field) == int(digit) for field, digit in fields) and (
        mrz(line[:10] + line[13:20] + line[21:43]) == int(line[43])
    )
