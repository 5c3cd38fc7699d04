"""Blindness: of all that is served to a labeler during a day, nothing tells which policy wrote what."""

import re
from collections import Counter
from itertools import cycle
from types import SimpleNamespace

import pytest
from fastapi.routing import iter_route_contexts
from sqlalchemy import select

from app.assignments import rules as assignments
from app.assignments.tables import LETTERS, Assignment
from app.comparisons.tables import Comparison
from app.completions.tables import Completion
from app.database import reading, transaction
from app.main import create_app
from app.policies.tables import Policy, PolicyKind
from app.rounds.tables import Item, ItemKind, Round
from tests.app.desk.pages.plain_browser import Browser
from tests.conftest import fresh_database
from tests.desk import make_round

K = 5


@pytest.fixture(params=["sqlite"])
def database(request, tmp_path, monkeypatch):
    """What is served is the same over both databases."""
    yield from fresh_database(request, tmp_path, monkeypatch)


def mark_everything() -> set[str]:
    """Give each thing that could tell a policy a unique text of its own; returns those texts and ids."""
    marks: set[str] = set()

    def mark(what: str) -> str:
        marks.add(made := f"mark-{what}-{len(marks)}-zz")
        return made

    with transaction() as session:
        for policy, kind in zip(session.scalars(select(Policy)), cycle(PolicyKind), strict=False):
            policy.name, policy.description = mark("name"), mark("description")
            policy.path, policy.endpoint_url, policy.endpoint_model = mark("path"), mark("url"), mark("model")
            policy.kind, policy.key_variable, policy.last_error = kind, mark("key"), mark("error")
            marks.add(policy.public_id)
        for completion in session.scalars(select(Completion)):
            completion.settings = {"temperature": mark("temperature"), mark("setting"): 1}
            completion.tokens = 987_000_000 + completion.id
            marks.update((completion.public_id, str(completion.tokens)))
        for round in session.scalars(select(Round)):
            round.name, round.plan = mark("round"), {"policies": [{"policy": mark("plan"), "count": 1}]}
        marks.update(session.scalars(select(Item.public_id)))
    return marks


class Served:
    """Everything a client was answered, with its headers."""

    def __init__(self, client):
        self.replies: list[tuple[str, str]] = []
        client.event_hooks["response"] = [self.note]

    def note(self, reply) -> None:
        reply.read()
        self.replies.append((f"{reply.request.method} {reply.request.url}", f"{reply.headers} {reply.text}"))

    def telling(self, marks: set[str]) -> list[tuple[str, str]]:
        """Where a mark was served."""
        return [(where, mark) for where, whole in self.replies for mark in marks if mark in whole]


def every_address(ids: list[str]) -> list[str]:
    """Every GET route there is, with each of these ids in the place of what names one thing."""
    paths = [
        one.path for one in iter_route_contexts(create_app().routes) if "GET" in (getattr(one, "methods", 0) or ())
    ]
    return sorted({re.sub(r"\{\w+\}", id, path) for path in paths for id in ids if "stream" not in path})


def follow_every_link(browser: Browser) -> None:
    for href in set(re.findall(r'(?:href|src)="(/[^"]+)"', browser.html)):
        browser.client.get(href.replace("&amp;", "&"))


def test_nothing_that_a_labeler_is_served_tells_a_policy(client, people):
    make_round(3, k=K, number=1)
    make_round(1, kind=ItemKind.DEMONSTRATION, number=2)
    marks = mark_everything()
    assert len(marks) > 40
    ana = Browser(client, people, people.labeler("ana"))
    served = Served(client)
    ana.open("/")
    follow_every_link(ana)

    # By page: one is rated and ranked, refused on the way, handed in, looked at, reported, edited; one is passed on.
    ana.next()
    url = ana.url
    for letter in LETTERS[:K]:
        assert f"Rate completion {letter}" in ana.html
        follow_every_link(ana)
        ana.press(do="go_on", **{f"rating.{letter}": 4, f"flag.{letter}.fails_task": "yes"})
    assert "undecided" in ana.html
    ana.press("submit", do="hand_in")
    assert ana.reply.status_code == 422
    ana.press("draft", headers={"accept": "application/json"}, version="0", **{"tier.A": 1})
    ana.open(f"{url}?at=ranking")
    ana.press("draft", version="0", **{"tier.A": 2})
    ana.open(f"{url}?at=ranking")
    for act in ("heartbeat", "report", "ahead", "suggest"):
        client.post(f"{url}/{act}", data=people.csrf(client) | {"fence": "1", "problem": "Something is odd."})
    ana.open(f"{url}?at=ranking")
    ana.press("submit", do="stop", **{f"tier.{letter}": place for place, letter in enumerate(LETTERS[:K], 1)})
    with reading() as session:
        comparison = session.scalars(select(Comparison.public_id)).one()
        ids = [comparison, *session.scalars(select(Assignment.public_id)), *sorted(marks)[:6]]
    follow_every_link(ana)
    ana.open(url)
    follow_every_link(ana)
    for act in ("edit", "leave", "undo"):
        client.post(f"{url}/{act}", data=people.csrf(client))
    ana.next()
    ana.press("skip", reason="harmful", note="no")

    # Every address there is, whether anything leads to it or not, by page and with a token.
    bearer = people.bearer(ana.account)
    for path in every_address([*ids, "1"]):
        client.get(path)
        client.get(path, headers=bearer)

    # Over REST: another is claimed, drafted, refused, handed in twice and read again.
    work = client.post("/api/v1/assignments/next", headers=bearer).json()
    address = f"/api/v1/assignments/{work['id']}"
    if work["kind"] == "comparison":
        answers = {one["letter"]: {"rating": 3, "tier": 1} for one in work["completions"]}
        client.post(
            f"{address}/draft", json={"content": {"completions": answers}}, headers=bearer | {"If-Match": '"0"'}
        )
        client.post(f"{address}/draft", json={"content": {}}, headers=bearer | {"If-Match": '"0"'})
        client.post(f"{address}/submit", json={"fence": 1, "completions": {"Z": {}}}, headers=bearer)
        for seconds in (1, 2):
            body = {"fence": 1, "completions": answers, "active_seconds": seconds}
            client.post(f"{address}/submit", json=body, headers=bearer)
    client.get(address, headers=bearer)
    client.get("/api/v1/openapi.json", headers=bearer)

    assert len(served.replies) > 300
    assert served.telling(marks) == []
    people.sign_in(client, people.admin())
    with reading() as session:
        comparison = session.scalars(select(Comparison.public_id)).one()
    shown = client.get(f"/admin/comparisons/{comparison}").text
    assert sum(mark in shown for mark in marks) >= K, "to an admin it is told: the marks are where they should be"


def test_the_order_that_is_shown_tells_nothing(database):
    """Each policy stands as often in each place, whoever looks, and the place of one tells nothing of another item."""
    places = Counter()
    follows = 0
    items = 600
    labeler = SimpleNamespace(public_id="ana")
    before = None
    for number in range(items):
        texts = [SimpleNamespace(public_id=f"{number}-{place}") for place in range(4)]
        item = SimpleNamespace(public_id=f"item-{number}", texts=texts)
        order = [int(one.public_id.split("-")[1]) for one in assignments.shown_completions(item, labeler)]
        assert sorted(order) == [0, 1, 2, 3]
        places.update(enumerate(order))
        follows += order == before
        before = order
    assert all(abs(places[place, policy] - items / 4) < 50 for place in range(4) for policy in range(4)), places
    assert follows < items / 10, "one order in 24 repeats by chance"
