"""Every page that links lead to, as an admin and as a labeler: accessible in light and dark, and never too wide."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from sqlalchemy import event

from app.config import ROOT
from app.simulation import demo

AXE = (ROOT / "tests" / "browser" / "vendor" / "axe" / "axe.min.js").read_text()
WIDTHS = (360, 1280)
MOST_PAGES = 80
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
NOT_PAGES = re.compile(r"^/(api|docs|static|metrics|healthz|readyz)\b|\.(jsonl|gz|parquet|json|csv|log)$|/download")


@pytest.fixture
def filled(live, monkeypatch) -> None:
    """The demo's data, with fewer prompts."""
    monkeypatch.setattr(demo, "TRAIN_PROMPTS", 12)
    monkeypatch.setattr(demo, "VALIDATION_PROMPTS", 4)
    monkeypatch.setattr(demo, "DEMONSTRATIONS", 4)
    demo.load(lambda *_: None)


def kind_of(path: str) -> str:
    """An address without what names one thing, so that one round stands for all of them."""
    return re.sub(r"[0-9a-f]{16}|\b\d+\b", "*", path)


def walk(page) -> Iterator[str]:
    """Every kind of page that links lead to from where the tab is."""
    seen, waiting = set(), [urlsplit(page.url).path, "/account"]
    while waiting and len(seen) < MOST_PAGES:
        path = waiting.pop(0)
        if kind_of(path) in seen or NOT_PAGES.search(path):
            continue
        seen.add(kind_of(path))
        answer = page.goto(path)
        assert answer.status == 200, f"{path} answered {answer.status}, and a link leads to it"
        yield path
        hrefs = page.eval_on_selector_all("a[href]", "links => links.map(link => link.href)")
        here = urlsplit(page.url).netloc
        waiting += [urlsplit(href).path for href in hrefs if urlsplit(href).netloc == here]


def complaints(page, path: str) -> list[str]:
    """What is wrong with the page as it stands."""
    found = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        over = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        if over > 0:
            found.append(f"{path} is {over} px too wide at {width} px")
    if page.locator("h1").count() != 1:
        found.append(f"{path} has {page.locator('h1').count()} headings of the first level")
    page.evaluate(AXE)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        for violation in page.evaluate("rules => axe.run(document, rules)", RULES)["violations"]:
            places = [node["html"][:160] for node in violation["nodes"][:3]]
            found.append(f"{path} ({scheme}) {violation['id']}: {violation['help']}: {places}")
    return found


@pytest.mark.parametrize("username", ["carla", "ada"])
def test_every_page_is_accessible_and_never_too_wide(page, filled, database, username):
    page.goto("/sign-in")
    wrong = complaints(page, "/sign-in")
    page.fill("[name=username]", username)
    page.fill("[name=password]", demo.PASSWORD)
    page.click("main button[type=submit]")
    page.wait_for_url(lambda url: "/sign-in" not in url)
    visited, writes = [], []

    @event.listens_for(database, "before_cursor_execute")
    def note(_connection, _cursor, statement, *_rest) -> None:
        if not statement.lstrip().upper().startswith(("SELECT", "BEGIN", "WITH", "PRAGMA")) or "IMMEDIATE" in statement:
            writes.append(statement)

    for path in walk(page):
        visited.append(path)
        wrong += complaints(page, path)
    assert not writes, "GET never writes"
    assert not wrong, "\n".join(wrong)
    assert len(visited) >= (12 if username == "carla" else 3), visited
