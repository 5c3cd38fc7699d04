"""Untrusted Markdown to HTML that is safe and hides nothing; HTML and images are shown as written."""

import re
from functools import lru_cache
from html import unescape

import nh3
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup, escape
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from app.kit.i18n import gettext as _
from app.web import formulas, markdown_rules
from app.web.formulas import words
from app.web.unseen import styled, visible

MAX_CHARACTERS = 50_000  # longer text is shown raw: rendering time grows faster than linearly
MAX_CODE = 10_000  # characters of code that are highlighted
WIDE = 30  # characters of code or of a formula that fit on a narrow screen


# Pygments lexers are regular expressions by many authors; these have been found to withstand hostile input.
LANGUAGES = words(
    "bash c c++ cpp console cs csharp css diff docker dockerfile go golang haskell html ini java javascript js json "
    "jsx julia kotlin latex lua markdown matlab md nginx numpy objective-c pascal perl php powershell "
    "py python r rb rs ruby rust scala sh shell sql swift tex toml ts tsx typescript xml yaml yml zsh"
)
_MARKDOWN = words(
    "h1 h2 h3 h4 h5 h6 p br hr blockquote ul ol li pre code em strong s a table thead tbody tr th td div span"
)
TAGS = set(_MARKDOWN | formulas.MATHML)
ATTRIBUTES = {
    "a": {"href", "title", "target"},
    "ol": {"start", "class"},
    "ul": {"class"},
    "pre": {"tabindex"},
    "span": {"class", "tabindex"},
    "div": {"class", "tabindex"},
    "th": {"class"},
    "td": {"class"},
    **formulas.ATTRIBUTES,
}


_TAG = re.compile("<[^>]*>")
_MATH = re.compile("<math.*?</math>", re.DOTALL)
# Text between these two characters, which no visible text contains, is something that the reader sees by other means
# or that Markdown takes as a mark: the browser's list numbers, an address that is the text of its link, emphasis marks.
# It is removed after the check that nothing is hidden.
_SEEN_OTHERWISE = "\ufdd1{}\ufdd2"
_ANY_SEEN_OTHERWISE = re.compile("\ufdd1[^\ufdd2]*\ufdd2")
# Stands for ">" where it begins no quote, because no blank follows; the parser would take it for a quote.
_NO_QUOTE = re.compile(r"(?<![^\s>])>(?=\S)")
_GREATER = "\ufdd0"


# --- parts ---


def _scrolls(wide: bool) -> str:
    # A scrollable element is a tab stop for the keyboard; an element that fits is none.
    return ' tabindex="0"' if wide else ""


def _highlight(code: str, language: str) -> str:
    if len(code) > MAX_CODE or language.lower() not in LANGUAGES:
        return ""
    try:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return ""
    shown = highlight(code, lexer, HtmlFormatter(nowrap=True))
    return shown if unescape(_TAG.sub("", shown)).rstrip("\n") == code.rstrip("\n") else ""


def _code(self: RendererHTML, tokens: list[Token], index: int, options, env) -> str:
    token = tokens[index]
    info = token.info.strip()
    label = f'<div class="language">{escape(info)}</div>' if info else ""
    opened, closed = _SEEN_OTHERWISE.format(token.markup), _SEEN_OTHERWISE.format(token.meta.get("closed", ""))
    wide = max(map(len, token.content.splitlines()), default=0) > WIDE
    shown = _highlight(token.content, info.split(maxsplit=1)[0] if info else "") or escape(token.content)
    return f"{opened}{label}<pre{_scrolls(wide)}><code>{shown}</code></pre>{closed}\n"


