"""Markdown rules that lose nothing: each replaces a rule that hides part of its input."""

import re
from dataclasses import replace

from markdown_it import MarkdownIt
from markdown_it.common.utils import mdTrim
from markdown_it.rules_block import StateBlock, fence, heading
from markdown_it.rules_block.paragraph import paragraph
from markdown_it.rules_block.table import escapedSplit, getLine, table
from markdown_it.rules_inline import StateInline, autolink, emphasis, entity, link, strikethrough
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin

from app.web.formulas import MAX_FORMULA

MAX_NESTING = 20
NO_BREAK_SPACE = "\xa0"
CLOSERS = {"$": "$", "$$": "$$", "\\(": "\\)", "\\[": "\\]"}

_WORD = "0-9A-Za-z\xc0-\u058f"  # of scripts that separate words by spaces
_NO_EMPHASIS = re.compile(
    r"(?<=[)\]}])\*++(?=[(\[{])"  # f(x)**(y)
    r"|(?<=/)\*++[^*\n]{0,200}\*++(?=/)"  # /* a comment */
    r"|(?<!\w)__\w+?__(?!\w)"  # __init__
)
# Where emphasis is accepted: a blank, a bracket or the end of a sentence outside it; a word, possibly in brackets or
# quotes, inside it.
_INNER = r"(?:[^\W_]|[^\x00-\x7f\s])"
_BEFORE_OPENING = re.compile(rf"(?:^|[\s(\[{{\"/>|,\-]|(?![{_WORD}])[^\x00-\x7f])[*_~]*\Z")
_AFTER_OPENING = re.compile(rf"[*_~]*[\"'(\[{{`$<\\#+\-]{{0,4}}{_INNER}")
_BEFORE_CLOSING = re.compile(rf"{_INNER}(?:\(\)|[\"')\]}}`$>\\#+%.,;:!?/]){{0,4}}[*_~]*\Z")
_AFTER_CLOSING = re.compile(rf"[*_~]*(?:\Z|\.(?!\w)|[\s,;:!?)\]}}\"'/|<\-(\[]|(?![{_WORD}])[^\x00-\x7f])")
_CLOSES = {"(": ")", "[": "]", "{": "}", '"': '"'}
_PAIRS = re.compile(r'[\[\](){}"]')
_NEAR = 16  # characters on each side of a mark that are examined
_ADDRESS = re.compile(r"\(\s*<?(?:https?://|mailto:|[/#])", re.IGNORECASE)
_AUTOLINK = re.compile(r"<https?://[^<>\x00-\x20]*>", re.IGNORECASE)
# A dollar sign of a price, a shell or JavaScript begins no formula: US$5, ${HOME}, $(date), $("#id"), $path.$name.
_OPENED = rf"(?<![{_WORD}$_.\\^+=)\]}}'])"
_CLOSED = rf"(?!(?!(?:st|nd|rd|th|s)\b)[{_WORD}$_]|[{{(\[\"'`\\]|/(?!\$)|\*(?!\*)|\.\w)"  # $n$th is a formula
_DOLLARS = re.compile(
    rf"{_OPENED}(?:\$\$(?![;,.&|)}}])((?:[^$\\]|\\.)++)\$\$"
    rf"|\$(?=[^\W_]|[\\|\[<>+^-]|[^\x00-\x7f\s])((?:[^$\\]|\\.)++)(?<!\s)\$){_CLOSED}",
    re.DOTALL,
)
_BRACKETS = {
    "\\(": re.compile(rf"{_OPENED}\\\((.{{1,{MAX_FORMULA}}}?)\\\){_CLOSED}", re.DOTALL),
    "\\[": re.compile(rf"\\\[(.{{1,{MAX_FORMULA}}}?)\\\]", re.DOTALL),
}


class _Parser(MarkdownIt):
    def normalizeLinkText(self, link: str) -> str:
        return link  # an address is shown as written


def parser() -> MarkdownIt:
    """Return a Markdown parser without HTML, images, reference definitions and underlined headings."""
    made = _Parser("commonmark", {"html": False, "breaks": True, "maxNesting": MAX_NESTING, "linkify": False})
    made.enable(["table", "strikethrough"]).disable(["image", "reference", "lheading"])
    made.use(dollarmath_plugin, allow_labels=False, allow_blank_lines=False)
    made.block.ruler.before("table", "too_deep", _too_deep)
    made.block.ruler.at("table", _table, {"alt": ["paragraph"]})
    made.block.ruler.at("paragraph", _paragraph)
    made.inline.ruler.at("math_inline", _formula)
    made.inline.ruler.at("escape", _escape)
    made.inline.ruler.before("strikethrough", "no_emphasis", _no_emphasis)
    made.inline.ruler.at("strikethrough", _emphasis)
    made.inline.ruler.at("emphasis", _emphasis)
    made.inline.ruler2.after("balance_pairs", "whole", _whole)
    made.block.ruler.at("fence", _fence, {"alt": ["paragraph", "reference", "blockquote", "list"]})
    made.block.ruler.at("heading", _heading, {"alt": ["paragraph", "reference", "blockquote"]})
    made.inline.ruler.at("link", _link)
    made.inline.ruler.at("autolink", _autolink)
    made.inline.ruler.at("entity", _entity)
    return made


# --- blocks ---


def _indented(text: str) -> str:
    # The parser would drop blanks at the start of a line.
    return re.sub(
        r"^[ \t]+", lambda found: NO_BREAK_SPACE * len(found[0].expandtabs(4)), text.rstrip(" \t\n"), flags=re.M
    )


