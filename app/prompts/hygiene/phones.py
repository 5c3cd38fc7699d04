"""Phone numbers in folded text: valid according to libphonenumber, in a form that people write."""

import re
from collections.abc import Iterator
from itertools import islice, pairwise

from app.prompts.hygiene.context import WORD, in_a_formula, is_a_key, is_of_a_thing, near, vocabulary, word_set
from app.prompts.hygiene.kinds import Hit, PersonalData

# Regions whose numbers are recognized without a country code. With one, all regions are.
REGIONS = (
    "US", "GB", "DE", "FR", "IT", "ES", "NL", "BE", "AT", "CH", "PL", "SE", "NO", "IE", "PT", "AU", "NZ", "IN", "CN",
    "JP", "KR", "BR", "MX", "RU", "TR", "ZA",
)  # fmt: skip
_FEWEST_DIGITS, _MOST_DIGITS = 7, 17
_MOST_GROUPS = 8  # of digits; the last ones are dropped one by one until the rest is a number
_MOST_BRACKETS = 2
_MOST_INVALID = 2_000  # tries of 65 us each; only a text crafted to be slow needs more
_CLUMP = re.compile(
    rf"(?<![{WORD}+])(?<![{WORD}][/-])(?<![0-9][.,:])"
    r"\+?(?:\((?=\+?[0-9]{1,5}\)))?\+?[0-9][-0-9 ()./·]{5,28}"
)
_GROUP = re.compile("[0-9]+")
_DIGITS_BEFORE = re.compile("[0-9] $")
_WORD_BEFORE = re.compile(r"([^\W\d_]+) $")
_GOES_ON = re.compile(rf"[{WORD}%]|[.,:/-][0-9]")
_PREFIX = re.compile(r"\(?\+|00(?=[1-9])|011[ -]")  # before a country code
_EXTENSION = re.compile(
    r",? ?(?:ext\.?|extension|x|#|durchwahl|poste|доб\.?) ?[0-9]{1,6}(?![0-9A-Za-z])", re.IGNORECASE
)
_LINK = re.compile(r"(?:wa\.me/|[?&]phone=|(?<![A-Za-z])(?:tel|sms|callto):)(\+?[0-9]{8,15})(?![0-9])")
# Formats that need no word for phones nearby, and how all of them begin.
_NORTH_AMERICAN = re.compile(r"(?:1[ .-]?)?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[-./])[0-9]{3}[-.][0-9]{4}")
_AREA_IN_BRACKETS = re.compile(r"(?:[0-9] ?)?\([0-9]{2,5}\) ?[0-9]{3,5}[- ][0-9-]{4,6}")
_TRUNK = re.compile(r"\(?0[1-9][0-9 ()./·-]{7,18}")
_BEGIN = re.compile(r"[+(]|0[1-9]|00[1-9]|011[ -]|[2-9][0-9]{2}[-./]|1[ .-]?[(2-9]|[0-9] ?\(")
_DATE = re.compile(r"[0-9]{1,4}([./-])[0-9]{1,2}\1[0-9]{2,4}(?![0-9./-])")
_HEX_PAIRS = re.compile(r" [0-9a-f]{2} [0-9a-f]{2}(?![0-9a-z])")
# Amounts (12 000 000), what they count, and the words that may separate a word for phones from a number.
_AMOUNT = re.compile("[1-9][0-9 .]+|0[0-9]{2} [0-9 ]+")  # the second alternative is the tail of a longer amount
_UNIT = re.compile(
    r" ?(?:[kKMGT]?(?:Hz|B|W|bit)|people|persons?|percent|per|million|euros?|yen|mal|menschen|personas|[€$£¥])(?![a-z])"
    r"| (?!(?:this|thus|plus|was|us|yes|always|unless|pls|thanks|gracias|tras|los|las|les|nous|vous|dans)\b)"
    r"[a-z]{2,20}s(?!\w)",
    re.IGNORECASE,
)
_YEAR = re.compile("(?:19|20)[0-9]{2}")
_BETWEEN = word_set(
    "number numbers no nr num is at on under my our to me us him her you home work office private the a al el es mi su "
    "numero número nummer nr unter meine mein ist tu il mio è pod numer jest au le la de mon est now or and anytime"
)
_COUNTED = word_set("calls called texted sms")
_SAID_BEHIND = re.compile(r",? (?:(?:is|es|ist|jest|è|est|is also) (?:my|mi|mein|mój|il|mon|the|our) |\()[^\W\d_]+")
Invalid = set[tuple[str, str | None]]  # (number, region) pairs already found invalid
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
    """Yield the phone numbers in a folded text.

    A number with a country code must be valid; one without also needs a format that only phone numbers have, or a
    word for phones nearby.
    """
    for link in _LINK.finditer(text):
        yield Hit(PersonalData.PHONE, *link.span(1))
    place = 0
    invalid: Invalid = set()
    speaks_of_phones: bool | None = None
    while clump := _CLUMP.search(text, place):
        start, end = clump.span()
        place = next(_GROUP.finditer(text, start)).end()  # every clump has digits
        if clump[0].count("(") > _MOST_BRACKETS:
            continue
        amid_digits = text[start].isdigit() and _DIGITS_BEFORE.search(text[max(0, start - 2) : start])
        if amid_digits or not _BEGIN.match(text, start):
            if speaks_of_phones is None:
                speaks_of_phones = _A_PHONE.is_in(text) or _TO_PHONE.is_in(text)
            if not speaks_of_phones or (amid_digits and text[start] != "0"):
                continue
        if text[end - 1].isdigit() and text[end : end + 1].isdigit():
            end = start + len(clump[0].rstrip("0123456789"))  # the match ended within a group of digits
        ends = [group.end() for group in islice(_GROUP.finditer(text, start, end), _MOST_GROUPS)]
        if found := _end_of_phone(text, start, ends, invalid):
            extension = _EXTENSION.match(text, found)
            place = extension.end() if extension else found
            yield Hit(PersonalData.PHONE, start, place)


