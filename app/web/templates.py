"""The template environment of all pages and the helpers that templates may use."""

import hashlib
from datetime import datetime
from functools import lru_cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from app.config import ROOT
from app.kit import clock, i18n
from app.kit.words import word
from app.web.markdown import as_written, is_plain, markdown
from app.web.unseen import excerpt, visible

TEMPLATES = ROOT / "templates"
STATIC = ROOT / "static"


@lru_cache
def environment() -> Environment:
    """Return the template environment, which escapes everything and raises on undefined names."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n", "jinja2.ext.do"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # The extension adds this method when it is loaded.
    made.install_gettext_callables(i18n.gettext, i18n.ngettext, newstyle=True)  # type: ignore[attr-defined]
    made.filters.update(as_written=as_written, excerpt=excerpt, visible=visible)
    made.globals.update(
        markdown=markdown,
        is_plain=is_plain,
        static=static_url,
        when=when,
        word=word,
        time_of_day=clock.time_of_day,
        languages=i18n.languages,
        language_name=i18n.language_name,
        name_of_language=i18n.name_of_language,
    )
    return made


@lru_cache
def _static_hash(path: str) -> str:
    return hashlib.sha256((STATIC / path).read_bytes()).hexdigest()[:12]


def static_url(path: str) -> str:
    """Return the address of a file in static/; it changes with the file's content."""
    return f"/static/{path}?v={_static_hash(path)}"


def when(moment: datetime | None, otherwise: str = "–") -> Markup:
    """Format a time for people and machines: <time datetime="...">2026-11-21 09:30 CET</time>."""
    if moment is None:
        return Markup(escape(otherwise))
    return Markup('<time datetime="{}">{}</time>').format(
        moment.isoformat(), f"{clock.local(moment):%Y-%m-%d %H:%M %Z}"
    )
