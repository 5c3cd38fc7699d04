"""What a reader sees of HTML, by html.parser alone: text and list numbers; anything not allowed fails."""

import re
from html.parser import HTMLParser

from app.web.markdown import ATTRIBUTES, TAGS

WITHIN_A_LINE = {"a", "code", "em", "s", "span", "strong"}
VOID = {"br", "hr"}


class Strict(HTMLParser):
    """Fails on any tag or attribute that is not on the list, and on any address that is neither web nor mail."""

    def handle_starttag(self, tag, attributes):
        assert tag in TAGS
        for name, value in attributes:
            assert name in ATTRIBUTES.get(tag, set()) | ({"rel"} if tag == "a" else set()), (tag, name)
            if name == "href":
                assert value.lower().startswith(("http://", "https://", "mailto:", "/", "#")), value
            if name == "tabindex":
                assert value == "0"
            if name == "class":
                assert not {"raw", "alert", "skip", "visually-hidden", "primary"} & set(value.split()), value

    handle_startendtag = handle_starttag

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.parts: list[str] = []
        self.lists: list[int | None] = []
        self.unseen = 0  # phantoms that are open

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "mphantom":
            self.unseen += 1
        if tag in ("ol", "ul"):
            self.lists.append(int(given.get("start", 1)) if tag == "ol" and given.get("class") != "written" else None)
        if tag not in WITHIN_A_LINE and not tag.startswith("m"):
            self.parts.append("\n")
        if tag == "li" and self.lists[-1] is not None:
            self.parts.append(f"{self.lists[-1]}. ")
            self.lists[-1] += 1

    def handle_endtag(self, tag):
        if tag == "mphantom":
            self.unseen -= 1
        if tag in ("ol", "ul"):
            self.lists.pop()
        if tag not in WITHIN_A_LINE and not tag.startswith("m"):
            self.parts.append("\n")

    def handle_data(self, data):
        if not self.unseen:
            self.parts.append(data)


def text_of(html: str) -> str:
    """Return the text that a reader sees of the HTML, from the first word to the last."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return "".join(reader.parts)


def words(text: str) -> list[str]:
    """Return the runs of letters and digits of a text."""
    return re.findall(r"[^\W_]+", text)
