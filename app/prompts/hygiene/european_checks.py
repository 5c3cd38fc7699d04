"""Checks whether a number can be an identity number of a European country: check digits, dates and ranges.

Each takes the number in capitals, without punctuation and spaces, as long as its pattern in national_ids requires.
"""

from app.prompts.hygiene.check_digits import ean, is_day, luhn, mod_11_10, mrz, weighted


def uk_nino(number: str) -> bool:
    """United Kingdom: a prefix that is issued."""
    return (
        number[0] not in "DFIQUV"
        and number[1] not in "DFIOQUV"
        and number[:2] not in ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ")
    )


def uk_nhs(number: str) -> bool:
    """NHS number, mod 11."""
    return (11 - weighted(number, range(10, 1, -1)) % 11) % 11 == int(number[9])


def german_tax_id(number: str) -> bool:
    """Germany: one digit two or three times in the first ten, the others at most once, and mod 11,10."""
    most = sorted(number[:10].count(digit) for digit in set(number[:10]))
    return most[-1] in (2, 3) and (len(most) < 2 or most[-2] == 1) and mod_11_10(number)


def german_document(number: str) -> bool:
    """German identity card or passport with its check digit."""
    return sum(map(str.isdigit, number)) > 2 and mrz(number[:9]) == int(number[9])


def german_pension(number: str) -> bool:
    """German pension insurance: area, birth date, letter, serial, check digit (cross sums, mod 10)."""
    letter = f"{ord(number[8]) - 64:02}"
    digits = number[:8] + letter + number[9:11]
    products = (int(digit) * weight for digit, weight in zip(digits, (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1), strict=True))
    return int(number[4:6]) <= 12 and sum(sum(divmod(product, 10)) for product in products) % 10 == int(number[11])


def french_nir(number: str) -> bool:
    """France: a month, and the key 97 - n mod 97; Corsica's 2A and 2B count as 19 and 18."""
    month = int(number[3:5])
    body = number[:13].replace("2A", "19").replace("2B", "18")
    return (1 <= month <= 12 or 20 <= month <= 42 or month >= 50) and 97 - int(body) % 97 == int(number[13:])


def spanish_dni(number: str) -> bool:
    """Spain: the letter of n mod 23; foreigners' X, Y, Z count as 0, 1, 2. Eight digits that form a date fail."""
    digits = number[:-1].translate(str.maketrans("XYZ", "012"))
    day = (
        number[0] in "12" and number[1] in "90" and is_day(digits[:4], digits[4:6], digits[6:])
        if len(digits) == 8
        else False
    )
    return not day and "TRWAGMYFPDXBNJZSQVHLCKE"[int(digits) % 23] == number[-1]


_CF_ODD = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16,
         10, 22, 25, 24, 23),
        strict=True,
    )
)  # fmt: skip


def italian_cf(number: str) -> bool:
    """Italy: the check letter of the codice fiscale."""
    even = sum(int(one) if one.isdigit() else ord(one) - 65 for one in number[1:15:2])
    return (even + sum(_CF_ODD[one] for one in number[:15:2])) % 26 == ord(number[15]) - 65


