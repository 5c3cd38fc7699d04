"""The time of an answer: one figure, the draft's, which never shrinks and never exceeds what the clock allows."""

import pytest
from sqlalchemy import select, update

from app.assignments import drafts
from app.assignments.tables import Draft, EarlierVersion
from app.comparisons.tables import Comparison
from app.conversations.tables import Conversation
from app.database import reading, seconds_since, transaction
from app.demonstrations.tables import Demonstration
from app.rounds.tables import ItemKind
from tests.app.conversations.conftest import server, talk  # noqa: F401
from tests.app.desk.pages.plain_browser import Browser
from tests.app.onboarding.test_practice import read_guideline, write
from tests.desk import given_earlier, make_round

API = "/api/v1/assignments"
ANSWERS = {
    ItemKind.COMPARISON: {"completions": {"A": {"tier": 1}, "B": {"tier": 2}}},
    ItemKind.DEMONSTRATION: {"text": "A river."},
    ItemKind.CONVERSATION: {"messages": [{"role": "assistant", "text": "The Rhine."}]},
}
OTHER = {
    ItemKind.COMPARISON: {"completions": {"A": {"tier": 2}, "B": {"tier": 1}}},
    ItemKind.DEMONSTRATION: {"text": "A sea."},
    ItemKind.CONVERSATION: {"messages": [{"role": "assistant", "text": "The Nile."}]},
}
TABLES = {
    ItemKind.COMPARISON: Comparison,
    ItemKind.DEMONSTRATION: Demonstration,
    ItemKind.CONVERSATION: Conversation,
}
KINDS = pytest.mark.parametrize("kind", [*ItemKind])


@pytest.fixture
def rest(client, people):
    """Sends a request of ana's; returns what came, which was no error."""
    headers = people.bearer(people.labeler("ana"))

    def call(method: str, path: str, status: int = 200, **more):
        reply = client.request(method, f"{API}{path}", headers=headers | more.pop("headers", {}), **more)
        assert reply.status_code == status, reply.text
        return reply.json() if reply.content else None

    return call


@pytest.fixture
def begun(rest, talk):  # noqa: F811
    """Begins an item of a kind, given so many seconds ago; its address."""

    def begin(kind: ItemKind, seconds: float = 0) -> str:
        if kind is ItemKind.CONVERSATION:
            talk(alternatives=None)
        else:
            make_round(1, k=2, kind=kind)
        id = rest("POST", "/next")["id"]
        given_earlier(seconds)
        return f"/{id}"

    return begin


def draft_of() -> Draft:
    with reading() as session:
        return session.scalars(select(Draft)).one()


def answer_of(kind: ItemKind):
    with reading() as session:
        return session.scalars(select(TABLES[kind])).one()


def there_was() -> float:
    """Seconds since the only item was given."""
    with reading() as session:
        return session.scalar(select(seconds_since(Draft.given_at)))


@KINDS
def test_an_answer_has_the_time_of_its_draft(rest, begun, kind):
    path = begun(kind, 200)
    rest("POST", f"{path}/draft", json={"content": ANSWERS[kind], "active_seconds": 95}, headers={"If-Match": "0"})
    rest("POST", f"{path}/submit", json=ANSWERS[kind])  # says nothing of time
    assert answer_of(kind).active_seconds == draft_of().active_seconds == 95


@KINDS
def test_an_edit_keeps_the_longer_time_and_the_earlier_version_its_own(rest, begun, kind):
    path = begun(kind, 200)
    rest("POST", f"{path}/submit", json={**ANSWERS[kind], "active_seconds": 30})
    for content, said, stands in ((OTHER, 7, 30), (ANSWERS, 44, 44)):
        rest("POST", f"{path}/edit")
        rest("POST", f"{path}/submit", json={**content[kind], "active_seconds": said})
        assert answer_of(kind).active_seconds == draft_of().active_seconds == stands
    assert [one["active_seconds"] for one in rest("GET", f"{path}/versions")] == [30, 30]


def test_a_version_that_was_taken_back_keeps_its_time(rest, begun):
    path = begun(ItemKind.COMPARISON, 200)
    rest("POST", f"{path}/submit", json={**ANSWERS[ItemKind.COMPARISON], "active_seconds": 30})
    rest("POST", f"{path}/undo")
    rest("POST", f"{path}/submit", json={**ANSWERS[ItemKind.COMPARISON], "active_seconds": 12})
    assert answer_of(ItemKind.COMPARISON).active_seconds == 30
    assert [one["active_seconds"] for one in rest("GET", f"{path}/versions")] == [30]


