"""Identity numbers in folded text: each country's patterns, and the words that announce them.

A number that could be anything (one in eleven nine-digit numbers has a valid check digit) needs such a word.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import NamedTuple

from app.prompts.hygiene import european_checks as europe
from app.prompts.hygiene import national_checks as check
from app.prompts.hygiene.context import NOT_BEFORE_WORD, WORD, Vocabulary, is_of_a_thing, near, vocabulary
from app.prompts.hygiene.kinds import Hit, PersonalData

_LEFT = rf"(?<![{WORD}+])(?<![{WORD}][./-])"
_RIGHT = rf"{NOT_BEFORE_WORD}(?![.,/-][0-9])"


class Rule(NamedTuple):
    """Pattern and check of an identity number; with `announced_by`, one of these words must be near."""

    pattern: re.Pattern[str]
    is_valid: Callable[[str], bool]  # takes the number in capitals, without punctuation and spaces
    announced_by: Vocabulary | None


def _rule(pattern: str, is_valid: Callable[[str], bool], words: str = "", parts: str = "") -> Rule:
    announced_by = vocabulary(words, parts) if words or parts else None
    return Rule(re.compile(f"(?:{pattern}){_RIGHT}", re.IGNORECASE | re.ASCII), is_valid, announced_by)


RULES: tuple[Rule, ...] = (
    # United States: social security number, individual taxpayer number
    _rule(r"[0-9]{3}-[0-9]{2}-[0-9]{4}", check.us_ssn),
    _rule(
        r"[0-9]{3}[ .-]?[0-9]{2}[ .-]?[0-9]{4}",
        check.us_ssn,
        "ssn ssns itin",
        "social security,soc sec,soc. sec,my social,social is,social #",
    ),
    # United Kingdom: national insurance number, NHS number
    _rule(r"[A-Z]{2} [0-9]{2} [0-9]{2} [0-9]{2} [A-D]", europe.uk_nino),
    _rule(r"[A-Z]{2} ?[0-9]{6} ?[A-D]", europe.uk_nino, "nino ni hmrc", "n.i.,national ins,nat ins"),
    _rule(r"[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{4}", europe.uk_nhs, "nhs"),
    # Germany: tax number, identity card and passport with their check digit, pension insurance
    _rule(
        r"[1-9][0-9] ?[0-9]{3} ?[0-9]{3} ?[0-9]{3}",
        europe.german_tax_id,
        "tin idnr identifikationsnummer",
        "steuer-id,steuerid,steuerliche,steuernummer,id-nr,tax id,tax number",
    ),
    _rule(
        r"[CFGHJKLMNPRTVWXYZ][0-9CFGHJKLMNPRTVWXYZ]{8} ?[0-9]",
        europe.german_document,
        "perso",
        "ausweis,reisepass,id card,identity card,passport",
    ),
    _rule(r"[CFGHJKLMNPRTVWXYZ][0-9CFGHJKLMNPRTVWXYZ]{8}", check.has_digits, "", "ausweis,reisepass"),
    _rule(r"[0-9]{2} ?[0-9]{6} ?[A-Z] ?[0-9]{3}", europe.german_pension, "", "rentenvers,sozialvers,sv-n,svnr"),
    # France, Spain, Italy, Portugal, Ireland
    _rule(r"[1-478] ?[0-9]{2} ?[0-9]{2} ?(?:[0-9]{2}|2[AB]) ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}", europe.french_nir),
    _rule(r"(?:[0-9]{8}|[0-9]{2}\.[0-9]{3}\.[0-9]{3})[ -]?[A-Z]|[XYZ][ -]?[0-9]{7}[ -]?[A-Z]", europe.spanish_dni),
    _rule(r"[A-Z]{6} ?[0-9LMNP-V]{2}[A-EHLMPR-T][0-9LMNP-V]{2} ?[A-Z][0-9LMNP-V]{3}[A-Z]", europe.italian_cf),
    _rule(r"[1-3][0-9]{2} ?[0-9]{3} ?[0-9]{3}", europe.portuguese, "nif", "contribuinte"),
    _rule(r"[0-9]{7} ?[A-W][A-IW]?", europe.irish, "pps ppsn ppsno", "personal public service"),
    # Netherlands, Belgium, Switzerland, Austria
    _rule(
        r"[0-9]{4}[ .]?[0-9]{2}[ .]?[0-9]{3}|[0-9]{3}[ .][0-9]{3}[ .][0-9]{3}",
        europe.dutch_bsn,
        "bsn bsnnummer",
        "burgerservice,sofi-nummer,sofinummer",
    ),
    _rule(r"[0-9]{2}[. ]?[0-9]{2}[. ]?[0-9]{2}[- ]?[0-9]{3}[. ]?[0-9]{2}", europe.belgian),
    _rule(r"756[. ]?[0-9]{4}[. ]?[0-9]{4}[. ]?[0-9]{2}", europe.swiss_ahv),
    _rule(r"[1-9][0-9]{3} ?[0-9]{6}", europe.austrian, "svnr", "sv-n,sozialvers,versicherungsnummer"),
    # Northern Europe
    _rule(r"(?:19|20)?[0-9]{6}[-+][0-9]{4}", europe.swedish),
    _rule(r"(?:19|20)?[0-9]{10}", europe.swedish, "personnummer personnr pnr samordningsnummer", "person-n"),
    _rule(r"[0-9]{6}[ -]?[0-9]{5}", europe.norwegian),
    _rule(r"[0-9]{6}[- ]?[0-9]{4}", europe.danish, "cpr personnummer"),
    _rule(r"[0-9]{6}[-+A-FU-Y][0-9]{3}[0-9A-Y]", europe.finnish),
    _rule(r"[0-9]{6}-?[0-9]{4}", europe.icelandic, "kennitala kt"),
    # The Baltic states, Eastern and South-Eastern Europe
    _rule(r"[1-8][0-9]{10}", europe.baltic, "isikukood", "asmens kod,personal code"),
    _rule(r"[0-9]{6}-[0-9]{5}", europe.latvian, "", "personas kod,personal code"),
    _rule(r"[0-9]{11}", europe.pesel, "pesel peselu peselem"),
    _rule(r"[0-9]{6}/[0-9]{4}", europe.czech),
    _rule(r"[0-9]{9,10}", europe.czech, "rč", "rodné č,rodne č,rodné c,rodného č,r.č."),
    _rule(r"[0-9]{10}", europe.hungarian, "", "adóazonosító,adószám"),
    _rule(r"[1-9][0-9]{12}", europe.romanian, "cnp", "cod numeric,codul numeric"),
    _rule(r"[0-9]{10}", europe.bulgarian, "егн egn"),
    _rule(r"[0-9]{11}", europe.croatian, "oib"),
    _rule(r"[0-9]{13}", europe.jmbg, "jmbg јмбг emšo emso"),
    _rule(r"[0-9]{11}", europe.greek, "amka αμκα"),
    _rule(r"[1-9][0-9]{10}", europe.turkish, "tc kimlik tckn", "t.c."),
    _rule(r"[0-9]{3}-[0-9]{3}-[0-9]{3}[ -][0-9]{2}", europe.snils),
    _rule(r"[0-9]{11}", europe.snils, "снилс snils"),
    _rule(r"[0-9]{12}", europe.russian_inn, "инн inn"),
    _rule(r"[0-9]{10}", europe.ukrainian, "рнокпп іпн rntrc", "ідентифікаційн"),
    # The Americas
    _rule(r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}", check.cpf),
    _rule(r"[0-9]{3}[. ]?[0-9]{3}[. ]?[0-9]{3}[- ]?[0-9]{2}", check.cpf, "cpf"),
    _rule(r"[1-9][0-9]{2}[ -]?[0-9]{3}[ -]?[0-9]{3}", check.canadian, "SIN NAS", "social insurance,assurance sociale"),
    _rule(r"[A-Z]{4}[0-9]{6}[HMX][A-Z]{5}[0-9A-Z][0-9]", check.curp),
    _rule(r"[0-9]{1,2}\.[0-9]{3}\.[0-9]{3}-[0-9K]", check.chilean),
    _rule(r"[0-9]{7,8}-?[0-9K]", check.chilean, "rut run"),
    _rule(r"2[0347]-[0-9]{8}-[0-9]", check.argentine),
    _rule(r"2[0347]-?[0-9]{8}-?[0-9]", check.argentine, "cuit cuil"),
    # Asia
    _rule(
        r"[2-9][0-9]{3}[ -]?[0-9]{4}[ -]?[0-9]{4}",
        check.aadhaar,
        "aadhaar aadhar adhaar adhar aadhaarno uidai uid",
        "आधार",
    ),
    _rule(r"[A-Z]{3}P[A-Z][0-9]{4}[A-Z]", check.always),  # the Indian tax number of a person (P)
    _rule(r"[1-9][0-9]{5} ?[0-9]{8} ?[0-9]{3}[0-9X]", check.chinese),
    _rule(r"[A-Z][12][0-9]{8}", check.taiwanese, "taiwan taiwanese", "身分證,身份證,national id"),
    _rule(r"[A-Z]{1,2}[0-9]{6}\([0-9A]\)", check.hong_kong),
    _rule(r"[STFGM][0-9]{7}[A-Z]", check.singaporean),
    _rule(r"[0-9]{6}-[0-9]{7}", check.korean),
    _rule(
        r"[0-9]{4}[ -]?[0-9]{4}[ -]?[0-9]{4}", check.japanese, "", "マイナンバー,個人番号,my number,individual number"
    ),
    _rule(r"[1-8]-[0-9]{4}-[0-9]{5}-[0-9]{2}-[0-9]|[1-8] [0-9]{4} [0-9]{5} [0-9]{2} [0-9]", check.thai),
    _rule(r"[1-8][0-9]{12}", check.thai, "", "บัตรประชาชน,thai id,national id"),
    _rule(r"[0-9]{8}-?[0-9]", check.israeli, "תז", 'תעודת זהות,ת.ז,ת"ז,teudat zehut,israeli id'),
    _rule(r"[0-9]{10}", check.iranian, "", "کد ملی,کدملی,شماره ملی,code melli"),
    _rule(r"[0-9]{5}-[0-9]{7}-[0-9]", check.always),  # Pakistan
    # Africa and Australia
    _rule(r"[0-9]{6} ?[0-9]{4} ?[01][0-9]{2}", check.south_african),
    _rule(r"[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{2,3}", check.australian_tfn, "tfn", "tax file"),
    _rule(r"[2-6][0-9]{3}[ -]?[0-9]{5}[ -]?[0-9]", check.medicare, "medicare"),
    # Travel documents: the second line of a passport's machine-readable zone, and numbers labelled as a passport's
    _rule(r"[A-Z0-9<]{9}[0-9][A-Z<]{3}[0-9]{7}[MFX<][0-9]{7}[A-Z0-9<]{14}[0-9<][0-9]", check.mrz_line),
    _rule(
        r"[A-Z]{0,2}[0-9]{6,9}|[A-Z][0-9A-Z]{7,8}",
        check.has_digits,
        "passport passeport pasaporte passaporto paspoort reisepass reisepassnummer paszport passaporte паспорт",
        "护照,護照,旅券,パスポート",
    ),
)
_ANY = re.compile("|".join(rule.pattern.pattern for rule in RULES), re.IGNORECASE | re.ASCII)
_BEGIN = re.compile(f"{_LEFT}[0-9A-Z]", re.IGNORECASE)
_DIGIT = re.compile("[0-9]")
_BEFORE, _AFTER = 40, 16


def national_ids(text: str) -> Iterator[Hit]:
    """Yield the identity numbers in a folded text."""
    digits = [digit.start() for digit in _DIGIT.finditer(text)] + [len(text) + 99] * 6
    for begin in _BEGIN.finditer(text):
        start = begin.start()
        # Require six digits in 24 characters or four in ten, since most words do not begin a number.
        following = bisect_left(digits, start)
        sixth, fourth = digits[following + 5] - start, digits[following + 3] - start
        if (sixth >= 24 and fourth >= 10) or not _ANY.match(text, start):
            continue
        for rule in RULES:
            match = rule.pattern.match(text, start)
            if match and _counts(rule, text, start, match.end()):
                yield Hit(PersonalData.NATIONAL_ID, start, match.end())


def _counts(rule: Rule, text: str, start: int, end: int) -> bool:
    """Return whether text[start:end], which matches the rule's pattern, is an identity number."""
    if rule.announced_by:
        likely = near(rule.announced_by, text, start, end, _BEFORE, _AFTER)
    else:
        likely = not is_of_a_thing(text, start)
    number = re.sub("[^0-9A-Z<+]", "", text[start:end].upper())
    specimen = len(set(_DIGIT.findall(number))) == 1  # 00000000T: a single repeated digit is never issued
    return likely and not specimen and rule.is_valid(number)
