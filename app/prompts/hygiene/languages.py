"""Which language a prompt is written in."""

import re
from functools import cache

LEAST_BYTES = 8  # of words in UTF-8: of Chinese three characters are enough
LEAST_PROBABILITY = 0.25  # of 5,075 English prompts none is another language above it; code is below 0.1
SHORT_BYTES = 30  # of words; a name or two decide for such a text: "vera sells keys" is nearest to Icelandic
LEAST_PROBABILITY_OF_SHORT = 0.6  # of 517 short English prompts none is another language above it
MOST_CHARACTERS = 2_000  # that are looked at; more of them change nothing

_NO_LANGUAGE = re.compile(
    r"```[^`]*```|`[^`\n]*`|\$\$[^$]*\$\$|\$[^$\n]*\$|\\\([^\n]*?\\\)|\\\[[^\]]*\\\]"
    r"|https?://\S+|www\.\S+|\S+@\S+|</?[a-zA-Z][^<>]{0,200}>|\\[a-zA-Z]+"
)
_SIGN_OF_CODE = re.compile(r"[=(){}\[\];<>_|&*+^~\\/]")
_SIGNS_OF_CODE = 0.08  # of a line's characters, from which it is code or a formula
_LETTERS = re.compile(r"[^\W\d_]+")


def language(text: str) -> str:
    """Return the ISO 639-1 code of the language a text is written in, "" where that is not clear.

    Code, formulas and addresses do not count.
    """
    lines = map(str.strip, _NO_LANGUAGE.sub(" ", text[:MOST_CHARACTERS]).splitlines())
    said = " ".join(line for line in lines if not _is_code(line))
    bytes_of_words = sum(len(word.encode("utf-8", "ignore")) for word in _LETTERS.findall(said))
    if bytes_of_words < LEAST_BYTES:
        return ""
    code, probability = _identifier().classify(said)
    least = LEAST_PROBABILITY_OF_SHORT if bytes_of_words < SHORT_BYTES else LEAST_PROBABILITY
    return code if len(code) == 2 and probability >= least else ""


def _is_code(line: str) -> bool:
    if line.endswith((":", "{", ";")) and len(line.split()) < 3:  # "class Reader:", "Input:"
        return True
    return len(_SIGN_OF_CODE.findall(line)) > len(line) * _SIGNS_OF_CODE


@cache
def _identifier():
    """Load the model: a second, and 75 MiB on top of NumPy's 15; it is in the package, and nothing is downloaded."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
