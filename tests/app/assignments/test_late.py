"""A late answer takes the slot that becomes free: an item's only answer is never surplus."""

import threading

import pytest
from sqlalchemy import select

from app.assignments import rules, slots, tasks
from app.assignments.tables import Assignment, AssignmentState
from app.comparisons.tables import Comparison
from app.conversations.tables import Conversation
from app.database import reading, transaction
from app.demonstrations.tables import Demonstration
from app.rounds.tables import ItemKind, Round
from tests.app.conversations.conftest import server, talk  # noqa: F401
from tests.desk import make_round

TABLES = {
    ItemKind.COMPARISON: Comparison,
    ItemKind.DEMONSTRATION: Demonstration,
    ItemKind.CONVERSATION: Conversation,
}
ANSWERS = {
    ItemKind.COMPARISON: {"completions": {"A": {"tier": 1}, "B": {"tier": 2}}},
    ItemKind.DEMONSTRATION: {"text": "A river."},
    ItemKind.CONVERSATION: {"messages": [{"role": "assistant", "text": "The Rhine."}]},
}


@pytest.fixture
def begin(talk):  # noqa: F811
    """Opens a round with one item of a kind."""

    def make(kind: ItemKind, **more) -> None:
        if kind is ItemKind.CONVERSATION:
            talk(alternatives=None, **more)
        else:
            make_round(1, k=2, kind=kind, **more)

    return make


def answers(kind: ItemKind = ItemKind.DEMONSTRATION) -> dict[str, bool]:
    """Whether the answer of each labeler counts; what counts fills a slot that says so."""
    with reading() as session:
        found = session.scalars(select(TABLES[kind])).all()
        for one in found:
            if one.surplus:
                assert one.assignment_id is None
                continue
            slot = session.get_one(Assignment, one.assignment_id)
            assert (slot.state, slot.labeler_id) == (AssignmentState.SUBMITTED, one.labeler_id)
            assert slot.lease_until is None and slot.submitted_at == one.submitted_at
        return {one.labeler.username: not one.surplus for one in found}


def only_slot() -> Assignment:
    with reading() as session:
        return session.scalars(select(Assignment)).one()


@pytest.fixture
def late(worker, begin, leases_run_out):
    """Ana's answer came after her lease ran out and Ben was given the item; returns both, and the id of Ben's task."""

    def make(kind: ItemKind = ItemKind.DEMONSTRATION):
        begin(kind)
        ana, ben = worker("ana"), worker("ben")
        hers = ana.next()
        leases_run_out()
        his = ben.next()
        assert his == hers, "there is one slot"
        assert ana.submit(hers, ANSWERS[kind])["surplus"]
        assert answers(kind) == {"ana": False}
        return ana, ben, his

    return make


@pytest.mark.parametrize("kind", [*ItemKind])
def test_it_counts_when_the_later_holder_skips(late, kind, worker):
    _ana, ben, his = late(kind)
    ben.skip(his)
    assert answers(kind) == {"ana": True}
    assert worker("cleo").next() is None, "nobody is asked once more"


@pytest.mark.parametrize("kind", [*ItemKind])
def test_it_counts_when_the_later_holder_undoes(late, kind):
    _ana, ben, his = late(kind)
    assert not ben.submit(his, ANSWERS[kind])["surplus"]
    assert answers(kind) == {"ana": False, "ben": True}
    undone = ben("POST", f"/{his}/undo")
    assert undone["state"] == "lost", "the place is ana's now"
    assert answers(kind) == {"ana": True}
    assert ben.submit(his, ANSWERS[kind])["surplus"]
    assert answers(kind) == {"ana": True, "ben": False}


@pytest.mark.parametrize("kind", [*ItemKind])
def test_it_counts_when_the_later_holder_is_disabled(late, kind, client, people):
    _ana, ben, _his = late(kind)
    olga = people.bearer(people.admin())
    changed = client.patch(f"/api/v1/accounts/{ben.account.public_id}", json={"disabled": True}, headers=olga)
    assert changed.status_code == 200, changed.text
    assert answers(kind) == {"ana": True}


@pytest.mark.parametrize("kind", [*ItemKind])
def test_it_counts_when_the_later_lease_runs_out(late, kind, leases_run_out):
    _ana, ben, his = late(kind)
    ben("POST", f"/{his}/heartbeat", json={"fence": ben("GET", f"/{his}")["fence"]})
    tasks.reconcile()
    assert answers(kind) == {"ana": False}, "ben has it still"
    leases_run_out()
    tasks.reconcile()
    assert answers(kind) == {"ana": True}
    assert ben("GET", f"/{his}")["state"] == "lost"
    assert ben.submit(his, ANSWERS[kind])["surplus"]


def test_it_counts_when_the_later_holder_moves_out_of_the_rounds_pools(begin, worker, leases_run_out, client, people):
    begin(ItemKind.DEMONSTRATION, pools=("train",))
    ana, ben = worker("ana"), worker("ben")
    hers = ana.next()
    leases_run_out()
    ben.next()
    ana.submit(hers)
    olga = people.bearer(people.admin())
    moved = client.patch(f"/api/v1/accounts/{ben.account.public_id}", json={"pool": "held-out"}, headers=olga)
    assert moved.status_code == 200, moved.text
    assert answers() == {"ana": True}


def test_it_counts_when_the_round_closes_before_the_later_holder_submits(late):
    _ana, ben, his = late()
    with transaction() as session:
        rules.close_round(session, session.scalars(select(Round)).one())
    assert answers() == {"ana": True}
    assert ben.submit(his)["surplus"]
    assert answers() == {"ana": True, "ben": False}


def test_the_earliest_of_several_comes_first(late, worker, leases_run_out):
    _ana, ben, his = late()
    leases_run_out()
    cleo = worker("cleo")
    hers = cleo.next()
    assert ben.submit(his)["surplus"]
    cleo.skip(hers)
    assert answers() == {"ana": True, "ben": False}


def test_where_the_later_holder_answers_the_late_one_stays_an_extra(late):
    _ana, ben, his = late()
    ben.submit(his)
    tasks.reconcile()
    assert answers() == {"ana": False, "ben": True}


def test_an_edit_of_a_late_answer_that_counts_by_now_counts(late):
    ana, ben, his = late()
    ben.skip(his)
    ana("POST", f"/{his}/edit")
    assert not ana.submit(his, "Other words.")["surplus"]
    assert answers() == {"ana": True}


def test_a_late_answer_that_was_undone_takes_no_slot(late):
    ana, ben, his = late()
    ana("POST", f"/{his}/undo")
    ben.skip(his)
    assert answers() == {} and only_slot().state is AssignmentState.OPEN


def test_it_counts_when_the_slot_was_freed_while_it_came(late):
    """On PostgreSQL the one who skips may not see the answer yet, and the answer not that the slot is free."""
    _ana, ben, _his = late()
    with transaction() as session:
        slots.release(session, only_slot().item_id, ben.account)
    assert answers() == {"ana": False}
    tasks.reconcile()
    assert answers() == {"ana": True}


def test_several_reconcilers_and_a_labeler_at_once_fill_one_slot_once(late, leases_run_out, worker):
    late()
    cleo = worker("cleo")
    leases_run_out()
    given = []
    threads = [threading.Thread(target=tasks.reconcile) for _ in range(3)]
    threads.append(threading.Thread(target=lambda: given.append(cleo.next())))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tasks.reconcile()
    # Either cleo was first and holds it, or ana's answer counts; both at once is one too many.
    assert answers()["ana"] is (given == [None])
