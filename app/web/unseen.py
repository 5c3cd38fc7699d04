"""Shows invisible characters by their code point, so that a text under judgment reads as it is stored."""

import re

# These characters have a visible effect in certain places: joiners in emoji and in scripts that join letters, variation
# selectors of a symbol, flags of regions. Everywhere else they are invisible.
_JOINING = r"\u0600-\u1aff\ua800-\uabff\U00010a00-\U00011fff"
_SYMBOLS = r"\u00a9\u00ae\u2030-\u205f\u2070-\u27ff\u2801-\u33ff\U0001f000-\U0001faff"
_HAN = r"\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# The characters of the Basic Multilingual Plane with text and emoji variants (emoji-variation-sequences.txt).
_EMOJI = (
    r"\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u2199\u21a9\u21aa\u231a\u231b\u2328\u23cf\u23e9-\u23f3\u23f8-\u23fa"
    r"\u24c2\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe\u2600-\u2604\u260e\u2611\u2614\u2615\u2618\u261d\u2620\u2622\u2623\u2626"
    r"\u262a\u262e\u262f\u2638-\u263a\u2640\u2642\u2648-\u2653\u265f\u2660\u2663\u2665\u2666\u2668\u267b\u267e\u267f"
    r"\u2692-\u2697\u2699\u269b\u269c\u26a0\u26a1\u26a7\u26aa\u26ab\u26b0\u26b1\u26bd\u26be\u26c4\u26c5\u26c8\u26ce\u26cf"
    r"\u26d1\u26d3\u26d4\u26e9\u26ea\u26f0-\u26f5\u26f7-\u26fa\u26fd\u2702\u2705\u2708-\u270d\u270f\u2712\u2714\u2716"
    r"\u271d\u2721\u2728\u2733\u2734\u2744\u2747\u274c\u274e\u2753-\u2755\u2757\u2763\u2764\u2795-\u2797\u27a1\u27b0\u27bf"
    r"\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\u3030\u303d\u3297\u3299\U0001f000-\U0001f6ff"
)
_AT_WORK = re.compile(
    "|".join(
        [
            rf"(?<=[{_JOINING}])[\u200c\u200d]",
            rf"(?<=[{_SYMBOLS}\ufe0f])\u200d(?=[{_SYMBOLS}])",
            rf"(?<=[{_EMOJI}])[\ufe0e\ufe0f]",
            r"(?<=[0-9#*])\ufe0f(?=\u20e3)",
            rf"(?<=[{_HAN}])[\U000e0100-\U000e01ef]",
            r"(?<=[\u1820-\u18aa])[\u180b-\u180f]",
        ]
    )
)
# The flags of England, Scotland and Wales: no other tag sequence of five letters is rendered.
_REGIONS = "|".join("".join(chr(0xE0000 + ord(letter)) for letter in region) for region in ("gbeng", "gbsct", "gbwls"))
_FLAG = rf"\U0001f3f4(?:{_REGIONS})\U000e007f"
# Controls, formats, fillers, direction marks, Unicode's default ignorables, noncharacters, lone surrogates.
_UNSEEN = (
    r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    r"\u2028-\u202e\u2060-\u206f\u2800\u3164\ud800-\udfff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    r"\ufffe\uffff"
)
_UNSEEN_ASTRAL = (
    r"\U00013430-\U0001345f\U0001bca0-\U0001bcaf\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    + "".join(rf"\U{plane:04x}fffe\U{plane:04x}ffff" for plane in range(1, 17))
)
_FOUND = re.compile(f"[{_UNSEEN}]|{_FLAG}|[{_UNSEEN_ASTRAL}]")
_LIKELY = re.compile(f"[{_UNSEEN}]"), re.compile(r"[\U00010000-\U0010ffff]")  # each is a fast search
_MARK = re.compile(r"<[^>]*>|(⟨U\+[0-9A-F]{4,6}⟩)")


def visible(text: str) -> str:
    """Return the text with every invisible character as its code point, e.g. ⟨U+200B⟩; blanks stay blanks."""
    return _FOUND.sub(_marked, text) if any(likely.search(text) for likely in _LIKELY) else text


def _marked(found: re.Match) -> str:
    at_work = len(found[0]) > 1 or _AT_WORK.match(found.string, found.start())
    return found[0] if at_work else f"⟨U+{ord(found[0]):04X}⟩"


def styled(html: str) -> str:
    """Return HTML in which the code points of invisible characters are marked up; attributes stay unchanged."""
    return _MARK.sub(lambda found: f'<span class="unseen">{found[1]}</span>' if found[1] else found[0], html)


def excerpt(text: str, length: int) -> str:
    """Return the start of a text on one line of at most `length` characters, for a list that links to the full text."""
    line = " ".join(visible(text).split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"
