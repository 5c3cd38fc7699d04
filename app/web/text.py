"""Markdown of untrusted text to HTML that can do nothing; code and formulas are shown, images and HTML are not."""

import re
from functools import lru_cache
from html import unescape

import nh3
from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline
from markupsafe import Markup, escape
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from app.web.unseen import styled, visible

MAX_CHARACTERS = 50_000  # longer text is shown raw: the renderer's time grows faster than its input
MAX_FORMULA = 2_000
MAX_CODE = 10_000  # characters of code in colours
WIDE = 30  # characters of code or of a formula that fit on a narrow screen


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# The lexers of pygments are regular expressions of many hands; those of these stand up to hostile input.
LANGUAGES = _words(
    "bash c c++ cpp console cs csharp css diff docker dockerfile go golang haskell html ini java javascript js json "
    "jsx julia kotlin latex lua markdown matlab md nginx numpy objective-c pascal perl php powershell "
    "py python r rb rs ruby rust scala sh shell sql swift tex toml ts tsx typescript xml yaml yml zsh"
)
_MATHML = _words(
    "math mrow mi mn mo ms mtext mspace mfrac msqrt mroot msub msup msubsup munder mover munderover mtable mtr mtd "
    "mstyle mpadded mphantom menclose"
)
_MARKDOWN = _words(
    "h1 h2 h3 h4 h5 h6 p br hr blockquote ul ol li pre code em strong s a table thead tbody tr th td div span"
)
TAGS = set(_MARKDOWN | _MATHML)
ATTRIBUTES = {
    "a": {"href", "title", "target"},
    "ol": {"start"},
    "pre": {"tabindex"},
    "span": {"class", "tabindex"},
    "div": {"class", "tabindex"},
    "th": {"class"},
    "td": {"class"},
    "math": {"display"},
    "mo": {"stretchy", "fence", "separator", "lspace", "rspace", "minsize", "maxsize"},
    "mspace": {"width"},
    "mi": {"mathvariant"},
    "mtd": {"columnalign"},
    "mtable": {"columnalign"},
    "mfrac": {"linethickness"},
}


def _scrolls(wide: bool) -> str:
    # What scrolls in itself is reached by the keyboard; what fits is no stop on the way.
    return ' tabindex="0"' if wide else ""


def _highlight(code: str, language: str, _attributes: str) -> str:
    if len(code) > MAX_CODE or language.lower() not in LANGUAGES:
        return ""
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return ""
    return highlight(code, lexer, HtmlFormatter(nowrap=True))


def _code(self: RendererHTML, tokens, index, options, env) -> str:
    token = tokens[index]
    language = token.info.split(maxsplit=1)[0] if token.info.strip() else ""
    wide = max(map(len, token.content.splitlines()), default=0) > WIDE
    shown = _highlight(token.content, language, "") or escape(token.content)
    return f"<pre{_scrolls(wide)}><code>{shown}</code></pre>\n"


def _formula(latex: str, options: dict) -> str:
    display = bool(options.get("display_mode"))
    if len(latex) > MAX_FORMULA:
        return str(escape(latex))
    try:
        shown = convert(latex, display="block" if display else "inline")
    except Exception:  # the converter raises whatever its parser meets; the source is readable too
        return f"<code>{escape(latex)}</code>"
    return f'<span class="wide"{_scrolls(len(latex) > WIDE)}>{shown}</span>' if display else shown


def _bracketed(state: StateInline, silent: bool) -> bool:
    """TeX's own brackets: \\( x \\) within a line, \\[ x \\] as a display."""
    start = state.src[state.pos : state.pos + 2]
    if start not in ("\\(", "\\["):
        return False
    end = state.src.find("\\)" if start == "\\(" else "\\]", state.pos + 2, state.pos + MAX_FORMULA)
    latex = state.src[state.pos + 2 : end].strip() if end > 0 else ""
    if not latex:
        return False
    if not silent:
        token = state.push("bracketed_math", "math", 0)
        token.content, token.markup = latex, start
    state.pos = end + 2
    return True


def _bracketed_html(self: RendererHTML, tokens, index, options, env) -> str:
    token = tokens[index]
    if token.markup == "\\(":
        return f'<span class="math inline">{_formula(token.content, {})}</span>'
    return f'<span class="math block">{_formula(token.content, {"display_mode": True})}</span>'


@lru_cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": 20, "linkify": False})
    parser.enable(["table", "strikethrough"]).disable("image")
    parser.use(dollarmath_plugin, allow_space=False, allow_digits=False, renderer=_formula)
    parser.inline.ruler.before("escape", "bracketed_math", _bracketed)
    parser.add_render_rule("bracketed_math", _bracketed_html)
    parser.add_render_rule("fence", _code)
    parser.add_render_rule("code_block", _code)
    parser.add_render_rule("table_open", lambda *_: '<div class="scroll" tabindex="0"><table>\n')
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return parser


def _place_headings(tokens: list, top: int) -> None:
    """Headings of the text become headings of the page below `top`, and none skips a level."""
    deepest = top - 1
    for token in tokens:
        if token.type == "heading_open":
            deepest = min(int(token.tag[1]) + top - 1, deepest + 1, 6)
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{deepest}"


def _align_cells(tokens: list) -> None:
    for token in tokens:
        if token.type in ("th_open", "td_open") and (style := token.attrs.pop("style", None)):
            token.attrSet("class", str(style).removeprefix("text-align:"))


@lru_cache(maxsize=1024)
def markdown(text: str, top: int = 2) -> Markup:
    """Sanitised HTML of untrusted Markdown; its highest heading is of the level `top`."""
    text = visible(text)
    if len(text) > MAX_CHARACTERS:
        return Markup('<pre class="raw">{}</pre>').format(as_written(text))
    parser, env = _parser(), {}
    tokens = parser.parse(text, env)
    _place_headings(tokens, top)
    _align_cells(tokens)
    return Markup(
        styled(
            nh3.clean(
                parser.renderer.render(tokens, parser.options, env),
                tags=TAGS,
                attributes=ATTRIBUTES,
                url_schemes={"http", "https", "mailto"},
                link_rel="noopener noreferrer nofollow",
                set_tag_attribute_values={"a": {"target": "_blank"}},  # nobody loses the work beside it
            )
        )
    )


def as_written(text: str) -> Markup:
    """Return the text letter for letter, but for characters that cannot be seen, which are shown by their number."""
    return Markup(styled(escape(visible(text))))


def is_plain(text: str) -> bool:
    """Whether the rendered text reads letter for letter as it is written, so that a raw view shows nothing else."""
    if len(text) > MAX_CHARACTERS:
        return True
    html = markdown(text, 3)
    shown = html.replace("</p>\n<p>", "\n\n").replace("<br>", "")
    return unescape(re.sub(r"^<p>|</p>\n?$", "", shown)) == text.strip() and "  " not in text