def _paragraph(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    paragraph(state, start, end, silent)
    state.tokens[-2].content = _indented(state.getLines(start, state.line, state.blkIndent, False))
    return True


def _heading(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Parse a heading, keeping trailing # signs."""
    if not heading(state, start, end, silent):
        return False
    if not silent:
        state.tokens[-2].content = mdTrim(getLine(state, start).lstrip().lstrip("#"))
    return True


def _fence(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Parse a fenced block, keeping its closing fence for the check."""
    if not fence(state, start, end, silent):
        return False
    if not silent and state.tokens[-1].content != state.getLines(start + 1, state.line, state.sCount[start], True):
        state.tokens[-1].meta["closed"] = getLine(state, state.line - 1).rstrip()
    return True


def _too_deep(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Show what exceeds the parser's nesting limit as a paragraph, as written."""
    if state.level < MAX_NESTING - 2:  # a list adds two levels at once
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
    """Parse a table, keeping cells beyond the header's columns."""
    before = len(state.tokens)
    if not table(state, start, end, silent):
        return False
    if silent:
        return True
    tokens, state.tokens[before:] = state.tokens[before:], []
    columns = sum(token.type == "th_open" for token in tokens)
    header = max(index for index, token in enumerate(tokens) if token.type == "th_close")
    tokens.insert(header, Token("consumed", "", 0, content=getLine(state, start + 1)))
    for token in tokens:
        if token.type == "tr_open":
            assert token.map  # the parser notes the lines of every row
            opened, line = token, token.map[0]
        if token.type == "tr_close" and line != start:
            state.tokens += _cells_beyond(state, opened, line, columns)
        state.tokens.append(token)
    return True


def _cells_beyond(state: StateBlock, row: Token, line: int, columns: int) -> list[Token]:
    cells = escapedSplit(mdTrim(getLine(state, line)))
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
    """Parse formulas in dollar signs and in TeX's own brackets: \\( x \\) is inline, \\[ x \\] a display."""
    start, marker = state.pos, state.src[state.pos : state.pos + 2]
    if marker in _BRACKETS:
        found = _BRACKETS[marker].match(state.src, start)
    elif marker[0] == "$":
        found = _DOLLARS.match(state.src, start)
        marker = "$$" if found and found[1] else "$"
    else:
        return False
    latex = next(filter(None, found.groups())).strip() if found else ""
    if not found or not latex:
        return False
    state.pos = found.end()
    if not silent:
        token = state.push("math_inline", "math", 0)
        token.content, token.markup = latex, marker
    return True


def _escape(state: StateInline, silent: bool) -> bool:
    """Let a backslash escape the next character, and show both."""
    pair = state.src[state.pos : state.pos + 2]
    if pair[0] != "\\" or len(pair) < 2 or pair[1] == "\n":
        return False
    if not silent:
        token = state.push("text_special", "", 0)
        token.content, token.markup, token.info = pair, pair, "escape"
    state.pos += 2
    return True


def _no_emphasis(state: StateInline, silent: bool) -> bool:
    """Keep asterisks between operands and in comments, and names like __init__, as text."""
    found = _NO_EMPHASIS.match(state.src, state.pos)
    if not found:
        return False
    if not silent:
        state.append_pending(found[0])
    state.pos = found.end()
    return True


def _emphasis(state: StateInline, silent: bool) -> bool:
    """Accept emphasis marks only where people write them, next to words; all others are text."""
    start, known = state.pos, len(state.delimiters)
    if silent or not (strikethrough if state.src[start] == "~" else emphasis).tokenize(state, silent):
        return False
    before, after = state.src[max(0, start - _NEAR) : start], state.src[state.pos : state.pos + _NEAR]
    opens = bool(_BEFORE_OPENING.search(before) and _AFTER_OPENING.match(after))
    closes = bool(_BEFORE_CLOSING.search(before) and _AFTER_CLOSING.match(after))
    for mark in state.delimiters[known:]:
        mark.open, mark.close = mark.open and opens, mark.close and closes
    return True


def _whole(state: StateInline) -> None:
    """Drop emphasis that crosses brackets or quotes, because it is code."""
    within, opened, known = [0], [(0, "")], 0  # for each token the number of the bracket or quote around it
    for token in state.tokens:
        for sign in _PAIRS.findall(token.content if token.type == "text" else ""):
            if opened[-1][1] == sign:
                opened.pop()
            elif sign in _CLOSES:
                known += 1
                opened.append((known, _CLOSES[sign]))
        within.append(opened[-1][0])
    for marks in (state.delimiters, *(meta["delimiters"] for meta in state.tokens_meta if meta)):
        for mark in marks:
            if mark.end >= 0 and within[mark.token] != within[marks[mark.end].token]:
                mark.end = -1


def _link(state: StateInline, silent: bool) -> bool:
    """Parse a link to a web address or a path of this site, and show its address in parentheses, as written."""
    start = state.pos
    if state.src[start] != "[" or state.src[start - 1 : start] == "!" or state.src.find("](", start) < 0:
        return False
    end = state.md.helpers.parseLinkLabel(state, start, True)
    if end < 0 or not _ADDRESS.match(state.src, end + 1) or not link(state, silent):
        return False
    if not silent:
        token = state.push("address", "", 0)
        token.content = state.src[end + 1 : state.pos]
        token.hidden = token.content == f"({state.src[start + 1 : end]})"  # the link text is the address
    return True


def _autolink(state: StateInline, silent: bool) -> bool:
    return bool(_AUTOLINK.match(state.src, state.pos)) and autolink(state, silent)


def _entity(state: StateInline, silent: bool) -> bool:
    """Show a named character as it is written."""
    start = state.pos
    if not entity(state, True):
        return False
    if not silent:
        state.push("entity", "", 0).content = state.src[start : state.pos]
    return True
