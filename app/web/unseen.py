"""Characters that cannot be seen are shown by their number: a text under judgement reads as it is stored."""

import re

# Where they do their work a reader sees it: joiners in emoji and in scripts that join letters, the style of a symbol,
# the flags of regions. Everywhere else they are unseen.
_JOINING = r"\u0600-\u1aff\ua800-\uabff\U00010a00-\U00011fff"
_SYMBOLS = r"\u00a9\u00ae\u2030-\u205f\u2070-\u27ff\u2801-\u33ff\U0001f000-\U0001faff"
_HAN = r"\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_AT_WORK = re.compile(
    "|".join(
        [
            rf"(?<=[{_JOINING}])[\u200c\u200d]",
            rf"(?<=[{_SYMBOLS}\ufe0f])\u200d(?=[{_SYMBOLS}])",
            rf"(?<=[{_SYMBOLS}{_HAN}])[\ufe00-\ufe0f]",
            r"(?<=[0-9#*])\ufe0f(?=\u20e3)",
            rf"(?<=[{_HAN}])[\U000e0100-\U000e01ef]",
            r"(?<=[\u1820-\u18aa])[\u180b-\u180f]",
        ]
    )
)
_FLAG = r"\U0001f3f4[\U000e0061-\U000e007a]{5}\U000e007f"
# Controls, formats, fillers, marks of direction, what Unicode calls default ignorable, noncharacters, half surrogates.
_UNSEEN = (
    r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    r"\u2028-\u202e\u2060-\u206f\u2800\u3164\ud800-\udfff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    r"\ufffe\uffff"
)
_UNSEEN_ASTRAL = r"\U00013430-\U0001345f\U0001bca0-\U0001bcaf\U0001d173-\U0001d17a\U000e0000-\U000e0fff" + "".join(
    rf"\U{plane:04x}fffe\U{plane:04x}ffff" for plane in range(1, 17)
)
_FOUND = re.compile(f"[{_UNSEEN}]|{_FLAG}|[{_UNSEEN_ASTRAL}]")
_LIKELY = re.compile(f"[{_UNSEEN}]"), re.compile(r"[\U00010000-\U0010ffff]")  # each a fast search
_MARK = re.compile(r"<[^>]*>|(⟨U\+[0-9A-F]{4,6}⟩)")


def visible(text: str) -> str:
    """Return the text with every character that cannot be seen as ⟨U+200B⟩, by its number; blanks stay blanks."""
    return _FOUND.sub(_marked, text) if any(likely.search(text) for likely in _LIKELY) else text


def _marked(found: re.Match) -> str:
    at_work = len(found[0]) > 1 or _AT_WORK.match(found.string, found.start())
    return found[0] if at_work else f"⟨U+{ord(found[0]):04X}⟩"


def styled(html: str) -> str:
    """Return HTML whose marks of characters that cannot be seen look like marks; attributes stay as they are."""
    return _MARK.sub(lambda found: f'<span class="unseen">{found[1]}</span>' if found[1] else found[0], html)


def excerpt(text: str, length: int) -> str:
    """Return the beginning of a text on one line of at most `length` characters, for a list that leads to all of it."""
    line = " ".join(visible(text).split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"
