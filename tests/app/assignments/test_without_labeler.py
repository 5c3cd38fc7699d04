"""A round says how many of its items nobody can be given any more."""

import pytest
from sqlalchemy import select, update
from typer.testing import CliRunner

from app.accounts.tables import AccountKind
from app.assignments.progress import without_labeler
from app.assignments.tables import Assignment
from app.cli import cli
from app.database import reading, transaction
from app.rounds.tables import ItemKind, Round, RoundPurpose
from tests.desk import make_round


def stuck() -> dict[int, int]:
    """By number of the round."""
    with reading() as session:
        numbers = {round.id: round.number for round in session.scalars(select(Round))}
        return {numbers[id]: count for id, count in without_labeler(session, numbers).items()}


def test_a_round_that_all_labelers_skipped_says_so(worker, client, people):
    make_round(3, kind=ItemKind.DEMONSTRATION)
    ana, ben = worker("ana"), worker("ben")
    assert stuck() == {}
    for one in (ana, ben):
        while id := one.next():
            one.skip(id)
    assert stuck() == {1: 3}
    people.sign_in(client, people.admin())
    [round] = client.get("/api/v1/rounds", headers=people.bearer(people.admin("otto"))).json()["items"]
    assert (round["without_labeler"], round["assignments"]["open"]) == (3, 3)
    assert "3 items cannot be handed out anymore" in client.get(f"/admin/rounds/{round['id']}").text
    part = client.get(f"/admin/rounds/{round['id']}", headers={"HX-Request": "true"}).text
    assert "3 items cannot be handed out anymore" in part
    assert "3 items without a labeler" in client.get("/admin/rounds").text
    worker("cleo")
    assert stuck() == {}, "somebody new can be given them"
    assert "cannot be handed out anymore" not in client.get(f"/admin/rounds/{round['id']}").text


def test_who_skipped_can_resume_it(worker):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    ana = worker("ana")
    ana.skip(id := ana.next())
    assert stuck() == {1: 1}
    assert ana("POST", f"/{id}/resume")["state"] == "held"
    assert stuck() == {}


def test_one_labeler_too_few_for_the_overlap(worker):
    make_round(2, kind=ItemKind.DEMONSTRATION, overlap=2)
    ana = worker("ana")
    assert stuck() == {}, "ana can begin each"
    ana.submit(ana.next())
    assert stuck() == {1: 1}


@pytest.mark.parametrize(
    "changes",
    [{"disabled": True}, {"paused": True}, {"pool": "held-out"}, {"avoids_sensitive": True}, {"role": "admin"}],
)
def test_who_gets_no_work_is_no_labeler_of_it(worker, client, people, changes):
    make_round(1, kind=ItemKind.DEMONSTRATION, pools=("train",), answers={"sensitive_content": True})
    ana, olga = worker("ana"), people.bearer(people.admin())
    assert stuck() == {}
    path = f"/api/v1/accounts/{ana.account.public_id}"
    assert client.patch(path, json=changes, headers=olga).status_code == 200
    assert stuck() == {1: 1}


def test_programs_are_no_labelers_of_what_is_left_to_people(worker):
    make_round(4, kind=ItemKind.DEMONSTRATION)
    worker("bot", kind=AccountKind.SIMULATED)
    assert stuck() == {}
    with transaction() as session:
        session.execute(update(Round).values(reserved_percent=50))
    assert stuck() == {1: 2}
    with transaction() as session:
        session.execute(update(Round).values(purpose=RoundPurpose.DEMO))
    assert stuck() == {1: 4}


def test_what_is_held_or_was_abandoned_waits_for_its_labeler(worker, leases_run_out):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    ana = worker("ana")
    ana.next()
    assert stuck() == {}
    leases_run_out()
    with reading() as session:
        assert session.scalar(select(Assignment.labeler_id)) == ana.account.id
    assert stuck() == {}, "ana finds it again"


def test_only_open_rounds_wait(worker):
    make_round(1, kind=ItemKind.DEMONSTRATION, opened=False)
    closed = make_round(1, kind=ItemKind.DEMONSTRATION, number=2)
    ana = worker("ana")
    ana.skip(ana.next())
    assert stuck() == {2: 1}
    with transaction() as session:
        session.get_one(Round, closed.id).state = "closed"
    assert stuck() == {}


def test_the_command_line_says_it(worker):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    ana = worker("ana")
    ana.skip(ana.next())
    assert "without labeler       1" in CliRunner().invoke(cli, ["round", "show", "1"]).output
