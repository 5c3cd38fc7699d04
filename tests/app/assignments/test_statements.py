"""How many statements the requests of a labeler's day cost: what a round or a text adds must not come up in them."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event

from tests.desk import make_round

API = "/api/v1/assignments"


@contextmanager
def statements(engine) -> Iterator[list[str]]:
    """Notes every statement but those that begin a transaction."""
    seen: list[str] = []

    def note(_connection, _cursor, statement, *_rest) -> None:
        if not statement.startswith("BEGIN"):
            seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


def test_the_hot_path_costs_what_it_did(client, people, database):
    make_round(3, k=3)
    headers = people.bearer(people.labeler("ana"))
    client.get(f"{API}/day", headers=headers)  # the first use of a token is noted
    counts = {}

    def call(name: str, method: str, path: str, etag: str = "", **more) -> dict:
        sent = headers | ({"If-Match": etag} if etag else {})
        with statements(database) as seen:
            reply = client.request(method, f"{API}{path}", headers=sent, **more)
        assert reply.status_code == 200, reply.text
        counts[name] = len(seen)
        return reply.json()

    work = call("first", "POST", "/next")
    path = f"/{work['id']}"
    call("again", "POST", "/next")
    call("draft", "POST", f"{path}/draft", "0", json={"content": {"notes": "x"}})
    call("heartbeat", "POST", f"{path}/heartbeat", json={"fence": work["fence"]})
    call("ahead", "POST", f"{path}/ahead")
    call("ahead again", "POST", f"{path}/ahead")
    submission = {"json": {"completions": {letter: {"tier": 1} for letter in "ABC"}}}
    call("submit", "POST", f"{path}/submit", **submission)
    work = call("next, reserved", "POST", "/next")
    call("submit again", "POST", f"/{work['id']}/submit", **submission)
    call("next", "POST", "/next")
    call("day", "GET", "/day")
    assert counts == {
        "first": 8,  # the versions of guideline and form, which a process reads once, and that the labeler begins
        "again": 3,
        "draft": 3,
        "heartbeat": 2,
        "ahead": 14,
        "ahead again": 10,
        "submit": 6,
        "next, reserved": 3,  # the draft was made with the reservation
        "submit again": 6,
        "next": 4,
        "day": 4,
    }
