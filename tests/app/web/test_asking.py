"""That what cannot be taken back asks once and names what is lost."""

import re

import pytest

from app.config import ROOT

TEMPLATES = [path for path in sorted((ROOT / "templates").rglob("*.html")) if path.name != "forms.html"]
ENDS = {"cancel", "close", "delete", "discard", "revoke", "sign-out", "sign-out-everywhere", "withdraw-piece"}
ASKED_ELSEWHERE = {
    "/sign-out": "asks where words were not saved (static/notes.js)",
    "/account/sign-out-everywhere": "leaves this place signed in",
    "/admin/rounds/{{ round.public_id }}/close": "a page of its own tells what is left open",
}


ASKED = re.compile(r"{% call ask_once\(.*?{% endcall %}", re.S)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT / "templates")))
def test_what_ends_something_asks_once(path):
    text = path.read_text()
    at_one_click = ASKED.sub("", text)
    for address in re.findall(r'action="([^"]*)"', at_one_click):
        assert address.rsplit("/", 1)[-1] not in ENDS or address in ASKED_ELSEWHERE, f"{address} acts at one click"
    assert not re.search(r'<button[^>]*class="[^"]*danger', at_one_click)
    for asked in ASKED.findall(text):
        assert re.search(r'_\("[^"]+"\), _\("[^"]{20,}"\)', asked), "what is lost is named"
