"""Markdown of untrusted text to HTML that can do nothing; code and formulas are shown, images and HTML are not."""

from functools import lru_cache

import nh3
from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from markupsafe import Markup, escape
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

MAX_CHARACTERS = 50_000  # longer text is shown raw: the renderer's time grows faster than its input
MAX_FORMULA = 2_000
MAX_CODE = 20_000

_MATHML = [
    "math",
    "mrow",
    "mi",
    "mn",
    "mo",
    "ms",
    "mtext",
    "mspace",
    "mfrac",
    "msqrt",
    "mroot",
    "msub",
    "msup",
    "msubsup",
    "munder",
    "mover",
    "munderover",
    "mtable",
    "mtr",
    "mtd",
    "mstyle",
    "mpadded",
    "mphantom",
    "menclose",
]
_MARKDOWN = [
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "p",
    "br",
    "hr",
    "blockquote",
    "ul",
    "ol",
    "li",
    "pre",
    "code",
    "em",
    "strong",
    "s",
    "a",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "div",
    "span",
]
TAGS = {*_MARKDOWN, *_MATHML}
ATTRIBUTES = {
    "a": {"href", "title"},
    "ol": {"start"},
    "span": {"class"},
    "div": {"class"},
    "math": {"display"},
    "mo": {"stretchy", "fence", "separator", "lspace", "rspace", "minsize", "maxsize"},
    "mspace": {"width"},
    "mi": {"mathvariant"},
    "mtd": {"columnalign"},
    "mtable": {"columnalign"},
    "mfrac": {"linethickness"},
}


def _highlight(code: str, language: str, _attributes: str) -> str:
    if len(code) > MAX_CODE:
        return ""
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return ""
    return highlight(code, lexer, HtmlFormatter(nowrap=True))


def _formula(latex: str, options: dict) -> str:
    if len(latex) > MAX_FORMULA:
        return str(escape(latex))
    try:
        return convert(latex, display="block" if options.get("display_mode") else "inline")
    except Exception:  # the converter raises whatever its parser meets; the source is readable too
        return str(escape(latex))


@lru_cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt(
        "commonmark", {"html": False, "breaks": True, "maxNesting": 20, "highlight": _highlight, "linkify": False}
    )
    parser.enable(["table", "strikethrough"]).disable("image")
    return parser.use(dollarmath_plugin, allow_space=False, allow_digits=False, renderer=_formula)


@lru_cache(maxsize=4096)
def markdown(text: str) -> Markup:
    """Sanitised HTML of untrusted Markdown."""
    if len(text) > MAX_CHARACTERS:
        return Markup('<pre class="raw">{}</pre>').format(text)
    html = _parser().render(text)
    return Markup(
        nh3.clean(
            html,
            tags=TAGS,
            attributes=ATTRIBUTES,
            url_schemes={"http", "https", "mailto"},
            link_rel="noopener noreferrer nofollow",
        )
    )
