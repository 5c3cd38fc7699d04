"""TeX to MathML, where the converter loses nothing of it."""

import re
from collections import Counter
from unicodedata import normalize
from xml.etree.ElementTree import Element, tostring

from latex2mathml.converter import Converter

MAX_FORMULA = 2_000  # characters

# What is said by the layout: environments, the columns of an array, names of commands.
_LAYOUT = re.compile(r"\\\\|\\(?:begin|end)\s*\{[a-zA-Z]+\*?\}(?:\{[lcr|\s]*\})?|\\[a-zA-Z]+")
_NUMBERED = re.compile(r"\{align\}")  # the converter would number its lines, as nobody wrote them
_ALIGNED = re.compile(r"\{aligned\}")  # which the converter knows as split
_BY_NUMBER = re.compile(r"&#x([0-9a-fA-F]+);")


def typeset(latex: str, display: bool) -> str | None:
    """Return MathML that shows every letter and digit of the formula, or None where only its source does."""
    if len(latex) > MAX_FORMULA:
        return None
    known = _ALIGNED.sub("{split}", _NUMBERED.sub("{align*}", latex))
    try:
        tree = Converter(display="block" if display else "inline").convert_to_element(known)
        for element in tree.iter():
            element.text = _BY_NUMBER.sub(lambda found: chr(int(found[1], 16)), element.text or "")
            if element.get("width", "").startswith(("-", "negative")):
                del element.attrib["width"]  # it would lay one thing over another
        shown = list(_texts(tree))
        html = tostring(tree, encoding="unicode")
    except Exception:  # the converter raises whatever its parser meets
        return None
    names = {found[0][1:] for found in _LAYOUT.finditer(latex)}
    content = "".join(text for text in shown if text.lstrip("\\") not in names)
    if not "".join(shown).strip() or _signs(_LAYOUT.sub(" ", latex)) - _signs(content):
        return None
    return html


def _texts(element: Element):
    if element.tag == "mphantom":  # takes its room and is not seen
        return
    yield element.text or ""
    for child in element:
        yield from _texts(child)


def _signs(text: str) -> Counter:
    # Letters, digits and what is beyond ASCII, however a font writes them.
    return Counter(sign for sign in normalize("NFKC", text) if sign.isalnum() or (sign > "\x7f" and not sign.isspace()))
