"""TeX to MathML, used only if the conversion loses nothing."""

import re
from collections import Counter
from functools import lru_cache
from html import unescape
from unicodedata import normalize
from xml.etree.ElementTree import tostring

import nh3
from latex2mathml import commands
from latex2mathml.converter import Converter
from latex2mathml.symbols_parser import SYMBOLS

from app.web.unseen import visible

MAX_FORMULA = 2_000  # characters


def words(text: str) -> frozenset[str]:
    """Return the set of words in a text."""
    return frozenset(text.split())


MATHML = words(
    "math mrow mi mn mo ms mtext mspace mfrac msqrt mroot msub msup msubsup munder mover munderover mtable mtr mtd "
    "mstyle mpadded menclose"
)
ATTRIBUTES = {
    "math": {"display"},
    "mo": {"stretchy", "fence", "separator", "lspace", "rspace", "minsize", "maxsize"},
    "mspace": {"width"},
    "mi": {"mathvariant"},
    "mtd": {"columnalign"},
    "mtable": {"columnalign"},
    "mfrac": {"linethickness"},
    "menclose": {"notation"},
}

# Only commands known to show their whole argument: no definitions, colors, phantoms or measures.
_SIGNS = {name: visible(chr(int(code, 16))) for name, code in SYMBOLS.items() if re.fullmatch(r"\\[a-zA-Z]+", name)}
_NAMES = {*commands.FUNCTIONS, *commands.LIMIT, r"\argmax", r"\argmin", r"\det", r"\gcd", r"\Pr"}
_STRUCTURE = {
    *commands.DIACRITICS,
    *commands.EXTENSIBLE_ARROWS,
    *commands.BIG,
    *commands.BIG_OPEN_CLOSE,
    *words(
        r"""\frac \dfrac \tfrac \cfrac \binom \dbinom \tbinom \over \choose \sqrt \overset \underset \stackrel \substack
        \not \tag \text \textbf \textit \textrm \textsf \texttt \textup \textnormal \mbox \operatorname \mathbb \mathbf
        \mathcal \mathfrak \mathit \mathrm \mathscr \mathsf \mathtt \mathnormal \boldsymbol \bm \left \right \limits
        \nolimits \mod \pmod \bmod \pod \quad \qquad \displaystyle \textstyle \boxed \cancel \begin \end \limsup
        \liminf"""
    ),
}
_SHOWN = {
    name: sign for name, sign in _SIGNS.items() if len(sign) == 1 and not sign.isspace() and name not in _STRUCTURE
}
_ENVIRONMENT = re.compile(
    r"\\(?:begin|end)\s*\{(?:array\}\s*\{[lcr|\s]*|array|[pbBvV]?matrix|smallmatrix|cases|aligned|align\*?|split)\}"
)
_OPTION = re.compile(r"(\\(?:sqrt|x[a-zA-Z]+)\s*)\[([^\[\]]*)\]")  # its brackets only mark the option's place
_NOTHING = re.compile(r"\\(?:left|right)\s*\.")
_PART = re.compile(r"\\[a-zA-Z]+|\\.|\S", re.DOTALL)
_WRITTEN = dict(zip(map("\\".__add__, "{}%&#$_|"), "{}%&#$_‖", strict=True))
_SPACES = {"\\\\", "\\,", "\\;", "\\:", "\\!", "\\>", "\\ ", "\\\n"}
_NUMBERED = re.compile(r"\{align\}")  # the converter would add line numbers that nobody wrote
_ALIGNED = re.compile(r"\{aligned\}")  # which the converter knows as split
_BY_NUMBER = re.compile(r"&#x([0-9a-fA-F]+);")
_TAG = re.compile("<[^>]*>")


@lru_cache
def _cleaner() -> nh3.Cleaner:
    return nh3.Cleaner(tags=set(MATHML), attributes=ATTRIBUTES, link_rel=None)


def typeset(latex: str, display: bool) -> str | None:
    """Return sanitized MathML that shows every sign of the formula, or None if only its source does."""
    needed = _signs(latex) if len(latex) <= MAX_FORMULA else None
    if not needed:
        return None
    known = _ALIGNED.sub("{split}", _NUMBERED.sub("{align*}", latex))
    try:
        tree = Converter(display="block" if display else "inline").convert_to_element(known)
        for element in tree.iter():
            element.text = _BY_NUMBER.sub(lambda found: chr(int(found[1], 16)), element.text or "")
            if element.get("width", "").startswith(("-", "negative")):
                del element.attrib["width"]  # a negative width would draw one thing over another
        html = _cleaner().clean(tostring(tree, encoding="unicode"))
    except Exception:  # the converter lets any parser error through
        return None
    return None if needed - _counted(unescape(_TAG.sub("", html))) else html


def _signs(latex: str) -> Counter | None:
    """Count the signs that the formula must show; None if it contains something that the converter may lose."""
    within = "\\begin" in latex
    shown = []
    for part in _PART.findall(_OPTION.sub(r"\1 \2", _NOTHING.sub("", _ENVIRONMENT.sub(" ", latex)))):
        if part in _WRITTEN:
            shown.append(_WRITTEN[part])
        elif part in _SHOWN:
            shown.append(_SHOWN[part])
        elif part in _NAMES:
            shown.append(part[1:])
        elif part == "%" or part in ("\\begin", "\\end") or (len(part) > 1 and part not in _STRUCTURE | _SPACES):
            return None  # a comment, or an unknown environment or command
        elif len(part) == 1 and part not in ("{}^_~&" if within else "{}^_~"):
            shown.append(part)
    return _counted("".join(shown))


def _counted(text: str) -> Counter:
    # Compare signs regardless of their typographic variant.
    written = normalize("NFKC", text).translate(str.maketrans("−′∗", "-'*"))
    return Counter(sign for sign in written if not sign.isspace())
