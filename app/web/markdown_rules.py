"""Rules of Markdown that lose nothing: each takes the place of one that hides some of what it reads."""

import re
from dataclasses import replace

from markdown_it import MarkdownIt
from markdown_it.common.utils import mdTrim
from markdown_it.rules_block import StateBlock
from markdown_it.rules_block.paragraph import paragraph
from markdown_it.rules_block.table import escapedSplit, getLine, table
from markdown_it.rules_inline import StateInline, autolink, entity, link
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin

from app.web.formulas import MAX_FORMULA

MAX_NESTING = 20
NO_BREAK_SPACE = "\xa0"
CLOSERS = {"$": "$", "$$": "$$", "\\(": "\\)", "\\[": "\\]"}

_WORD = "0-9A-Za-z\xc0-\u058f"  # of scripts that part words by spaces
_NO_EMPHASIS = re.compile(
    rf"(?<=[{_WORD}])\*++(?=[{_WORD}])|(?<=[)\]}}])\*++(?=[{_WORD}(\[{{])"  # 2*3*4, f(x)**2
    r"|(?<=/)\*++[^*\n]{0,200}\*++(?=/)|(?<=/)\*++(?=[/.\s]|$)|(?<!\S)\*++(?=/)"  # /* a comment */, src/**/*.py
    r"|(?<!\w)__\w+?__(?!\w)"  # __init__
)
_ESCAPED_MARKUP = "*_`#$~<>"  # whose backslash is left out; any other may be part of a path, an expression or TeX
_ADDRESS = re.compile(r"\(\s*<?(?:https?://|mailto:|[/#])", re.IGNORECASE)
_AUTOLINK = re.compile(r"<https?://[^<>\x00-\x20]*>", re.IGNORECASE)
_DOLLARS = re.compile(
    rf"(?<![{_WORD}_$])"  # as in US$5
    r"(?:\$\$((?:[^$\\]|\\.)++)\$\$|\$(?=[^\s$])((?:[^$\\]|\\.)++)(?<!\s)\$)"
    rf"(?!(?!(?:st|nd|rd|th|s)\b)[{_WORD}_$])",  # $n$th is a formula, $path.$name is none
    re.DOTALL,
)


def parser() -> MarkdownIt:
    """Return a parser of Markdown without HTML, images, reference definitions and underlined headings."""
    made = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": MAX_NESTING, "linkify": False})
    made.enable(["table", "strikethrough"]).disable(["image", "reference", "lheading"])
    made.use(dollarmath_plugin, allow_labels=False, allow_blank_lines=False)
    made.normalizeLinkText = str  # an address is shown as it is written
    made.block.ruler.before("table", "too_deep", _too_deep)
    made.block.ruler.at("table", _table, {"alt": ["paragraph"]})
    made.block.ruler.at("paragraph", _paragraph)
    made.inline.ruler.at("math_inline", _formula)
    made.inline.ruler.at("escape", _escape)
    made.inline.ruler.before("emphasis", "no_emphasis", _no_emphasis)
    made.inline.ruler.at("link", _link)
    made.inline.ruler.at("autolink", _autolink)
    made.inline.ruler.at("entity", _entity)
    return made


# --- blocks ---


def _indented(text: str) -> str:
    # Blanks at the start of a line would be dropped.
    return re.sub(
        r"^[ \t]+", lambda found: NO_BREAK_SPACE * len(found[0].expandtabs(4)), text.rstrip(" \t\n"), flags=re.M
    )


