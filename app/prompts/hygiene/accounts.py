"""Payment cards and bank accounts in folded text."""

import re
from collections.abc import Iterator

from app.prompts.hygiene.check_digits import luhn, mod_97
from app.prompts.hygiene.context import (
    NOT_AFTER_WORD,
    NOT_BEFORE_WORD,
    WORD,
    is_a_key,
    is_of_a_thing,
    mentions,
    near,
    vocabulary,
)
from app.prompts.hygiene.kinds import Hit, PersonalData

_CARD = re.compile(
    rf"(?<![{WORD}+])(?<![{WORD}][/-])(?<![0-9][.,])"
    r"(?:[0-9]{13,19}|[0-9]{4}([ .-]{1,2})[0-9]{4}\1[0-9]{4}\1[0-9]{1,7}|[0-9]{4}([ .-])[0-9]{6}\2[0-9]{4,5})"
    rf"(?![{WORD}]|[.,][0-9])"
)
_CARD_IN_ANY_GROUPS = re.compile(
    rf"(?<![{WORD}+])(?<![{WORD}][/-])(?<![0-9][.,])[0-9](?:[ .-]?[0-9]){{12,18}}(?![{WORD}]|[.,][0-9])"
)
# Issuers (ISO/IEC 7812): Visa, Mastercard, Amex, Discover, Diners, JCB, UnionPay, Maestro, Mir, RuPay and Elo
_ISSUER = re.compile(
    r"4(?:.{12}|.{15}|.{18})|5[1-5].{14}|2(?:22[1-9]|2[3-9].|[3-6]..|7[01].|720).{12}|3[47].{13}"
    r"|6(?:011|4[4-9].|5..).{12}|3(?:0[0-59].|[689]..).{10}|35(?:2[89]|[3-8].).{12}|62.{14,17}"
    r"|(?:5018|5020|5038|5893|6304|6759|676[1-3]).{8,15}|220[0-4].{12}|(?:508[5-9]|5067|6069|81..).{12}"
)
_A_CARD = vocabulary(
    "card cards visa mastercard maestro amex discover diners jcb karte kreditkarte carte tarjeta carta cartão kort "
    "kreditkort karta карта pan cc",
    "kartennummer,kortnummer,银行卡,信用卡,カード,카드",
)

# Length of each country's IBANs (ISO 13616).
_LENGTHS = {
    written[:2]: int(written[2:])
    for written in re.findall(
        "[A-Z]+[0-9]+",
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 "
        "ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 "
        "LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 "
        "PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 "
        "YE30",
    )
}
_IBAN = re.compile(rf"{NOT_AFTER_WORD}([A-Za-z]{{2}})[0-9]{{2}}[ -]?[0-9A-Za-z]")
_ABOUT_BANKS = vocabulary(
    "bank wire transfer deposit pay rent iban bic routing bsb", "überweis,sort code,account holder,branch code"
)
_IS = r"[ ]?(?:is|ist|es|est|:|=|#)?[ :]{0,2}"
_NUMBERED = re.compile(
    rf"{NOT_AFTER_WORD}(?:((?:bank|checking|savings) )?(?:account|acct?|a/c)\.?(?: ?(number|no\.?|num\.?|nr\.?|#))?"
    r"|(kontonummer|konto-?nr\.?|número de cuenta|nº de cuenta|numéro de compte|numero di conto|número da conta|"
    r"conta corrente|rekeningnummer|numer konta|номер сч[её]та|账号|账户|口座番号|clabe|kto\.?))s?"
    rf"{_IS}([0-9][0-9 -]{{4,24}}[0-9]){NOT_BEFORE_WORD}",
    re.IGNORECASE,
)
_STEMS = (
    "acc", "a/c", "kont", "kto", "clabe", "cuenta", "compte", "conta", "rekening", "счет", "счёт", "账", "口座", "sort",
    "bsb", "blz", "bankleit", "routing", "aba",
)  # fmt: skip
_BRANCH = re.compile(
    rf"{NOT_AFTER_WORD}(?:sort ?code|bsb|blz|bankleitzahl|(routing|aba)(?: transit)?)(?: ?(?:number|no\.?|nr\.?|#))?"
    rf"{_IS}([0-9][0-9 -]{{4,9}}[0-9]){NOT_BEFORE_WORD}",
    re.IGNORECASE,
)


def cards(text: str) -> Iterator[Hit]:
    """Yield the payment card numbers in a folded text: of known issuers, with a valid Luhn check digit."""
    for pattern in (_CARD, _CARD_IN_ANY_GROUPS):
        for match in pattern.finditer(text):
            start, end = match.span()
            digits = re.sub("[^0-9]", "", match[0])
            if not _ISSUER.fullmatch(digits) or not luhn(digits) or len(set(digits)) < 2:
                continue
            of_a_thing = is_of_a_thing(text, start) or is_a_key(text, start) or _in_a_row(text, start, end, digits)
            if near(_A_CARD, text, start, end, before=30, after=20) or (pattern is _CARD and not of_a_thing):
                yield Hit(PersonalData.CARD, start, end)


def _in_a_row(text: str, start: int, end: int, digits: str) -> bool:
    """Return whether more groups of four digits precede or follow, or the groups are round: 5000 5100 5200 5300."""
    goes_on = re.search(r"[0-9]{4} $", text[max(0, start - 5) : start]) or re.match(
        r" [0-9]{4}(?![0-9/])", text[end : end + 6]
    )
    return bool(goes_on) or all(digits[place : place + 2] == "00" for place in (2, 6, 10))


def bank_accounts(text: str) -> Iterator[Hit]:
    """Yield the IBANs in a folded text, and the account numbers and bank codes that are labelled as such."""
    for match in _IBAN.finditer(text):
        length = _LENGTHS.get(match[1].upper())
        end = length and _end_of_iban(text, match.start(), length)
        if end:
            yield Hit(PersonalData.BANK_ACCOUNT, match.start(), end)
    if not mentions(text, _STEMS):
        return
    for match in _NUMBERED.finditer(text):
        digits = re.sub("[^0-9]", "", match[4])
        said = any(match.group(1, 2, 3)) or near(_ABOUT_BANKS, text, *match.span(), before=40, after=40)
        if said and 6 <= len(digits) <= 20:
            yield Hit(PersonalData.BANK_ACCOUNT, *match.span(4))
    for match in _BRANCH.finditer(text):
        digits = re.sub("[^0-9]", "", match[2])
        if len(digits) in (6, 8) or (match[1] and len(digits) == 9):
            yield Hit(PersonalData.BANK_ACCOUNT, *match.span(2))


def _end_of_iban(text: str, start: int, length: int) -> int | None:
    """Return the end of the IBAN of `length` characters that begins at `start`, or None if it is not one."""
    match = re.match(r"[0-9A-Za-z -]{15,50}", text[start : start + 50])
    written = match[0] if match else ""
    places = [place for place, character in enumerate(written) if character.isalnum()]
    if len(places) < length:
        return None
    end = places[length - 1] + 1
    compact = re.sub("[ -]", "", written[:end]).upper()
    if re.match(rf"[{WORD}]", text[start + end : start + end + 1]) or "  " in written[:end]:
        return None
    return start + end if mod_97(compact[4:] + compact[:4]) and compact[2:4] not in ("00", "01", "99") else None
