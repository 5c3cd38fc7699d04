"""E-mail addresses in folded text, including spelled-out ones: name (at) example (dot) com."""

import re
from collections.abc import Iterator

from app.prompts.hygiene.context import NOT_BEFORE_WORD, WORD, near, vocabulary, word_set
from app.prompts.hygiene.kinds import Hit, PersonalData

_LOCAL = rf"[{WORD}.+'-]"
_LABEL = rf"[{WORD}-]{{1,63}}"  # includes "_", which no host has, so that a name with one is matched whole and rejected
_FULL_STOP = str.maketrans("\u3002\uff61", "..")  # typed instead of a dot on Chinese and Japanese keyboards
_SIGN = re.compile(r"@|%40|&#64;")
_LOCAL_REVERSED = re.compile(rf"{_LOCAL}{{1,64}}")
_DOMAIN = re.compile(rf"[{WORD}.-]{{4,253}}")
# File extensions, which are not top-level domains: logo@2x.png, pkg@latest.json
_FILE_ENDINGS = word_set("bmp css csv exe gif html ico jpeg jpg js json pdf png svg txt webp xml yaml yml")
# Not real addresses: domains reserved by RFC 2606, and placeholders; "pkg@1.0.io" is a version.
_RESERVED_ENDS = word_set("example test invalid localhost localdomain tld")
_RESERVED_NAMES = word_set("example.com example.net example.org")
_PLACEHOLDERS = word_set("domain yourdomain mydomain yourcompany mycompany")
_VERSION = re.compile(r"v?[0-9]+\.[0-9]")
_QUOTED_REVERSED = re.compile(r'"[^"\n@]{1,62}"(?!\w)')
_SOFTWARE = frozenset({"git", "hg", "svn"})  # git@host:path is not a person's address

_AT = r"(?:at|ät|@|a|arroba|arobase|chiocciola|malpa|собака)"
_DOT = r"(?:dot|\.|punkt|punto|ponto|point|kropka|точка)"
_BRACKETED = re.compile(rf"[(\[{{<] ?{_AT} ?[)\]}}>]", re.IGNORECASE)
_DOT_BRACKETED = rf" ?[(\[{{<] ?{_DOT} ?[)\]}}>] ?"
_DOTS = rf"(?:\.|{_DOT_BRACKETED})"
_DOT_SPOKEN = r"(?: dot | punkt | punto | ponto | point )"
_DOT_WIDE = r"(?: ?\. ?| dot )"


def _spelled(at: str, dot: str) -> re.Pattern[str]:
    more = rf"(?:{dot}{_LABEL})?"
    names = rf"(?:(?:{dot}| underscore | dash | hyphen ){_LABEL})?"
    return re.compile(
        rf"(?<!{_LOCAL})({_LOCAL}{{1,64}}{names}{names}{names}){at}({_LABEL}{dot}{_LABEL}{more}{more}{more}){NOT_BEFORE_WORD}",
        re.IGNORECASE,
    )


_SPELLED_IN_BRACKETS = _spelled(rf" ?[(\[{{<] ?{_AT} ?[)\]}}>] ?", _DOTS)
_SPELLED_ALOUD = _spelled(r"(?: at | ät | arroba |@)", _DOT_SPOKEN)
_SPELLED_WIDE = _spelled(" @ ", _DOT_WIDE)
_SPELLED_HALF = _spelled(" at ", r"\.")
_SHOUTED = re.compile(rf"(?<!{_LOCAL})({_LOCAL}{{1,64}}) AT ({_LABEL} DOT {_LABEL}(?: DOT {_LABEL})?){NOT_BEFORE_WORD}")
_ALOUD = re.compile(r" (?:at|ät|arroba|@) |@[^ ]{1,63} (?:dot|punkt|punto|ponto|point) ", re.IGNORECASE)
_SPELLED_NAME = re.compile(f"(?:{_DOT_SPOKEN}| underscore | dash | hyphen )", re.IGNORECASE)
_KNOWN_ENDS = word_set("com org net edu gov info biz io app dev")
_DOT_WORD = re.compile(f"{_DOT_SPOKEN}|{_DOT_WIDE}", re.IGNORECASE)
_ABOUT_MAIL = vocabulary(
    "email emails mail mails mailto correo courriel contact contatto kontakt reach", "e-mail,write to,write me"
)


