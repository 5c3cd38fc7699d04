"""Closing a round over open work asks first, reopening goes on where it was, and nothing that was written is lost."""

import json

import pytest
from typer.testing import CliRunner

from app.assignments import rules
from app.cli import cli
from app.comparisons.tables import Comparison
from app.database import reading, transaction
from app.demonstrations.tables import Demonstration
from app.plans.tables import Plan, PlanState
from app.rounds.tables import ItemKind, Round
from app.snapshots.tables import Snapshot, SnapshotState
from tests.app.desk.pages.plain_browser import Browser
from tests.desk import make_round
from training.contract.records import Purpose

ROUNDS = "/api/v1/rounds"


@pytest.fixture
def olga(client, people):
    """Acts on a round over REST as an admin; returns the reply."""
    headers = people.bearer(people.admin())
    return lambda round, verb, **body: client.post(f"{ROUNDS}/{round.public_id}/{verb}", headers=headers, json=body)


@pytest.fixture
def begun(worker):
    """A round of four items: ana holds one and has begun a draft, ben has one open, cleo skipped one after writing."""
    round = make_round(4, kind=ItemKind.DEMONSTRATION)
    ana, ben, cleo = worker("ana"), worker("ben"), worker("cleo")
    hers = ana.next()
    ana.draft(hers, "Half a sentence")
    ben.next()
    skipped = cleo.next()
    cleo.draft(skipped, "I do not know")
    cleo.skip(skipped)
    return round, ana, ben, hers


def close(round) -> None:
    with transaction() as session:
        rules.close_round(session, session.get_one(Round, round.id))


def state_of(round) -> str:
    with reading() as session:
        return session.get_one(Round, round.id).state


# --- Asking ---


def test_rest_says_what_is_open_and_asks(begun, olga):
    round, *_ = begun
    for body in ({}, {"confirm": False}):
        refused = olga(round, "close", **body)
        assert refused.status_code == 409 and '{"confirm": true}' in refused.json()["detail"]
        assert refused.json()["current"] == {"leased": 2, "drafts": 1, "unanswered": 4}
        assert state_of(round) == "open"
    closed = olga(round, "close", confirm=True)
    assert closed.status_code == 200 and closed.json()["state"] == "closed"
    assert olga(round, "close", confirm=True).status_code == 409


@pytest.mark.parametrize("said", ["yes", 1, "true", None])
def test_a_word_that_is_none_is_refused(begun, olga, said):
    round, *_ = begun
    assert olga(round, "close", confirm=said).status_code == 422
    assert state_of(round) == "open"


def test_a_draft_whose_lease_ran_out_counts_as_begun(begun, olga, leases_run_out):
    round, *_ = begun
    leases_run_out()
    assert olga(round, "close").json()["current"] == {"leased": 0, "drafts": 1, "unanswered": 4}


def test_what_was_only_opened_is_no_draft(worker, olga):
    round = make_round(1, kind=ItemKind.DEMONSTRATION)
    worker("ana").next()
    assert olga(round, "close").status_code == 200


def test_an_edit_under_way_is_no_answer_that_is_missing(worker, olga):
    """What was submitted stands, and the edit is offered beside it."""
    round = make_round(1, kind=ItemKind.DEMONSTRATION)
    ana = worker("ana")
    id = ana.next()
    ana.submit(id, "It stands.")
    ana("POST", f"/{id}/edit")
    ana.draft(id, "It would be better so.")
    assert olga(round, "close").status_code == 200
    shown = ana("GET", f"/{id}")
    assert shown["state"] == "submitted"
    assert ana("GET", "?state=closed")["items"] == [] and ana("GET", "")["items"] == []


def test_the_page_shows_what_is_open_and_asks(begun, client, people):
    round, *_ = begun
    people.sign_in(client, people.admin())
    path, fields = f"/admin/rounds/{round.public_id}", people.csrf(client)
    assert f'href="{path}/close"' in client.get(path).text
    asked = client.get(f"{path}/close").text
    for what, count in (("Tasks that labelers have open now", 2), ("not yet submitted", 1), ("without an answer", 4)):
        assert what in asked and f"<dd>{count}</dd>" in asked.split(what)[1][:60]
    refused = client.post(f"{path}/close", data=fields)
    assert refused.status_code == 409 and "Keep round open" in refused.text and state_of(round) == "open"
    assert client.post(f"{path}/close", data={**fields, "confirm": "yes"}).status_code == 303
    assert state_of(round) == "closed"
    assert "This round is not open." in client.get(f"{path}/close").text


def test_the_command_line_asks_too(begun):
    round, *_ = begun
    refused = CliRunner().invoke(cli, ["round", "close", "1"])
    assert refused.exit_code == 1 and "--yes" in refused.exception.message and state_of(round) == "open"
    assert json.loads(CliRunner().invoke(cli, ["round", "close", "1", "--yes", "--json"]).output)["state"] == "closed"
    assert json.loads(CliRunner().invoke(cli, ["round", "reopen", "1", "--json"]).output)["state"] == "open"
    assert CliRunner().invoke(cli, ["round", "reopen", "1"]).exit_code == 1