def _formula(self: RendererHTML, tokens: list[Token], index: int, options, env) -> str:
    token = tokens[index]
    latex, display = token.content.replace(_GREATER, ">").strip(), token.markup in ("$$", "\\[")
    source = token.markup + token.content + markdown_rules.CLOSERS[token.markup]
    shown = formulas.typeset(latex, display)
    if shown is None:
        shown = f"<code>{escape(source)}</code>"
    else:
        env["formulas"].append(source)
        if display:
            shown = f'<span class="wide"{_scrolls(len(latex) > WIDE)}>{shown}</span>'
    if token.block:
        return f'<div class="math block">{shown}</div>\n'
    if display:
        return f'<span class="math block">{shown}</span>'
    long = shown.startswith("<math") and len(latex) > WIDE
    return f'<span class="math inline{" long" if long else ""}"{_scrolls(long)}>{shown}</span>'


def _address(self: RendererHTML, tokens: list[Token], index: int, options, env) -> str:
    token = tokens[index]
    address = escape(token.content)
    return _SEEN_OTHERWISE.format(address) if token.hidden else f' <span class="address">{address}</span>'


def _entity(self: RendererHTML, tokens: list[Token], index: int, options, env) -> str:
    return f'<span class="entity">{escape(tokens[index].content)}</span>'


def _item(self: RendererHTML, tokens: list[Token], index: int, options, env) -> str:
    token = tokens[index]
    number = token.meta.get("number", token.markup)
    shown = f'<span class="number">{number}</span> ' if token.meta.get("written") else _SEEN_OTHERWISE.format(number)
    return self.renderToken(tokens, index, options, env) + shown


def _consumed(self: RendererHTML, tokens: list[Token], index: int, options, env) -> str:
    return _SEEN_OTHERWISE.format(f" {escape(tokens[index].content)}")


def _marked(self: RendererHTML, tokens: list[Token], index: int, options, env) -> str:
    """Render the mark of emphasis, a heading or a rule as its tag; an empty heading shows its mark as text."""
    token = tokens[index]
    mark = "" if token.tag == "p" else token.markup[token.type == "hr" :]  # the parser adds one mark to a rule's
    return self.renderToken(tokens, index, options, env) + _SEEN_OTHERWISE.format(mark)


def _linked(self: RendererHTML, tokens: list[Token], index: int, options, env) -> str:
    token = tokens[index]
    marks = "<>" if token.markup == "autolink" else "[]"
    mark = _SEEN_OTHERWISE.format(escape(marks[token.nesting < 0]))
    return self.renderToken(tokens, index, options, env) + mark


def _code_inline(self: RendererHTML, tokens: list[Token], index: int, options, env) -> str:
    mark = _SEEN_OTHERWISE.format(tokens[index].markup)
    return f"{mark}<code>{escape(tokens[index].content)}</code>{mark}"


@lru_cache
def _parser():
    parser = markdown_rules.parser()
    rules = {"fence": _code, "code_block": _code, "math_inline": _formula, "math_block": _formula}
    rules |= {"address": _address, "entity": _entity, "list_item_open": _item, "consumed": _consumed}
    rules |= {"link_open": _linked, "link_close": _linked, "code_inline": _code_inline, "hr": _marked}
    rules |= dict.fromkeys(("em_open", "em_close", "strong_open", "strong_close", "s_open", "s_close"), _marked)
    rules |= {"heading_open": _marked}
    for name, rule in rules.items():
        parser.add_render_rule(name, rule)
    parser.add_render_rule("table_open", lambda *_: '<div class="scroll" tabindex="0"><table>\n')
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return parser


@lru_cache
def _cleaner() -> nh3.Cleaner:
    return nh3.Cleaner(
        tags=TAGS,
        attributes=ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},  # links open in a new tab, so that unsaved work is kept
    )


# --- the whole ---


def _place_headings(tokens: list[Token], top: int) -> None:
    """Place the text's headings below the page's, from level `top` without skipping a level; empty ones become text."""
    deepest = top - 1
    for index, token in enumerate(tokens):
        if token.type == "heading_open" and not tokens[index + 1].content:
            tokens[index + 1].children = [Token("text", "", 0, content=token.markup)]
            token.tag = tokens[index + 2].tag = "p"
        elif token.type == "heading_open":
            deepest = min(int(token.tag[1]) + top - 1, deepest + 1, 6)
            token.tag = tokens[index + 2].tag = f"h{deepest}"