def _paragraph(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    paragraph(state, start, end, silent)
    state.tokens[-2].content = _indented(state.getLines(start, state.line, state.blkIndent, False))
    return True


def _too_deep(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Show what is nested deeper than the parser goes as a paragraph, as it is written."""
    if state.level < MAX_NESTING - 2:  # a list goes two levels at once
        return False
    state.line = start + 1
    while state.line < end and (state.isEmpty(state.line) or state.sCount[state.line] >= state.blkIndent):
        state.line += 1
    state.push("paragraph_open", "p", 1)
    inline = state.push("inline", "", 0)
    inline.content, inline.children = _indented(state.getLines(start, state.line, state.blkIndent, False)), []
    inline.map = [start, state.line]
    state.push("paragraph_close", "p", -1)
    return True


def _table(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Parse a table, keeping the cells that a row has beyond the columns of the header."""
    before = len(state.tokens)
    if not table(state, start, end, silent):
        return False
    tokens, state.tokens[before:] = state.tokens[before:], []
    columns = sum(token.type == "th_open" for token in tokens)
    for token in tokens:
        if token.type == "tr_open":
            opened = token
        if token.type == "tr_close" and opened.map[0] != start:
            state.tokens += _cells_beyond(state, opened, columns)
        state.tokens.append(token)
    return True


def _cells_beyond(state: StateBlock, row: Token, columns: int) -> list[Token]:
    cells = escapedSplit(mdTrim(getLine(state, row.map[0])))
    cells = cells[cells[0] == "" :]
    if cells and cells[-1] == "":
        cells.pop()
    made = []
    for content in cells[columns:]:
        opened = replace(row, type="td_open", tag="td", level=row.level + 1, attrs={})
        inline = Token("inline", "", 0, content=mdTrim(content), map=row.map, children=[], block=True)
        made += [opened, inline, replace(opened, type="td_close", nesting=-1)]
    return made


# --- within a line ---


def _formula(state: StateInline, silent: bool) -> bool:
    """Parse formulas in dollars and in TeX's own brackets: \\( x \\) within a line, \\[ x \\] as a display."""
    start, marker = state.pos, state.src[state.pos : state.pos + 2]
    if marker in ("\\(", "\\["):
        end = state.src.find(CLOSERS[marker], start + 2, start + MAX_FORMULA)
        latex, state.pos = state.src[start + 2 : end].strip() if end > 0 else "", end + 2
    elif marker[0] == "$" and (found := _DOLLARS.match(state.src, start)):
        marker = "$$" if found[1] else "$"
        latex, state.pos = (found[1] or found[2]).strip(), found.end()
    else:
        return False
    if not latex:
        state.pos = start
        return False
    if not silent:
        token = state.push("math_inline", "math", 0)
        token.content, token.markup = latex, marker
    return True


def _escape(state: StateInline, silent: bool) -> bool:
    """Let a backslash take the meaning from what follows it; hide it only before a sign of Markdown."""
    pair = state.src[state.pos : state.pos + 2]
    if pair[0] != "\\" or len(pair) < 2 or pair[1] == "\n":
        return False
    if not silent:
        token = state.push("text_special", "", 0)
        token.content = pair[1] if pair[1] in _ESCAPED_MARKUP else pair
        token.markup, token.info = pair, "escape"
    state.pos += 2
    return True


def _no_emphasis(state: StateInline, silent: bool) -> bool:
    """Leave asterisks between operands and of comments, and names like __init__, as text."""
    found = _NO_EMPHASIS.match(state.src, state.pos)
    if not found:
        return False
    if not silent:
        state.append_pending(found[0])
    state.pos = found.end()
    return True


def _link(state: StateInline, silent: bool) -> bool:
    """Parse a link to an address of the web or of this site, and show its parentheses as they are written."""
    start = state.pos
    if state.src[start] != "[" or state.src[start - 1 : start] == "!" or state.src.find("](", start) < 0:
        return False
    end = state.md.helpers.parseLinkLabel(state, start, True)
    if end < 0 or not _ADDRESS.match(state.src, end + 1) or not link(state, silent):
        return False
    if not silent:
        token = state.push("address", "", 0)
        token.content = state.src[end + 1 : state.pos]
        token.hidden = token.content == f"({state.src[start + 1 : end]})"  # the link says it itself
    return True


def _autolink(state: StateInline, silent: bool) -> bool:
    return bool(_AUTOLINK.match(state.src, state.pos)) and autolink(state, silent)


def _entity(state: StateInline, silent: bool) -> bool:
    """Show a character written by its name as it is written."""
    start = state.pos
    if not entity(state, True):
        return False
    if not silent:
        state.push("entity", "", 0).content = state.src[start : state.pos]
    return True