# --- What a labeler had begun ---


def test_a_draft_of_a_closed_round_is_offered_once_and_submitted_as_it_is(begun, client, people):
    round, ana, _ben, hers = begun
    close(round)
    browser = Browser(client, people, ana.account).open("/")
    assert "Closed before you submitted" in browser.html and "No tasks to do." in browser.html
    assert "in progress" not in browser.html
    assert browser.html.count("Half a sentence") == 0, "the list shows the prompt"
    assert ana.next() is None
    day = ana("GET", "/day")
    assert (day["unfinished"], day["closed"]) == (0, 1)
    assert [(one["id"], one["state"]) for one in ana("GET", "?state=closed")["items"]] == [(hers, "closed")]
    assert ana("GET", "")["items"] == []
    fields = people.csrf(client) | {"labeler": ana.account.public_id, "version": "1", "do": "stop"}
    assert client.post(f"/assignments/{hers}/submit", data=fields).headers["location"] == "/"
    after = browser.open("/")
    assert "kept as an extra answer" in after.html and "Closed before you submitted" not in after.html
    with reading() as session:
        stored = session.query(Demonstration).one()
        assert stored.completion.text == "Half a sentence" and stored.surplus


def test_or_it_is_discarded(begun, client, people):
    round, ana, _ben, hers = begun
    close(round)
    browser = Browser(client, people, ana.account)
    assert browser.open("/").html.count(f'action="/assignments/{hers}/discard"') == 1
    assert client.post(f"/assignments/{hers}/discard", data=people.csrf(client)).status_code == 303
    after = browser.open("/")
    assert "Draft discarded." in after.html and "Closed before you submitted" not in after.html
    ana("GET", f"/{hers}", 404)
    ana("POST", f"/{hers}/discard", 404)
    with reading() as session:
        assert session.query(Demonstration).count() == 0


def test_rest_discards_what_is_lost_and_nothing_else(begun):
    round, ana, ben, hers = begun
    assert "This task is still yours" in ana("POST", f"/{hers}/discard", 409)["detail"]
    close(round)
    ana("POST", f"/{hers}/discard", 204)
    assert ana("GET", "/day")["closed"] == 0
    make_round(1, kind=ItemKind.DEMONSTRATION, number=2)
    id = ben.next()
    ben.submit(id)
    ben("POST", f"/{id}/discard", 409)


def test_a_ranking_that_is_not_complete_is_finished_on_its_page(worker, client, people):
    round = make_round(1, k=3)
    ana = worker("ana")
    id = ana.next()
    content = {"completions": {"A": {"rating": 5, "flags_complete": True, "tier": 1}}}
    ana("POST", f"/{id}/draft", json={"content": content}, headers={"If-Match": "0"})
    close(round)
    browser = Browser(client, people, ana.account)
    browser.open("/")
    fields = people.csrf(client) | {"labeler": ana.account.public_id, "version": "1", "do": "stop"}
    refused = client.post(f"/assignments/{id}/submit", data=fields)
    assert refused.status_code == 422 and "This round has closed." in refused.text
    order = {"completions": {letter: {"tier": 1} for letter in "ABC"}}
    assert ana.submit(id, order)["surplus"]
    with reading() as session:
        assert session.query(Comparison).one().surplus


def test_what_was_skipped_before_is_not_offered(worker):
    round = make_round(1, kind=ItemKind.DEMONSTRATION)
    ana = worker("ana")
    id = ana.next()
    ana.draft(id, "I do not know")
    ana.skip(id)
    close(round)
    assert ana("GET", "?state=closed")["items"] == [] and ana("GET", "/day")["closed"] == 0


def test_resuming_is_refused_with_the_way_out(begun, client, people):
    round, ana, _ben, hers = begun
    close(round)
    assert "submit your draft as is, or discard it" in ana("POST", f"/{hers}/resume", 409)["detail"]
    browser = Browser(client, people, ana.account)
    browser.open("/")
    there = client.post(f"/assignments/{hers}/resume", data=people.csrf(client))
    assert there.headers["location"] == f"/assignments/{hers}"
    page = client.get(f"/assignments/{hers}").text
    assert "Half a sentence" in page and f'action="/assignments/{hers}/discard"' in page


def test_the_desk_and_next_agree_after_a_move_to_another_pool(worker, client, people):
    """What was begun for a round of another pool is offered like that of a closed round: no loop either."""
    make_round(1, kind=ItemKind.DEMONSTRATION, pools=("train",))
    ana = worker("ana")
    id = ana.next()
    ana.draft(id, "Half a sentence")
    olga = people.bearer(people.admin())
    moved = client.patch(f"/api/v1/accounts/{ana.account.public_id}", json={"pool": "held-out"}, headers=olga)
    assert moved.status_code == 200
    assert ana.next() is None
    assert (ana("GET", "/day")["unfinished"], ana("GET", "/day")["closed"]) == (0, 1)
    assert "no longer open to your pool" in ana("POST", f"/{id}/resume", 409)["detail"]
    ana("POST", f"/{id}/discard", 204)
    assert ana("GET", "/day")["closed"] == 0


