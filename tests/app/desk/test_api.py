"""A labeler's day over REST."""

import itertools

import pytest
from sqlalchemy import func, select

from app.assignments import rules
from app.comparisons.tables import ComparedCompletion, Comparison
from app.database import reading, transaction
from app.demonstrations.tables import Demonstration
from app.rounds.tables import ItemKind, Round
from tests.desk import SECRET_POLICY, given_earlier, make_round

API = "/api/v1/assignments"


@pytest.fixture
def ana(people):
    return people.labeler("ana")


@pytest.fixture
def bearer(people, ana):
    return people.bearer(ana)


def ranking(work: dict, **changes) -> dict:
    """A complete submission: rated, gone on from, and ranked in the order shown."""
    answers = {
        one["letter"]: {"rating": 4, "flags": {}, "flags_complete": True, "tier": place}
        for place, one in enumerate(work["completions"], 1)
    }
    return {"fence": work["fence"], "completions": answers, "notes": "", "active_seconds": 12.5} | changes


def close(round: Round) -> None:
    with transaction() as session:
        rules.close_round(session, session.get_one(Round, round.id))


def test_a_comparison_from_claim_to_row(client, ana, bearer):
    make_round(1, k=3)
    work = client.post(f"{API}/next", headers=bearer).json()
    assert (work["kind"], work["state"], work["fence"]) == ("comparison", "held", 1)
    assert work["draft"]["version"] == 0 and work["draft"]["content"]["completions"] == {}
    assert work["questions"][0]["name"] == "rating" and len(work["questions"]) == 12
    body = ranking(work, notes="close")
    body["completions"]["A"] = {"rating": 7, "flags": {"fails_task": True}, "flags_complete": True, "tier": 2}
    body["completions"]["B"] = {"rating": 2, "flags": {"violent_content": True}, "tier": 9}
    body["completions"]["C"] = {"tier": 2}
    given_earlier(60)
    reply = client.post(f"{API}/{work['id']}/submit", json=body, headers=bearer)
    assert reply.status_code == 200, reply.text
    assert reply.json() | {"submitted_at": ""} == {
        "id": work["id"], "kind": "comparison", "late": False, "surplus": False, "submitted_at": "",
    }  # fmt: skip
    with reading() as session:
        stored = session.scalars(select(Comparison)).one()
        rows = session.scalars(select(ComparedCompletion).order_by(ComparedCompletion.shown_position)).all()
        assert (stored.labeler_id, stored.pool, stored.notes, stored.active_seconds) == (ana.id, "train", "close", 12.5)
        assert stored.guideline_id and stored.form_id and stored.assignment_id
        assert [row.completion.text for row in rows] == [one["text"] for one in work["completions"]]
    a, b, c = rows
    assert (a.rating, a.tier, b.rating, b.tier, c.rating, c.tier) == (7, 1, 2, 2, None, 1), "tiers are closed up"
    assert a.flags["fails_task"] is True and sorted(a.flags.values()) == [False] * 10 + [True]
    assert b.flags == {"violent_content": True}, "not gone on from: only what was answered"
    assert c.flags == {}
    assert client.post(f"{API}/next", headers=bearer).status_code == 204


def test_flags_follow_the_prompt(client, bearer):
    make_round(1, k=2, answers={"closed_domain": False, "explicit_safety_constraints": False, "other_explicit_constraints": False})  # fmt: skip  # noqa: E501
    work = client.post(f"{API}/next", headers=bearer).json()
    asked = {question["name"] for question in work["questions"]}
    assert not asked & {"hallucination", "satisfies_constraint"} and len(asked) == 10
    body = ranking(work)
    body["completions"]["A"]["flags"] = {"hallucination": False}
    refused = client.post(f"{API}/{work['id']}/submit", json=body, headers=bearer)
    assert (refused.status_code, refused.json()["field"]) == (422, "completions.A.flags.hallucination")
    body["completions"]["A"]["flags"] = {}
    assert client.post(f"{API}/{work['id']}/submit", json=body, headers=bearer).status_code == 200
    with reading() as session:
        for row in session.scalars(select(ComparedCompletion)):
            assert "hallucination" not in row.flags and len(row.flags) == 9


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda body: body["completions"].pop("B"), "completions.B.tier"),
        (lambda body: body["completions"]["B"].update(tier=None), "completions.B.tier"),
        (lambda body: body["completions"]["B"].update(rating=None), "completions.B.rating"),
        (lambda body: body["completions"].update(D={"tier": 1}), "completions.D"),
        (lambda body: body["completions"]["B"].update(flags={"nonsense": True}), "completions.B.flags.nonsense"),
    ],
)
def test_an_incomplete_ranking_is_refused_by_name(client, bearer, change, field):
    make_round(1, k=3)
    work = client.post(f"{API}/next", headers=bearer).json()
    body = ranking(work)
    change(body)
    refused = client.post(f"{API}/{work['id']}/submit", json=body, headers=bearer)
    assert (refused.status_code, refused.json()["field"]) == (422, field)
    assert client.post(f"{API}/next", headers=bearer).json()["id"] == work["id"], "the work is still there"