def emails(text: str) -> Iterator[Hit]:
    """Yield the e-mail addresses in a folded text."""
    text = text.translate(_FULL_STOP)
    for sign in _SIGN.finditer(text):
        found = _around(text, sign.start(), sign.end())
        if found:
            yield Hit(PersonalData.EMAIL, *found)
    if _BRACKETED.search(text):
        for match in _SPELLED_IN_BRACKETS.finditer(text):
            if _ends_like_a_domain(re.split(_DOTS, match[2], flags=re.IGNORECASE)):
                yield Hit(PersonalData.EMAIL, *match.span())
    if " AT " in text:
        for match in _SHOUTED.finditer(text):
            if _ends_like_a_domain(match[2].split(" DOT ")):
                yield Hit(PersonalData.EMAIL, *match.span())
    # "at" and "dot" are words too ("look at the dot on the map"): they make an address only if the text mentions
    # mail or the name is spelled out too.
    if _ALOUD.search(text) and (_ABOUT_MAIL.is_in(text) or _SPELLED_NAME.search(text)):
        for pattern in (_SPELLED_ALOUD, _SPELLED_WIDE, _SPELLED_HALF):
            for match in pattern.finditer(text):
                if pattern is _SPELLED_HALF and not re.search("[._0-9]", match[1]):
                    continue  # "an address at example.com"
                labels = _DOT_WORD.split(match[2])
                clear = _SPELLED_NAME.search(match[1]) and (len(labels[-1]) == 2 or labels[-1].lower() in _KNOWN_ENDS)
                clear = clear or near(_ABOUT_MAIL, text, match.start(), match.end(), before=30, after=30)
                if clear and _ends_like_a_domain(labels):
                    yield Hit(PersonalData.EMAIL, *match.span())


def _around(text: str, at: int, after: int) -> tuple[int, int] | None:
    """Return the span of the address whose @ is text[at:after], or None."""
    reversed_name = text[max(0, at - 64) : at][::-1]
    name = _LOCAL_REVERSED.match(reversed_name) or _QUOTED_REVERSED.match(reversed_name)
    domain = _DOMAIN.match(text, after)
    if not name or not domain:
        return None
    local = name[0][::-1].lstrip(".+'-")
    labels = []
    for label in domain[0].split("."):
        if not label or label != label.strip("-") or "_" in label:
            break
        labels.append(label)
    host = ".".join(labels)
    start, end = at - len(local), after + len(host)
    if not local or local.endswith(".") or not _ends_like_a_domain(labels):
        return None
    if text[end : end + 1] in ("(", "[") or labels[0] == "self":  # x@self.weight, q@k.transpose(-2, -1)
        return None
    if local in _SOFTWARE and (text[end : end + 1] in (":", "/") or text[start - 3 : start] == "://"):
        return None
    if re.search(r"://[^\s/@]{0,99}$", text[max(0, start - 103) : start]):  # user:password@host of a URL
        return None
    return start, end


def _ends_like_a_domain(labels: list[str]) -> bool:
    """Return whether these are the labels of a possible real host name."""
    labels = [label.lower() for label in labels]
    last = labels[-1] if labels else ""
    if (
        last in _RESERVED_ENDS
        or ".".join(labels[-2:]) in _RESERVED_NAMES
        or not _PLACEHOLDERS.isdisjoint(labels[-2:-1])
    ):
        return False
    if len(labels) > 2 and _VERSION.match(".".join(labels)):
        return False
    return (
        len(labels) > 1 and len(last) > 1 and (last.isalpha() or last.startswith("xn--")) and last not in _FILE_ENDINGS
    )
