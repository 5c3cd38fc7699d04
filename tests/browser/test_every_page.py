"""Every page that links lead to, as an admin and as a labeler: accessible in light and dark, and never too wide."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from fastapi.routing import iter_route_contexts
from sqlalchemy import event

from app.accounts.queries import by_username
from app.assignments import rules as assignments
from app.database import transaction
from app.main import create_app
from app.onboarding import survey
from app.plans import rules as plans
from app.reports import rules as reports
from app.simulation import demo
from tests.browser.looks import complaints
from tests.loop import fill_round, prompts
from tests.trainer import work

MOST_PAGES = 100
NOT_PAGES = re.compile(r"^/(api|docs|static|metrics|healthz|readyz)\b|\.(jsonl|gz|parquet|json|csv|log)$|/download")
NOT_WALKED = {  # pages that need more than a link, and who looks at them
    "/sign-in": "below, before the walk",
    "/first-run": "test_tour_by_keyboard: only there before anybody has an account",
    "/assignments/{id}": "test_day_looks, test_ranking_looks, test_writing, test_conversations: every state of it",
    "/admin/rounds/{id}/close": "test_tour_by_keyboard: of a round that is open",
    "/prompts/write/{id}": "test_writing",
    "/conversations/{id}": "test_conversations",
    "/admin/conversations/{id}": "test_conversations",
    "/guidelines/{id}/changes": "test_onboarding: once a guideline waits to be read",
    "/onboarding": "test_onboarding",
    "/onboarding/exercises/{id}": "test_onboarding",
    "/admin/onboarding/exercises/{id}": "test_onboarding",
    "/admin/onboarding/screenings/{number}": "test_onboarding",
    "/admin/simulation/state": "a part of a page",
    "/admin/jobs/{id}/metrics": "a part of a page",
    "/admin/jobs/{id}/stream": "events",
    "/admin/snapshots/{id}/{name}": "a file",
}


@pytest.fixture
def filled(live, monkeypatch) -> None:
    """The demo's data, with fewer prompts, and one of what else has a page: a report, answers, a plan's whole work."""
    monkeypatch.setattr(demo, "TRAIN_PROMPTS", 12)
    monkeypatch.setattr(demo, "VALIDATION_PROMPTS", 4)
    monkeypatch.setattr(demo, "DEMONSTRATIONS", 4)
    demo.load(lambda *_: None)
    with transaction() as session:
        ada = by_username(session, "ada")
        reports.make(session, assignments.claim(session, ada), ada, "The prompt ends in the middle.")
        survey.offer(session, None)
    round = fill_round(prompts(6), number=9)
    with transaction() as session:
        plans.start(session, session.merge(round), {"next_round": None})
    work()


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


def routes() -> set[str]:
    """Every address of a page, as it stands in the code."""
    found = {
        one.path for one in iter_route_contexts(create_app().routes) if "GET" in (getattr(one, "methods", None) or ())
    }
    return {path for path in found if not NOT_PAGES.search(path)}


def route_of(path: str) -> str:
    """An address with names in the place of what names one thing, as routes have them."""
    return re.sub(r"/([0-9a-f]{16}|\d+)(?=/|$)", "/{id}", path)


def test_every_page_is_accessible_and_never_too_wide(page, filled, database):
    page.goto("/sign-in")
    wrong = complaints(page, "/sign-in")
    visited, writes = [], []

    def note(_connection, _cursor, statement, *_rest) -> None:
        if not statement.lstrip().upper().startswith(("SELECT", "BEGIN", "WITH", "PRAGMA")) or "IMMEDIATE" in statement:
            writes.append(statement)

    for username, language in (("carla", "en"), ("ada", "de")):
        with transaction() as session:
            by_username(session, username).language = language
        page.context.clear_cookies()
        page.goto("/sign-in")
        page.fill("[name=username]", username)
        page.fill("[name=password]", demo.DEMO_PASSWORD)
        page.click("main button[type=submit]")
        page.wait_for_url(lambda url: "/sign-in" not in url)
        event.listen(database, "before_cursor_execute", note)
        for path in walk(page):
            visited.append(path)
            assert page.locator("html").get_attribute("lang") == language, path
            wrong += complaints(page, path)
        event.remove(database, "before_cursor_execute", note)
    assert not writes, "GET never writes"
    assert not wrong, "\n".join(wrong)
    left = routes() - {route_of(path) for path in visited} - set(NOT_WALKED)
    left -= {"/work/{listing}"} if "/work/skipped" in visited else set()
    left -= {"/admin/forms/{kind}"} if "/admin/forms/prompt" in visited else set()
    assert not left, f"no link leads to {left}"