@pytest.mark.parametrize(
    "change",
    [
        {"completions": {"A": {"rating": 8}}},
        {"completions": {"A": {"tier": 0}}},
        {"completions": {"J": {"tier": 1}}},
        {"completions": {"A": {"flags": {"fails_task": "no"}}}},
        {"active_seconds": "NaN"},
        {"active_seconds": -1},
        {"policy": "x"},
    ],
)
def test_what_no_form_can_send_is_refused(client, bearer, change):
    make_round(1, k=2)
    work = client.post(f"{API}/next", headers=bearer).json()
    refused = client.post(f"{API}/{work['id']}/submit", json=ranking(work) | change, headers=bearer)
    assert refused.status_code == 422 and refused.headers["content-type"] == "application/problem+json"


def test_a_demonstration_from_claim_to_row(client, ana, bearer):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    work = client.post(f"{API}/next", headers=bearer).json()
    assert (work["kind"], work["completions"], work["questions"]) == ("demonstration", [], [])
    url = f"{API}/{work['id']}/submit"
    assert client.post(url, json={"fence": 1, "text": " \n"}, headers=bearer).json()["field"] == "text"
    refused = client.post(url, json={"fence": 1, "completions": {}}, headers=bearer)
    assert refused.status_code == 422 and "demonstration" in refused.json()["detail"]
    assert client.post(url, json={"text": "    indented\r\ndone \n"}, headers=bearer).status_code == 200
    with reading() as session:
        stored = session.scalars(select(Demonstration)).one()
        assert stored.completion.text == "    indented\r\ndone"
        assert stored.completion.policy.name == "people" and stored.labeler_id == ana.id and stored.guideline_id


@pytest.mark.parametrize("kind", [ItemKind.COMPARISON, ItemKind.DEMONSTRATION])
def test_the_same_key_is_stored_once_and_another_answer_refused(client, bearer, kind):
    make_round(1, k=2, kind=kind)
    work = client.post(f"{API}/next", headers=bearer).json()
    url = f"{API}/{work['id']}/submit"
    one = ranking(work) if kind is ItemKind.COMPARISON else {"text": "one", "fence": 1}
    other = ranking(work, notes="more") if kind is ItemKind.COMPARISON else {"text": "two", "fence": 1}
    first = client.post(url, json=one, headers=bearer | {"Idempotency-Key": "k1"})
    again = client.post(url, json=one, headers=bearer | {"Idempotency-Key": "k1"})
    assert first.status_code == again.status_code == 200 and first.json() == again.json()
    for headers in ({"Idempotency-Key": "k1"}, {"Idempotency-Key": "k2"}, {}):
        refused = client.post(url, json=other, headers=bearer | headers)
        assert refused.status_code == 409
        stored = refused.json()["current"]["content"]
        assert stored["text" if kind is ItemKind.DEMONSTRATION else "notes"] in ("one", "")
    with reading() as session:
        rows = Comparison if kind is ItemKind.COMPARISON else Demonstration
        assert session.scalar(select(func.count()).select_from(rows)) == 1
    assert client.get(f"{API}/{work['id']}", headers=bearer).json()["state"] == "submitted"


@pytest.mark.parametrize("fence", [2**63, -(2**63) - 1])
def test_a_fence_no_database_holds_is_refused(client, people, ana, bearer, fence):
    make_round(1, k=2)
    work = client.post(f"{API}/next", headers=bearer).json()
    refused = client.post(f"{API}/{work['id']}/heartbeat", json={"fence": fence}, headers=bearer)
    assert refused.status_code == 422 and "fence" in refused.text
    people.sign_in(client, ana)
    fields = people.csrf(client) | {"fence": str(fence)}
    assert client.post(f"/assignments/{work['id']}/heartbeat", data=fields).status_code == 422


