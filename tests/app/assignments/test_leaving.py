"""Accounts that are disabled, paused or moved: what they held is free at once, and what they wrote stays."""

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from app.assignments.tables import Assignment, Draft
from app.cli import cli
from app.database import reading
from app.demonstrations.tables import Demonstration
from app.rounds.tables import ItemKind
from tests.desk import make_round
from training.contract.records import Pool


def by_rest(client, people, account, **changes):
    headers = people.bearer(people.admin())
    assert client.patch(f"/api/v1/accounts/{account.public_id}", json=changes, headers=headers).status_code == 200


def by_page(client, people, account, **_changes):
    people.sign_in(client, people.admin())
    assert client.post(f"/admin/accounts/{account.public_id}/disable", data=people.csrf(client)).status_code == 303


def by_command(_client, _people, account, **_changes):
    assert CliRunner().invoke(cli, ["account", "change", account.username, "--disable"]).exit_code == 0


@pytest.mark.parametrize("disable", [by_rest, by_page, by_command])
def test_the_lease_of_a_disabled_account_is_free_at_once(disable, worker, client, people):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    ana, ben = worker("ana"), worker("ben")
    hers = ana.next()
    ana.draft(hers, "Half a sentence")
    assert ben.next() is None
    disable(client, people, ana.account, disabled=True)
    assert ben.next() == hers
    with reading() as session:
        [kept] = session.scalars(select(Draft).where(Draft.labeler_id == ana.account.id))
        assert kept.content["text"] == "Half a sentence"


def test_what_was_reserved_as_the_next_page_is_free_too(worker, client, people):
    make_round(2, kind=ItemKind.DEMONSTRATION)
    ana = worker("ana")
    ana("POST", f"/{ana.next()}/ahead")
    by_rest(client, people, ana.account, disabled=True)
    with reading() as session:
        for slot in session.scalars(select(Assignment)):
            assert (slot.state, slot.labeler_id, slot.ahead_for_id) == ("open", None, None)


def test_who_is_enabled_again_goes_on_with_the_draft(worker, client, people):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    ana = worker("ana")
    hers = ana.next()
    ana.draft(hers, "Half a sentence")
    olga = people.bearer(people.admin())
    for disabled in (True, False):
        reply = client.patch(f"/api/v1/accounts/{ana.account.public_id}", json={"disabled": disabled}, headers=olga)
        assert reply.status_code == 200
    ana.headers = people.bearer(ana.account)
    assert ana.next() == hers
    assert ana("GET", f"/{hers}")["draft"]["content"]["text"] == "Half a sentence"


def test_who_is_paused_finishes_what_they_hold(worker, client, people):
    make_round(2, kind=ItemKind.DEMONSTRATION)
    ana = worker("ana")
    hers = ana.next()
    by_rest(client, people, ana.account, paused=True)
    assert ana.next() == hers
    ana.submit(hers)
    assert ana.next() is None


def test_a_move_frees_what_the_new_pool_is_not_asked(worker, client, people):
    make_round(1, kind=ItemKind.DEMONSTRATION, number=1, pools=("train",))
    make_round(1, kind=ItemKind.DEMONSTRATION, number=2)
    ana, ben = worker("ana"), worker("ben")
    of_train, of_both = ana.next(1), ana.next(2)
    by_rest(client, people, ana.account, pool="held-out")
    assert ben.next() == of_train and ana.next() == of_both


# --- The word about a move ---

KEPT = "Answers given so far keep the pool they were given in."


def test_rest_says_what_a_move_does_not_do(worker, client, people):
    ana, olga = worker("ana"), people.bearer(people.admin())
    path = f"/api/v1/accounts/{ana.account.public_id}"
    assert client.patch(path, json={"pool": "held-out"}, headers=olga).json()["notes"] == [KEPT]
    assert client.patch(path, json={"pool": "held-out"}, headers=olga).json()["notes"] == []
    assert client.patch(path, json={"name": "Other"}, headers=olga).json()["notes"] == []


def test_so_do_the_page_and_the_command_line(worker, client, people):
    ana = worker("ana")
    people.sign_in(client, people.admin())
    path = f"/admin/accounts/{ana.account.public_id}"
    fields = people.csrf(client) | {"name": "Ana", "role": "labeler", "pool": "held-out", "language": "en"}
    assert client.post(path, data=fields).status_code == 303
    assert f"Saved. {KEPT}" in client.get(path).text
    assert client.post(path, data=fields).status_code == 303
    assert f"Saved. {KEPT}" not in client.get(path).text
    said = CliRunner().invoke(cli, ["account", "change", "ana", "--pool", "train"]).output
    assert KEPT in said
    assert KEPT not in CliRunner().invoke(cli, ["account", "change", "ana", "--name", "Ann"]).output


def test_answers_keep_the_pool_and_later_ones_have_the_new_one(worker, client, people):
    make_round(2, kind=ItemKind.DEMONSTRATION)
    ana = worker("ana")
    ana.submit(first := ana.next(), "Before.")
    by_rest(client, people, ana.account, pool="held-out")
    ana.submit(ana.next(), "After.")
    ana("POST", f"/{first}/edit")
    ana.submit(first, "Before, and better.")
    with reading() as session:
        pools = {one.completion.text: one.pool for one in session.scalars(select(Demonstration))}
    assert pools == {"Before, and better.": Pool.TRAIN, "After.": Pool.HELD_OUT}