def _align_cells(tokens: list[Token]) -> None:
    for token in tokens:
        if token.type in ("th_open", "td_open") and (style := token.attrs.pop("style", None)):
            token.attrSet("class", str(style).removeprefix("text-align:"))


def _mark_items(tokens: list[Token]) -> None:
    """Show an item's written sign or number if the browser would show another one."""
    lists: list[list[Token]] = []
    for token in tokens:
        if token.type in ("ordered_list_open", "bullet_list_open"):
            lists.append([token])
        elif token.type == "list_item_open":
            lists[-1].append(token)
        elif token.type == "bullet_list_close":
            opened = lists.pop()[0]
            opened.attrs = {"class": sign} if (sign := {"-": "minus", "+": "plus"}.get(opened.markup)) else {}
        elif token.type == "ordered_list_close":
            opened, *items = lists.pop()
            first = int(items[0].info)
            counted = all(item.info == str(number) for number, item in enumerate(items, first))
            written = not counted or opened.markup == ")" or first + len(items) > 100  # more digits do not fit
            if written:
                opened.attrs = {"class": "written"}
            for item in items:
                item.meta = {"number": item.info + opened.markup, "written": written}


def _shows_all(text: str, shown: str, tokens: list[Token]) -> bool:
    """Return whether `shown` has every sign of `text` in order, except blanks, quote marks and table bars."""
    if shown.split() == text.split():
        return True  # prose without markup, at a quarter of the time
    used = {token.type for token in tokens}
    left_out = r"\s" + (">" if "blockquote_open" in used else "")
    signs = re.compile(rf"[{left_out}]+" + (r"|\\?\|" if "table_open" in used else ""))
    return signs.sub("", shown) == signs.sub("", text)


@lru_cache(maxsize=1024)
def _rendered(text: str, top: int) -> Markup | None:
    """Return sanitized HTML of a text without invisible characters, or None if it would not show every sign."""
    parser = _parser()
    env: dict[str, list[str]] = {"formulas": []}
    tokens = parser.parse(_NO_QUOTE.sub(_GREATER, text), env)
    _place_headings(tokens, top)
    _align_cells(tokens)
    _mark_items(tokens)
    html = _cleaner().clean(parser.renderer.render(tokens, parser.options, env)).replace(_GREATER, "&gt;")
    sources = iter(env["formulas"])
    shown = _MATH.sub(lambda found: escape(next(sources, "")), html)
    shown = unescape(_TAG.sub("", shown)).replace("\ufdd1", "").replace("\ufdd2", "").replace(_GREATER, ">")
    if not _shows_all(text, shown, tokens):
        return None
    return Markup(styled(_ANY_SEEN_OTHERWISE.sub("", html)))


def markdown(text: str, top: int = 2) -> Markup:
    """Return sanitized HTML of untrusted Markdown, with its highest heading at level `top`.

    Every character of the text is visible except blanks and Markdown's marks. If the renderer would hide more, the text
    is shown raw, with a line that says so.
    """
    text = re.sub("\r\n?", "\n", visible(text))
    if len(text) > MAX_CHARACTERS:
        return Markup('<pre class="raw">{}</pre>').format(as_written(text))
    if (html := _rendered(text, top)) is not None:
        return html
    note = _("Shown as plain text: Markdown would hide part of it.")
    return Markup('<p class="small quiet">{}</p>\n<pre class="raw">\n{}</pre>').format(note, as_written(text))


def as_written(text: str) -> Markup:
    """Return the text verbatim, except that invisible characters are shown by their code point."""
    return Markup(styled(escape(visible(text))))


def is_plain(text: str) -> bool:
    """Return whether the rendered text reads exactly as written, so that a raw view would show nothing else."""
    html = markdown(text, 3)
    if '<pre class="raw">' in html:
        return True
    shown = html.replace("</p>\n<p>", "\n\n").replace("<br>", "")
    return unescape(re.sub(r"^<p>|</p>\n?$", "", shown)) == text.strip() and not re.search(r"  |\t", text)