def test_without_a_key_the_content_is_the_key(client, bearer):
    make_round(1, k=2)
    work = client.post(f"{API}/next", headers=bearer).json()
    for _ in range(2):
        assert client.post(f"{API}/{work['id']}/submit", json=ranking(work), headers=bearer).status_code == 200


def test_drafts_have_versions(client, bearer):
    make_round(1, k=2)
    work = client.post(f"{API}/next", headers=bearer).json()
    url = f"{API}/{work['id']}/draft"
    body = {"content": {"completions": {"A": {"rating": 3}}}, "active_seconds": 4}
    assert client.post(url, json=body, headers=bearer).json()["field"] == "If-Match"
    saved = client.post(url, json=body, headers=bearer | {"If-Match": '"0"'})
    assert saved.json()["version"] == 1 and saved.headers["etag"] == '"1"' and saved.json()["state"] == "held"
    refused = client.post(url, json={"content": {"notes": "mine"}}, headers=bearer | {"If-Match": '"0"'})
    assert refused.status_code == 409
    assert refused.json()["current"]["content"]["completions"]["A"]["rating"] == 3
    assert refused.json()["current"]["yours"]["notes"] == "mine"
    got = client.get(f"{API}/{work['id']}", headers=bearer)
    assert got.headers["etag"] == '"1"' and got.json()["draft"]["content"]["completions"]["A"]["rating"] == 3
    refused = client.post(f"{API}/{work['id']}/submit", json=ranking(work), headers=bearer | {"If-Match": '"0"'})
    assert refused.status_code == 409
    accepted = client.post(f"{API}/{work['id']}/submit", json=ranking(work), headers=bearer | {"If-Match": '"1"'})
    assert accepted.status_code == 200
    assert client.post(url, json=body, headers=bearer | {"If-Match": '"2"'}).status_code == 409, "it is handed in"


def test_skip_and_heartbeat(client, bearer):
    make_round(2, k=2)
    work = client.post(f"{API}/next", headers=bearer).json()
    beat = client.post(f"{API}/{work['id']}/heartbeat", json={"fence": work["fence"]}, headers=bearer)
    assert beat.json()["lease_until"] >= work["lease_until"]
    assert client.post(f"{API}/{work['id']}/heartbeat", json={"fence": 9}, headers=bearer).status_code == 409
    reason = {"reason": "unclear", "note": "what?"}
    assert client.post(f"{API}/{work['id']}/skip", json={"reason": "bored"}, headers=bearer).status_code == 422
    assert client.post(f"{API}/{work['id']}/skip", json=reason, headers=bearer).status_code == 204
    assert client.post(f"{API}/next", headers=bearer).json()["id"] != work["id"]


def test_work_after_closing_is_kept_as_surplus(client, bearer):
    round = make_round(1, k=2)
    work = client.post(f"{API}/next", headers=bearer).json()
    close(round)
    assert client.get(f"{API}/{work['id']}", headers=bearer).json()["state"] == "lost"
    reply = client.post(f"{API}/{work['id']}/submit", json=ranking(work), headers=bearer)
    assert reply.json()["surplus"] is True
    with reading() as session:
        assert session.scalars(select(Comparison)).one().assignment_id is None


# What happened to ana's slot between her claim and her submission -> is her answer surplus?
STORIES = {
    "nothing": ([], False),
    "her lease ran out": (["expire"], False),
    "it ran out and ben has it": (["expire", "ben claims"], True),
    "ben had it and passed": (["expire", "ben claims", "ben skips"], False),
    "ben's lease ran out too": (["expire", "ben claims", "expire"], False),
    "ben handed it in": (["expire", "ben claims", "ben submits"], True),
    "she passed herself": (["ana skips"], False),
    "the round closed": (["close"], True),
}