def test_an_edit_that_is_discarded_leaves_one_figure(rest, begun):
    path = begun(ItemKind.COMPARISON, 200)
    rest("POST", f"{path}/submit", json={**ANSWERS[ItemKind.COMPARISON], "active_seconds": 30})
    version = rest("POST", f"{path}/edit")["draft"]["version"]
    body = {"content": OTHER[ItemKind.COMPARISON], "active_seconds": 41}
    rest("POST", f"{path}/draft", json=body, headers={"If-Match": str(version)})
    rest("POST", f"{path}/leave")
    assert answer_of(ItemKind.COMPARISON).active_seconds == draft_of().active_seconds


@KINDS
def test_what_exceeds_the_time_there_was_is_cut(rest, begun, kind):
    """In a draft first, then in the answer, which counts on from there."""
    path = begun(kind, 50)
    body = {"content": ANSWERS[kind], "active_seconds": 86_400}
    rest("POST", f"{path}/draft", json=body, headers={"If-Match": "0"})
    first = draft_of().active_seconds
    assert 50 <= first <= there_was() + drafts.SLACK_SECONDS
    given_earlier(100)
    rest("POST", f"{path}/submit", json={**ANSWERS[kind], "active_seconds": 86_400})
    assert first + 100 <= answer_of(kind).active_seconds <= there_was() + drafts.SLACK_SECONDS


@pytest.mark.parametrize("said", [10_000_000, 1e300])
def test_no_length_of_time_costs_the_answer(rest, begun, said):
    path = begun(ItemKind.DEMONSTRATION, 50)
    rest("POST", f"{path}/submit", json={"text": "A river.", "active_seconds": said})
    assert 50 <= answer_of(ItemKind.DEMONSTRATION).active_seconds <= there_was() + drafts.SLACK_SECONDS


def test_the_time_counts_from_the_first_time_it_was_given_earlier(rest, begun, people, client):
    path = begun(ItemKind.DEMONSTRATION, 3000)
    rest("POST", f"{path}/skip", 204, json={"reason": "other"})
    rest("POST", f"{path}/resume")
    rest("POST", f"{path}/submit", json={"text": "A river.", "active_seconds": 2000})
    assert answer_of(ItemKind.DEMONSTRATION).active_seconds == 2000


def test_time_that_was_stored_before_does_not_shrink(rest, begun):
    path = begun(ItemKind.DEMONSTRATION)
    with transaction() as session:
        session.execute(update(Draft).values(active_seconds=900))
    rest("POST", f"{path}/submit", json={"text": "A river.", "active_seconds": 86_400})
    assert answer_of(ItemKind.DEMONSTRATION).active_seconds == 900


@pytest.mark.parametrize("said", [-1, "NaN", "Infinity"])
def test_what_is_no_time_is_refused(rest, begun, said):
    path = begun(ItemKind.DEMONSTRATION)
    rest("POST", f"{path}/submit", 422, json={"text": "A river.", "active_seconds": said})


def test_practice_is_bounded_too(client, people):
    write(client, people.bearer(people.admin()))
    ana = people.labeler("ana")
    read_guideline(ana)
    me = people.bearer(ana)
    id = client.post("/api/v1/onboarding/next", json={}, headers=me).json()["assignment"]
    given_earlier(50)
    answer = {"completions": {letter: {"tier": 1} for letter in "ABC"}, "active_seconds": 86_400}
    assert client.post(f"{API}/{id}/submit", json=answer, headers=me).status_code == 200
    assert 50 <= answer_of(ItemKind.COMPARISON).active_seconds <= there_was() + drafts.SLACK_SECONDS


@pytest.mark.parametrize("said", ["86400", "999999999999"])
def test_a_page_is_bounded_too(client, people, said):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    ana = Browser(client, people, people.labeler("ana")).next()
    given_earlier(50)
    ana.press("submit", text="A river.", active_seconds=said)
    assert 50 <= answer_of(ItemKind.DEMONSTRATION).active_seconds <= there_was() + drafts.SLACK_SECONDS


def test_earlier_versions_have_the_drafts_time_and_no_more(rest, begun):
    path = begun(ItemKind.DEMONSTRATION, 50)
    rest("POST", f"{path}/submit", json={"text": "A river.", "active_seconds": 86_400})
    stood = answer_of(ItemKind.DEMONSTRATION).active_seconds
    rest("POST", f"{path}/edit")
    with reading() as session:
        assert session.scalars(select(EarlierVersion)).one().active_seconds == stood