def _end_of_phone(text: str, start: int, ends: list[int], invalid: Invalid) -> int | None:
    """Return the last of `ends` at which text[start:end] is a phone number, or None."""
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
    abroad = prefix is not None and prefix[0][-1] == "+"
    for end in reversed(ends):
        written = text[start:end]
        digits = sum(map(str.isdigit, written))
        if digits < _FEWEST_DIGITS:
            break
        if digits > _MOST_DIGITS or written.count("(") != written.count(")") or _GOES_ON.match(text, end):
            continue
        if not named and in_a_formula(text, start, end):
            continue
        if not prefix and _is_an_amount(text, start, end, bool(announced)):
            return None
        if prefix and (abroad or announced or len(written) > digits):
            parted = len(written) > digits + 2
            if _is_valid("+" + written[prefix.end() :], None, invalid, possible=announced or parted):
                return end
            if abroad:
                continue
        formed = _looks_like_a_phone(text, start, end)
        if formed and announced:  # film numbers (555-123-4567) are invalid, but meant as phones
            return end
        likely = formed or labelled
        if (likely or named or (announced and digits > 8)) and any(
            _is_valid(written, region, invalid, grouped=not likely) for region in REGIONS
        ):
            return end
    return None


def _is_an_amount(text: str, start: int, end: int, announced: bool) -> bool:
    """Return whether text[start:end] is an amount, a list of years, or a sequence of numbers."""
    written = text[start:end]
    groups = _GROUP.findall(written)
    numbers = [int(group) for group in groups]
    if len(groups) > 1:
        steps = {after - before for before, after in pairwise(numbers)}
        pairs = len(groups) > 3 and all(len(group) == 2 for group in groups)
        ordered = "-" not in written and (all(step >= 0 for step in steps) or all(step <= 0 for step in steps))
        drawn = pairs and ordered and max(numbers) <= 50 and not announced  # lottery numbers, or primes
        if drawn or (len(steps) == 1 and len(groups) > 2):
            return True
        rounded = re.fullmatch("[1-9][0-9 ]+", written) and all(group.endswith("00") for group in groups[-2:])
        if rounded or all(map(_YEAR.fullmatch, groups)):
            return True
    if not _AMOUNT.fullmatch(written) or any(len(group) != 3 for group in groups[1:]) or len(groups[-1]) < 3:
        return False
    if len(groups) == 1:
        return written.endswith("000000") or bool(_UNIT.match(text, end))
    if len(groups[0]) > 3:
        return False
    return groups[-1] == "000" or bool(_UNIT.match(text, end)) or not _is_said_to_be_one(text, start, end)


def _is_said_to_be_one(text: str, start: int, end: int) -> bool:
    """Return whether a word for phones is directly before or after text[start:end]."""
    before = text[max(0, start - 40) : start].lower()
    words = re.findall(r"[^\W\d_]+", before)
    while words and words[-1] in _BETWEEN:
        words.pop()
    if words and words[-1] in (_A_PHONE.words | _TO_PHONE.words) - _COUNTED:
        return True
    if any(part in before[-16:] for part in (*_A_PHONE.parts, *_TO_PHONE.parts)):
        return True
    behind = _SAID_BEHIND.match(text, end)
    return behind is not None and _A_PHONE.is_in(behind[0])


def _looks_like_a_phone(text: str, start: int, end: int) -> bool:
    """Return whether text[start:end] has a typical phone format: (415) 555-0132, 020 7946 0018, 0171/1234567."""
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
    """Return whether the number is valid in the region, or anywhere if `region` is None.

    `grouped`: it must also be in one block or grouped as usual in the region. `possible`: a possible length is enough.
    """
    if (written, region) in invalid or len(invalid) >= _MOST_INVALID:
        return False
    import phonenumbers  # takes 50 ms, and 5 ms per region; only texts with a candidate need it

    try:
        number = phonenumbers.parse(written, region)
    except phonenumbers.NumberParseException:
        number = None
    if number and (phonenumbers.is_possible_number(number) if possible else phonenumbers.is_valid_number(number)):
        groups = _GROUP.findall(written)
        if not grouped or len(groups) == 1:
            return True
        usual = _GROUP.findall(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL))
        if usual[1:] == groups[1:] and usual[0].endswith(groups[0]):  # the trunk prefix may be missing
            return True
    invalid.add((written, region))
    return False