def dutch_bsn(number: str) -> bool:
    """Netherlands: the eleven test."""
    return weighted(number, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0 and len(set(number)) > 1


def belgian(number: str) -> bool:
    """Belgium: a birth date and 97 - n mod 97; for births since 2000, n is prefixed with 2."""
    return is_day(number[:2], number[2:4], number[4:6]) and int(number[9:]) in (
        97 - int(number[:9]) % 97,
        97 - int("2" + number[:9]) % 97,
    )


def swiss_ahv(number: str) -> bool:
    """Switzerland: the check digit of an EAN article number."""
    return ean(number)


def austrian(number: str) -> bool:
    """Austria: a mod 11 check digit in fourth place, then a birth date."""
    total = weighted(number[:3] + number[4:], (3, 7, 9, 5, 8, 4, 2, 1, 6))
    return total % 11 == int(number[3]) and 1 <= int(number[6:8]) <= 15


def swedish(number: str) -> bool:
    """Sweden: a birth date (a day from 61 on: a coordination number) and Luhn."""
    number = number.replace("+", "")[-10:]
    day = int(number[4:6]) % 60
    return luhn(number) and is_day(number[:2], number[2:4], str(day))


def norwegian(number: str) -> bool:
    """Norway: a birth date and two check digits; D numbers add 40 to the day."""
    first = weighted(number, (3, 7, 6, 1, 8, 9, 4, 5, 2, 1)) % 11 == 0
    return first and weighted(number, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0 and is_day(
        number[4:6], number[2:4], str(int(number[:2]) % 40)
    )  # fmt: skip


def danish(number: str) -> bool:
    """Denmark: a birth date; since 2007 numbers need no check digit."""
    return is_day(number[4:6], number[2:4], number[:2])


def finnish(number: str) -> bool:
    """Finland: a birth date and the letter of n mod 31."""
    digits = number[:6] + number[-4:-1]
    return (
        is_day(number[4:6], number[2:4], number[:2])
        and "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(digits) % 31] == number[-1]
    )


def icelandic(number: str) -> bool:
    """Iceland: a birth date and mod 11."""
    return weighted(number, (3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0 and is_day(number[4:6], number[2:4], number[:2])


def pesel(number: str) -> bool:
    """Poland: a birth date with the century in the month, and mod 10."""
    date = is_day(number[:2], str(int(number[2:4]) % 20), number[4:6])
    return date and weighted(number, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0


def czech(number: str) -> bool:
    """Czechia and Slovakia: a birth date (women's months add 50), and divisible by 11; nine digits until 1953."""
    month = int(number[2:4]) % 50
    date = is_day(number[:2], str(month - 20 if month > 20 else month), number[4:6])
    return date and (len(number) == 9 or int(number[:9]) % 11 % 10 == int(number[9]))


def romanian(number: str) -> bool:
    """Romania: a birth date and mod 11."""
    total = weighted(number[:12], (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11
    return is_day(number[1:3], number[3:5], number[5:7]) and (1 if total == 10 else total) == int(number[12])


def bulgarian(number: str) -> bool:
    """Bulgaria: a birth date with the century in the month, and mod 11."""
    date = is_day(number[:2], str(int(number[2:4]) % 20), number[4:6])
    return date and weighted(number[:9], (2, 4, 8, 5, 10, 9, 7, 3, 6)) % 11 % 10 == int(number[9])


def croatian(number: str) -> bool:
    """Croatia: mod 11,10."""
    return mod_11_10(number)


def jmbg(number: str) -> bool:
    """Former Yugoslavia: a birth date and mod 11."""
    total = 11 - weighted(number[:12], (7, 6, 5, 4, 3, 2) * 2) % 11
    return is_day(number[5:7], number[2:4], number[:2]) and (0 if total > 9 else total) == int(number[12])


def baltic(number: str) -> bool:
    """Estonia and Lithuania: a birth date and mod 11 with two sets of weights."""
    total = weighted(number[:10], (1, 2, 3, 4, 5, 6, 7, 8, 9, 1)) % 11
    if total == 10:
        total = weighted(number[:10], (3, 4, 5, 6, 7, 8, 9, 1, 2, 3)) % 11 % 10
    return is_day(number[1:3], number[3:5], number[5:7]) and total == int(number[10])


def latvian(number: str) -> bool:
    """Latvia: a birth date and mod 11; numbers that begin with 32 have none."""
    if number[:2] == "32":
        return True
    total = (1101 - weighted(number[:10], (1, 6, 3, 7, 9, 10, 5, 8, 4, 2))) % 11 % 10
    return is_day(number[4:6], number[2:4], number[:2]) and total == int(number[10])


def hungarian(number: str) -> bool:
    """Hungary: the tax number of a person, mod 11."""
    return number[0] == "8" and weighted(number[:9], range(1, 10)) % 11 == int(number[9])


def greek(number: str) -> bool:
    """Greece: a birth date and Luhn."""
    return luhn(number) and is_day(number[4:6], number[2:4], number[:2])


def turkish(number: str) -> bool:
    """Turkey: two check digits."""
    digits = [int(digit) for digit in number]
    tenth = (7 * sum(digits[:9:2]) - sum(digits[1:8:2])) % 10
    return digits[9] == tenth and digits[10] == sum(digits[:10]) % 10


def snils(number: str) -> bool:
    """Russia: pension insurance, the sum of weights 9 to 1, mod 101."""
    return weighted(number[:9], range(9, 0, -1)) % 101 % 100 == int(number[9:])


def russian_inn(number: str) -> bool:
    """Russia: the tax number of a person, two check digits."""
    eleventh = weighted(number[:10], (7, 2, 4, 10, 3, 5, 9, 4, 6, 8)) % 11 % 10
    twelfth = weighted(number[:11], (3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8)) % 11 % 10
    return (eleventh, twelfth) == (int(number[10]), int(number[11]))


def ukrainian(number: str) -> bool:
    """Ukraine: the tax number of a person, mod 11."""
    return weighted(number[:9], (-1, 5, 7, 9, 4, 6, 10, 5, 7)) % 11 % 10 == int(number[9])


def portuguese(number: str) -> bool:
    """Portugal: the tax number of a person, mod 11."""
    return (11 - weighted(number[:8], range(9, 1, -1)) % 11) % 11 % 10 == int(number[8])


def irish(number: str) -> bool:
    """Ireland: the letter of mod 23; the second letter counts nine times."""
    second = ord(number[8]) - 64 if len(number) == 9 and number[8] != "W" else 0
    return "WABCDEFGHIJKLMNOPQRSTUV"[(weighted(number[:7], range(8, 1, -1)) + 9 * second) % 23] == number[7]
