"""Words in the reader's language: gettext by a language that each request sets; catalogues are plain .po files."""

import io
from contextvars import ContextVar
from functools import lru_cache
from gettext import GNUTranslations, NullTranslations
from pathlib import Path

from babel import Locale, negotiate_locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

DEFAULT = "en"
FOLDER = Path(__file__).parents[2] / "translations"
_language: ContextVar[str] = ContextVar("language", default=DEFAULT)


@lru_cache
def languages() -> tuple[str, ...]:
    """The languages there are: English, which the code is written in, and every catalogue."""
    return (DEFAULT, *sorted(path.parent.parent.name for path in FOLDER.glob("*/LC_MESSAGES/messages.po")))


def language_name(code: str) -> str:
    """A language's name in itself: 'de' -> 'Deutsch'."""
    return (Locale.parse(code).get_display_name(code) or code).capitalize()


def name_of_language(code: str) -> str:
    """A language's name for the reader: 'de' -> 'German'; of none that is known, the code."""
    return Locale.parse(_language.get()).languages.get(code, code)


def language() -> str:
    """The language of this request."""
    return _language.get()


def set_language(code: str) -> None:
    """Speak this language for the rest of the request; an unknown one is English."""
    _language.set(code if code in languages() else DEFAULT)


def negotiate(accept_language: str) -> str:
    """The best language for an Accept-Language header."""
    weighted = []
    for part in accept_language.split(",")[:20]:
        tag, _, q = part.partition(";q=")
        try:
            weighted.append((-float(q or 1), tag.strip().replace("-", "_")))
        except ValueError:
            continue
    wanted = [tag for _, tag in sorted(weighted, key=lambda pair: pair[0]) if tag]
    return negotiate_locale(wanted, languages()) or DEFAULT


@lru_cache
def _catalogue(code: str) -> NullTranslations:
    path = FOLDER / code / "LC_MESSAGES" / "messages.po"
    if not path.exists():
        return NullTranslations()
    compiled = io.BytesIO()
    with path.open("rb") as file:
        write_mo(compiled, read_po(file, locale=code))
    compiled.seek(0)
    return GNUTranslations(compiled)


def gettext(message: str) -> str:
    """The message in this request's language; of the empty one a catalogue would tell its own header."""
    return _catalogue(_language.get()).gettext(message) if message else ""


def N_(message: str) -> str:  # the usual name, which tools that collect messages know
    """The message as it is, marked for translation where it will be shown."""
    return message


def ngettext(one: str, many: str, number: int) -> str:
    """The singular or the plural in this request's language."""
    return _catalogue(_language.get()).ngettext(one, many, number)
