"""Phone numbers in folded text: valid ones by libphonenumber, in a form that people write."""

import re
from collections.abc import Iterator
from itertools import islice

from app.prompts.hygiene.context import WORD, in_a_formula, is_a_key, is_of_a_thing, near, vocabulary
from app.prompts.hygiene.kinds import Hit, PersonalData

# Regions whose numbers are known without their country's code. A number of any region is known with it.
REGIONS = (
    "US", "GB", "DE", "FR", "IT", "ES", "NL", "BE", "AT", "CH", "PL", "SE", "NO", "IE", "PT", "AU", "NZ", "IN", "CN",
    "JP", "KR", "BR", "MX", "RU", "TR", "ZA",
)  # fmt: skip
_FEWEST_DIGITS, _MOST_DIGITS = 7, 17
_MOST_GROUPS = 8  # of digits; the last are left out one by one until the rest is a number
_MOST_BRACKETS = 2
_MOST_INVALID = 2_000  # tries of 65 us each; a text needs more only if it was made to be slow
_CLUMP = re.compile(
    rf"(?<![{WORD}+])(?<![{WORD}][/-])(?<![0-9][.,:])"
    r"\+?(?:\((?=\+?[0-9]{1,5}\)))?\+?[0-9][-0-9 ()./·]{5,28}"
)
_GROUP = re.compile("[0-9]+")
_DIGITS_BEFORE = re.compile("[0-9] $")
_WORD_BEFORE = re.compile(r"([^\W\d_]+) $")
_GOES_ON = re.compile(rf"[{WORD}%]|[.,:/-][0-9]")
_PREFIX = re.compile(r"\(?\+|00(?=[1-9])|011[ -]")  # before a country's code
_EXTENSION = re.compile(
    r",? ?(?:ext\.?|extension|x|#|durchwahl|poste|доб\.?) ?[0-9]{1,6}(?![0-9A-Za-z])", re.IGNORECASE
)
_LINK = re.compile(r"(?:wa\.me/|[?&]phone=|(?<![A-Za-z])(?:tel|sms|callto):)(\+?[0-9]{8,15})(?![0-9])")
# Forms of numbers that need no word for phones, and how all of them begin.
_NORTH_AMERICAN = re.compile(r"(?:1[ .-]?)?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[-./])[0-9]{3}[-.][0-9]{4}")
_AREA_IN_BRACKETS = re.compile(r"(?:[0-9] ?)?\([0-9]{2,5}\) ?[0-9]{3,5}[- ][0-9-]{4,6}")
_TRUNK = re.compile(r"\(?0[1-9][0-9 ()./·-]{7,18}")
_BEGIN = re.compile(r"[+(]|0[1-9]|00[1-9]|011[ -]|[2-9][0-9]{2}[-./]|1[ .-]?[(2-9]|[0-9] ?\(")
_DATE = re.compile(r"[0-9]{1,4}([./-])[0-9]{1,2}\1[0-9]{2,4}(?![0-9./-])")
_HEX_PAIRS = re.compile(r" [0-9a-f]{2} [0-9a-f]{2}(?![0-9a-z])")
Invalid = set[tuple[str, str | None]]  # numbers and regions that were tried in vain
# Words for phones. The name of one ("tel", "Handy") says more than a verb ("call", "text").
_A_PHONE = vocabulary(
    "phone phones telephone telephones telefon telefono telefoon telefone teléfono tel tlf tél mobile mobiles mobil "
    "móvil mob cellphone tfno tfn cel ph whatsapp sms fax hotline landline handy handynummer festnetz rufnummer "
    "mobilnummer telefonnummer celular cellulare téléphone portable fixe gsm komórka komórki cep телефон телефона моб "
    "signal zadzwoń puhelin matkapuhelin",
    "电话,電話,手机,手機,携帯,전화,휴대폰,फ़ोन,फोन,मोबाइल,هاتف,جوال,טלפון,โทร,☎,📞,📱",
)
_TO_PHONE = vocabulary(
    "cell call calls called calling dial ring text texted reach contact contacts anrufen rückruf ruf llama llámame "
    "llamar appelle appellez appeler chiama bel ligue позвони звоните",
    "my number,number is,meine nummer,mi número,mon numéro",
)