@pytest.mark.parametrize(("story", "surplus"), STORIES.values(), ids=STORIES)
def test_late_work_is_never_lost(client, people, bearer, story, surplus):
    from tests.app.assignments.test_handing_out import run_out

    round = make_round(1, k=2)
    ben = people.bearer(people.labeler("ben"))
    work = client.post(f"{API}/next", headers=bearer).json()
    for step in story:
        with reading() as session:
            slot = session.scalars(select(rules.Assignment)).one()
        if step == "expire":
            run_out(slot)
        elif step == "ben claims":
            bens = client.post(f"{API}/next", headers=ben).json()
            assert bens["id"] == work["id"] and bens["fence"] == 2
        elif step == "ben skips":
            assert client.post(f"{API}/{work['id']}/skip", json={"reason": "other"}, headers=ben).status_code == 204
        elif step == "ben submits":
            assert client.post(f"{API}/{work['id']}/submit", json=ranking(bens), headers=ben).status_code == 200
        elif step == "ana skips":
            assert client.post(f"{API}/{work['id']}/skip", json={"reason": "other"}, headers=bearer).status_code == 204
        elif step == "close":
            close(round)
    reply = client.post(f"{API}/{work['id']}/submit", json=ranking(work), headers=bearer)
    assert (reply.status_code, reply.json()["surplus"]) == (200, surplus)
    assert client.post(f"{API}/next", headers=bearer).status_code == 204, "she has answered it"
    if "ben claims" in story and story[-1] == "ben claims":
        done = client.post(f"{API}/{work['id']}/submit", json=ranking(bens), headers=ben)
        assert done.json()["surplus"] is False, "ben's live lease was respected"


def test_late_work_fills_any_slot_of_the_item_that_is_left(client, people, bearer):
    from tests.app.assignments.test_handing_out import run_out

    make_round(1, k=2, overlap=2)
    work = client.post(f"{API}/next", headers=bearer).json()
    with reading() as session:
        run_out(session.scalars(select(rules.Assignment).where(rules.Assignment.public_id == work["id"])).one())
    ben = people.bearer(people.labeler("ben"))
    assert client.post(f"{API}/next", headers=ben).json()["id"] == work["id"]
    reply = client.post(f"{API}/{work['id']}/submit", json=ranking(work), headers=bearer).json()
    assert (reply["late"], reply["surplus"]) == (True, False)


def test_only_the_labeler_gets_in(client, people, bearer):
    make_round(1, k=2)
    work = client.post(f"{API}/next", headers=bearer).json()
    ben = people.bearer(people.labeler("ben"))
    for method, path, body in [
        ("GET", "", None),
        ("POST", "/submit", ranking(work)),
        ("POST", "/skip", {"reason": "other"}),
        ("POST", "/heartbeat", {"fence": 1}),
    ]:
        url = f"{API}/{work['id']}{path}"
        assert client.request(method, url, json=body, headers=ben).status_code == 404
        assert client.request(method, url, json=body).status_code == 401


def test_nothing_a_labeler_reads_over_rest_tells_where_a_completion_is_from(client, people):
    make_round(2, k=9, overlap=3)
    make_round(1, kind=ItemKind.DEMONSTRATION, number=2)
    with reading() as session:
        from app.completions.tables import Completion
        from app.policies.tables import Policy

        hints = {
            SECRET_POLICY,
            *session.scalars(select(Completion.public_id)),
            *session.scalars(select(Policy.public_id)),
        }
    orders = set()
    for name in ("ana", "ben", "cleo"):
        bearer = people.bearer(people.labeler(name))
        while (reply := client.post(f"{API}/next", headers=bearer)).status_code == 200:
            work = reply.json()
            seen = [reply, client.get(f"{API}/{work['id']}", headers=bearer)]
            body = ranking(work) if work["kind"] == "comparison" else {"text": f"by {name}", "fence": work["fence"]}
            seen.append(client.post(f"{API}/{work['id']}/submit", json=body, headers=bearer))
            seen.append(client.post(f"{API}/{work['id']}/submit", json=body | {"active_seconds": 1}, headers=bearer))
            for one in seen:
                whole = one.text + str(one.headers)
                assert not [hint for hint in hints if hint in whole]
            if work["completions"]:
                orders.add(tuple(one["text"].split(" for ")[0] for one in work["completions"]))
    assert len(orders) == 6, "each labeler and item has an order of its own"
    assert tuple(f"completion {place}" for place in range(9)) not in orders
    with reading() as session:
        firsts = session.scalars(select(ComparedCompletion.completion_id).where(ComparedCompletion.shown_position == 0))
        assert len(set(itertools.chain(firsts))) > 2