# --- Reopening ---


def test_a_reopened_round_goes_on_where_it_was(begun, olga):
    round, ana, ben, hers = begun
    olga(round, "close", confirm=True)
    assert (ana.next(), ben.next()) == (None, None)
    again = olga(round, "reopen")
    assert again.status_code == 200 and (again.json()["state"], again.json()["closed_at"]) == ("open", None)
    assert ana("GET", "/day")["closed"] == 0
    assert ana.next() == hers and ana("GET", f"/{hers}")["draft"]["content"]["text"] == "Half a sentence"
    assert not ana.submit(hers)["surplus"]
    assert olga(round, "reopen").status_code == 409, "it is open"


def test_an_extra_answer_counts_once_its_round_is_open_again(begun, olga):
    round, ana, _ben, hers = begun
    olga(round, "close", confirm=True)
    assert ana.submit(hers)["surplus"]
    olga(round, "reopen")
    with reading() as session:
        assert not session.query(Demonstration).one().surplus
    ana("POST", f"/{hers}/edit")  # and can be changed again
    assert not ana.submit(hers, "Other words.")["surplus"]


def test_a_draft_round_is_not_reopened(olga):
    round = make_round(1, opened=False)
    assert olga(round, "reopen").status_code == 409


@pytest.mark.parametrize(("state", "status"), [(PlanState.RUNNING, 409), (PlanState.FINISHED, 200)])
def test_a_plan_under_way_keeps_its_round_closed(olga, state, status, client, people):
    round = make_round(1, kind=ItemKind.DEMONSTRATION)
    close(round)
    with transaction() as session:
        session.add(Plan(name="Once around", round_id=round.id, state=state, config={}))
    people.sign_in(client, people.admin("otto"))
    page = client.get(f"/admin/rounds/{round.public_id}").text
    assert ("/reopen" in page) is (status == 200)
    answer = olga(round, "reopen")
    assert answer.status_code == status
    assert status == 200 or "Once around" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("state", "status"), [(SnapshotState.QUEUED, 409), (SnapshotState.READY, 200), (SnapshotState.FAILED, 200)]
)
def test_a_snapshot_being_made_keeps_its_round_closed(olga, state, status, client, people):
    round = make_round(1, kind=ItemKind.DEMONSTRATION)
    close(round)
    with transaction() as session:
        session.add(Snapshot(name="Frozen", purpose=Purpose.SFT, state=state, filter={"rounds": [round.number]}))
    people.sign_in(client, people.admin("otto"))
    page = client.get(f"/admin/rounds/{round.public_id}").text
    assert ("Frozen" in page) is (state is not SnapshotState.FAILED)
    answer = olga(round, "reopen")
    assert answer.status_code == status
    assert status == 200 or "Frozen" in answer.json()["detail"]


def test_a_round_is_reopened_by_page(client, people):
    round = make_round(1, kind=ItemKind.DEMONSTRATION)
    close(round)
    people.sign_in(client, people.admin())
    path = f"/admin/rounds/{round.public_id}"
    assert "Reopen round" in client.get(path).text
    assert client.post(f"{path}/reopen", data=people.csrf(client)).status_code == 303
    assert "The round is open again." in client.get(path).text and state_of(round) == "open"
    assert client.post(f"{path}/reopen", data=people.csrf(client)).status_code == 409


# --- Plans close their round first ---


def test_a_plan_asks_before_it_closes_a_round_over_drafts(begun, client, people):
    round, *_ = begun
    headers = people.bearer(people.admin())
    given = {"round": round.public_id}
    refused = client.post("/api/v1/plans", json=given, headers=headers)
    assert refused.status_code == 409 and '{"confirm": true}' in refused.json()["detail"]
    assert refused.json()["current"]["drafts"] == 1 and state_of(round) == "open"
    confirmed = client.post("/api/v1/plans", json={**given, "confirm": True}, headers=headers)
    assert "No closed training round has demonstrations" in confirmed.json()["detail"], "that was asked first"


def test_so_do_the_pages_that_start_one(begun, client, people):
    round, *_ = begun
    people.sign_in(client, people.admin())
    fields = people.csrf(client) | {"round": round.public_id}
    refused = client.post("/admin/plans/new", data=fields)
    assert refused.status_code == 409
    assert "Unsubmitted drafts: 1" in refused.text and 'name="confirm"' in refused.text and state_of(round) == "open"
    confirmed = client.post("/admin/plans/new", data=fields | {"confirm": "on"})
    assert "No closed training round has demonstrations" in confirmed.text
    assert 'name="confirm"' not in client.get("/admin/plans/new").text
    there = client.post("/admin/simulation/plan", data=fields).headers["location"]
    assert there == f"/admin/rounds/{round.public_id}/close"
    assert "then train on it" in client.get(there).text and state_of(round) == "open"