def phones(text: str) -> Iterator[Hit]:
    """Yield the phone numbers of a folded text.

    A number with a country's code is taken where it is valid; one without needs a form that phones alone have, or a
    word for phones near it.
    """
    for link in _LINK.finditer(text):
        yield Hit(PersonalData.PHONE, *link.span(1))
    place = 0
    invalid: Invalid = set()
    speaks_of_phones: bool | None = None
    while clump := _CLUMP.search(text, place):
        start, end = clump.span()
        place = _GROUP.search(text, start).end()
        if clump[0].count("(") > _MOST_BRACKETS:
            continue
        amid_digits = text[start].isdigit() and _DIGITS_BEFORE.search(text[max(0, start - 2) : start])
        if amid_digits or not _BEGIN.match(text, start):
            if speaks_of_phones is None:
                speaks_of_phones = _A_PHONE.is_in(text) or _TO_PHONE.is_in(text)
            if not speaks_of_phones or (amid_digits and text[start] != "0"):
                continue
        if text[end - 1].isdigit() and text[end : end + 1].isdigit():
            end = start + len(clump[0].rstrip("0123456789"))  # it was cut within a group of digits
        ends = [group.end() for group in islice(_GROUP.finditer(text, start, end), _MOST_GROUPS)]
        end = _end_of_phone(text, start, ends, invalid)
        if end:
            extension = _EXTENSION.match(text, end)
            place = extension.end() if extension else end
            yield Hit(PersonalData.PHONE, start, place)


def _end_of_phone(text: str, start: int, ends: list[int], invalid: Invalid) -> int | None:
    """Return at which of the ends a phone number ends that begins at `start`: the last that makes it one, or None."""
    whole = text[start : ends[-1]] if ends else ""
    if sum(map(str.isdigit, whole)) < _FEWEST_DIGITS:
        return None
    named = near(_A_PHONE, text, start, start, before=24)
    if not named and (is_a_key(text, start) or is_of_a_thing(text, start)):
        return None
    word = _WORD_BEFORE.search(text[max(0, start - 16) : start])
    labelled = named and not (word and word[1].lower() in _A_PHONE.words)  # "Phone: 12 345", unlike "Phone 12 345"
    called = near(_TO_PHONE, text, start, ends[-1], before=20, after=22)
    announced = named or called or near(_A_PHONE, text, start, ends[-1], before=0, after=22)
    prefix = _PREFIX.match(whole)
    abroad = prefix and prefix[0][-1] == "+"
    for end in reversed(ends):
        written = text[start:end]
        digits = sum(map(str.isdigit, written))
        if digits < _FEWEST_DIGITS:
            break
        if digits > _MOST_DIGITS or written.count("(") != written.count(")") or _GOES_ON.match(text, end):
            continue
        if not named and in_a_formula(text, start, end):
            continue
        if abroad or (prefix and (announced or len(written) > digits)):
            parted = len(written) > digits + 2
            if _is_valid("+" + written[prefix.end() :], None, invalid, possible=announced or parted):
                return end
            if abroad:
                continue
        formed = _looks_like_a_phone(text, start, end)
        if formed and announced:  # films' numbers are invalid (555-123-4567), and are meant as phones all the same
            return end
        likely = formed or labelled
        if (likely or named or (announced and digits > 8)) and any(
            _is_valid(written, region, invalid, grouped=not likely) for region in REGIONS
        ):
            return end
    return None


def _looks_like_a_phone(text: str, start: int, end: int) -> bool:
    """Return whether text[start:end] has a form that little else has: (415) 555-0132, 020 7946 0018, 0171/1234567."""
    written = text[start:end]
    if _DIGITS_BEFORE.search(text[max(0, start - 2) : start]) or re.match(" [0-9]", text[end : end + 2]):
        return False
    if _NORTH_AMERICAN.fullmatch(written) or _AREA_IN_BRACKETS.fullmatch(written):
        return True
    groups = _GROUP.findall(written)
    if not _TRUNK.fullmatch(written) or _DATE.match(written) or len(groups) < 2:
        return False
    digits = sum(map(len, groups))
    pairs = all(len(group) == 2 for group in groups)
    return digits >= 9 and (not pairs or (digits == 10 and not _HEX_PAIRS.match(text, end)))


def _is_valid(
    written: str, region: str | None, invalid: Invalid, *, grouped: bool = False, possible: bool = False
) -> bool:
    """Return whether the number is valid in the region.

    `grouped`: and is written in one block or in the region's groups. `possible`: or is only as long as a valid one.
    """
    if (written, region) in invalid or len(invalid) >= _MOST_INVALID:
        return False
    import phonenumbers  # 50 ms, and 5 for each region's numbers; only a text with a candidate needs it

    try:
        number = phonenumbers.parse(written, region)
    except phonenumbers.NumberParseException:
        number = None
    if number and (phonenumbers.is_possible_number(number) if possible else phonenumbers.is_valid_number(number)):
        groups = _GROUP.findall(written)
        if not grouped or len(groups) == 1:
            return True
        usual = _GROUP.findall(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL))
        if usual[1:] == groups[1:] and usual[0].endswith(groups[0]):  # which may lack the digit that is dialled first
            return True
    invalid.add((written, region))
    return False
