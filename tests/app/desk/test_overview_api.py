"""The desk over REST: figures, lists, undo, editing, what comes next; on both databases."""

import pytest

from app.database import reading
from app.demonstrations.tables import Demonstration
from app.rounds.tables import ItemKind
from tests.desk import make_round

API = "/api/v1/assignments"


@pytest.fixture
def ana(people):
    return people.labeler("ana")


@pytest.fixture
def rest(client, people, ana):
    """Sends a request as ana; returns the reply."""
    headers = people.bearer(ana)
    return lambda method, path, **body: client.request(method, f"{API}{path}", headers=headers, **body)


def demonstrate(rest, text: str) -> str:
    work = rest("POST", "/next").json()
    assert rest("POST", f"/{work['id']}/submit", json={"fence": work["fence"], "text": text}).status_code == 200
    return work["id"]


def test_undo_edit_and_the_history(rest):
    make_round(2, kind=ItemKind.DEMONSTRATION)
    id = demonstrate(rest, "first")
    undone = rest("POST", f"/{id}/undo")
    assert undone.status_code == 200 and undone.json()["state"] == "held"
    assert undone.json()["draft"]["content"]["text"] == "first"
    assert rest("POST", "/next").json()["id"] == id, "it comes first again"
    assert demonstrate(rest, "second") == id
    editing = rest("POST", f"/{id}/edit")
    assert editing.json()["state"] == "editing"
    saved = rest("POST", f"/{id}/draft", json={"content": {"text": "thir"}})
    assert saved.status_code == 422, "If-Match is asked for"
    rest("POST", f"/{id}/submit", json={"text": "third"})
    told = rest("GET", f"/{id}/versions").json()
    assert [(one["number"], one["content"]["text"], one["end"]) for one in told] == [
        (1, "first", "withdrawn"),
        (2, "second", "edited"),
    ]
    refused = rest("POST", f"/{id}/undo")
    assert refused.status_code == 409 and "undo are over" in refused.json()["detail"]
    rest("POST", f"/{id}/edit")
    assert rest("POST", f"/{id}/leave").json()["state"] == "submitted"
    with reading() as session:
        [stored] = session.query(Demonstration).all()
        assert stored.completion.text == "third" and stored.edited_at


def test_the_lists_page_by_page_and_the_figures(rest):
    make_round(7, kind=ItemKind.DEMONSTRATION, number=4)
    done = [demonstrate(rest, f"text {number}") for number in range(3)]
    skipped = []
    for _ in range(2):
        skipped.append(rest("POST", "/next").json()["id"])
        rest("POST", f"/{skipped[-1]}/skip", json={"reason": "unclear"})
    held = rest("POST", "/next").json()["id"]
    first = rest("GET", "?state=submitted&limit=2").json()
    second = rest("GET", f"?state=submitted&limit=2&cursor={first['next_cursor']}").json()
    assert [one["id"] for one in first["items"] + second["items"]] == done[::-1] and second["next_cursor"] is None
    passed = rest("GET", "?state=skipped").json()["items"]
    assert [(one["id"], one["reason"], one["state"]) for one in passed] == [
        (id, "unclear", "skipped") for id in skipped[::-1]
    ]
    assert [(one["id"], one["state"]) for one in rest("GET", "").json()["items"]] == [(held, "held")]
    day = rest("GET", "/day").json()
    assert (day["submitted_today"], day["skipped"], day["unfinished"]) == (3, 2, 1)
    assert day["rounds"] == [{"round": 4, "kind": "demonstration", "submitted": 3, "waiting": 1}]
    assert rest("GET", "?cursor=nonsense").status_code == 422
    assert rest("POST", f"/{skipped[0]}/resume").json()["state"] == "held"
    assert [one["id"] for one in rest("GET", "?state=skipped").json()["items"]] == [skipped[1]]


def test_what_comes_next_is_reserved_and_given_back(rest, client, people):
    make_round(2, kind=ItemKind.DEMONSTRATION)
    work = rest("POST", "/next").json()
    ahead = rest("POST", f"/{work['id']}/ahead").json()
    assert ahead["id"] != work["id"] and ahead["state"] == "held"
    assert rest("DELETE", "/ahead").status_code == 204
    assert rest("GET", f"/{ahead['id']}").status_code == 404, "it was never begun"
    again = rest("POST", f"/{work['id']}/ahead").json()
    rest("POST", f"/{work['id']}/submit", json={"text": "done"})
    came = rest("POST", "/next").json()
    assert (came["id"], came["fence"]) == (again["id"], again["fence"])
    assert rest("POST", f"/{came['id']}/ahead").status_code == 204


def test_nobody_undoes_the_work_of_others(rest, client, people):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    id = demonstrate(rest, "mine")
    others = people.bearer(people.labeler("ben"))
    for act in ("undo", "edit", "leave", "versions"):
        method = "GET" if act == "versions" else "POST"
        assert client.request(method, f"{API}/{id}/{act}", headers=others).status_code == 404


def test_admins_see_the_history(rest, client, people):
    make_round(1, kind=ItemKind.DEMONSTRATION, number=1)
    make_round(1, k=2, number=2)
    id = demonstrate(rest, "<i>first</i>")
    rest("POST", f"/{id}/edit")
    rest("POST", f"/{id}/submit", json={"text": "second"})
    compared = rest("POST", "/next").json()["id"]
    rest("POST", f"/{compared}/submit", json={"completions": {"A": {"tier": 1}, "B": {"tier": 2}}})
    rest("POST", f"/{compared}/undo")
    rest("POST", f"/{compared}/submit", json={"completions": {"A": {"tier": 2}, "B": {"tier": 1}}})
    olga = people.admin("olga")
    headers = people.bearer(olga)
    people.sign_in(client, olga)
    for kind, said in (("demonstrations", "&lt;i&gt;first&lt;/i&gt;"), ("comparisons", "A: place 1")):
        [one] = client.get(f"/api/v1/{kind}", headers=headers).json()["items"]
        [version] = client.get(f"/api/v1/{kind}/{one['id']}/versions", headers=headers).json()
        assert version["number"] == 1
        page = client.get(f"/admin/{kind}/{one['id']}").text
        assert "Earlier versions" in page and said in page
