"""Detection of the language that a prompt is written in."""

import re
from functools import cache

LEAST_BYTES = 8  # of words in UTF-8: three Chinese characters are enough
LEAST_PROBABILITY = 0.25  # above it, none of 5,075 English prompts is misidentified; code is below 0.1
SHORT_BYTES = 30  # of words; in shorter texts a name or two decide: "vera sells keys" is closest to Icelandic
LEAST_PROBABILITY_OF_SHORT = 0.6  # above it, none of 517 short English prompts is misidentified
MOST_CHARACTERS = 2_000  # examined; more do not change the result

_NO_LANGUAGE = re.compile(
    r"```[^`]*```|`[^`\n]*`|\$\$[^$]*\$\$|\$[^$\n]*\$|\\\([^\n]*?\\\)|\\\[[^\]]*\\\]"
    r"|https?://\S+|www\.\S+|\S+@\S+|</?[a-zA-Z][^<>]{0,200}>|\\[a-zA-Z]+"
)
_SIGN_OF_CODE = re.compile(r"[=(){}\[\];<>_|&*+^~\\/]")
_SIGNS_OF_CODE = 0.08  # share of such signs above which a line is code or a formula
_LETTERS = re.compile(r"[^\W\d_]+")


def language(text: str) -> str:
    """Return the ISO 639-1 code of a text's language, "" if it is unclear.

    Ignores code, formulas and addresses.
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
    """Load the model, which takes a second and 75 MiB on top of NumPy's 15; it is bundled, so nothing is downloaded."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
