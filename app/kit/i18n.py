"""Translation to the reader's language, which each request sets; catalogues are plain .po files read by gettext."""

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
    """Return the available languages: English, the language of the code, and every catalogue."""
    return (DEFAULT, *sorted(path.parent.parent.name for path in FOLDER.glob("*/LC_MESSAGES/messages.po")))


def language_name(code: str) -> str:
    """Return a language's own name: 'de' -> 'Deutsch'."""
    return (Locale.parse(code).get_display_name(code) or code).capitalize()


def name_of_language(code: str) -> str:
    """Return a language's name in the reader's language: 'de' -> 'German'. An unknown code is returned as it is."""
    return Locale.parse(_language.get()).languages.get(code, code)


def language() -> str:
    """Return the language of this request."""
    return _language.get()


def set_language(code: str) -> None:
    """Use this language for the rest of the request; fall back to English if it is unknown."""
    _language.set(code if code in languages() else DEFAULT)


def negotiate(accept_language: str) -> str:
    """Return the best available language for an Accept-Language header."""
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
    """Translate a message to this request's language; "" stays "", as gettext would return the catalogue's header."""
    return _catalogue(_language.get()).gettext(message) if message else ""


def N_(message: str) -> str:  # the conventional name, which message extractors recognize
    """Return the message unchanged, marking it for translation when it is shown."""
    return message


def ngettext(one: str, many: str, number: int) -> str:
    """Return the singular or the plural in this request's language."""
    return _catalogue(_language.get()).ngettext(one, many, number)
