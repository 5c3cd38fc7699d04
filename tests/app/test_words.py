"""Code, pages and the English of messages use the field's words, not those that a reader stumbles over."""

import re

from app.config import ROOT

AVOIDED = {
    "anew": "again, from the start",
    "whoever": "who",
    "gone on": "continued, confirmed",
    "let go": "discard, release",
    "taken away": "removed, exported",
    "hand in": "submit",
    "handed in": "submitted",
    "handing in": "submitting",
    "piece of work": "task",
    "lately": "recently",
}
WORDS = re.compile(rf"\b({'|'.join(AVOIDED)})\b", re.IGNORECASE)


def test_words_that_the_field_does_not_use_stay_out():
    found = [
        f"{path.relative_to(ROOT)}:{number}: {word} (say: {AVOIDED[word.lower()]})"
        for folder, kinds in (("app", "*.py"), ("training", "*.py"), ("templates", "*.html"), ("static", "*.js"))
        for path in sorted((ROOT / folder).rglob(kinds))
        if "vendor" not in path.parts
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for word in WORDS.findall(line)
    ]
    assert found == []
