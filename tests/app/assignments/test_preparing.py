"""The next page is prepared under a reservation that keeps nobody from working, on both databases."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from sqlalchemy import select, update

from app.assignments import drafts, queries, rules, slots
from app.assignments.queries import LabelerState
from app.assignments.tables import Assignment, AssignmentState, Draft
from app.database import reading, transaction
from app.rounds.tables import Round
from tests.desk import make_round


def claim(labeler) -> Assignment | None:
    with transaction() as session:
        return rules.claim(session, labeler)


def prepare(labeler, current) -> Assignment | None:
    with transaction() as session:
        return rules.reserve_next(session, labeler, current)


def finish(labeler, held) -> None:
    with transaction() as session:
        rules.fill_slot(session, held, labeler, {}, active_seconds=1)


def slot(id: int) -> Assignment:
    with reading() as session:
        return session.get_one(Assignment, id)


def test_what_was_prepared_is_what_comes_next_under_the_fence_that_the_page_has(people):
    ana = people.labeler("ana")
    make_round(3)
    first = claim(ana)
    ready = prepare(ana, first)
    assert ready.id != first.id and prepare(ana, first).id == ready.id, "one at most, and the same one"
    with reading() as session:
        found = queries.assignment(session, ready.public_id, ana)
        assert queries.labeler_state(found, ana, queries.draft(session, found, ana)) is LabelerState.HELD
    finish(ana, first)
    came = claim(ana)
    assert (came.id, came.fence) == (ready.id, ready.fence)
    assert slot(came.id).ahead_for_id is None


def test_others_are_given_something_else_while_there_is_something_else(people):
    ana, ben = people.labeler("ana"), people.labeler("ben")
    make_round(3)
    ready = prepare(ana, claim(ana))
    assert claim(ben).id != ready.id


def test_a_reservation_yields_to_whoever_finds_nothing_else(people):
    ana, ben = people.labeler("ana"), people.labeler("ben")
    make_round(2)
    first = claim(ana)
    ready = prepare(ana, first)
    with reading() as session:
        assert rules.waiting(session, ben) == 1, "it counts as waiting for the others"
    taken = claim(ben)
    assert taken.id == ready.id and taken.fence > ready.fence
    finish(ana, first)
    assert claim(ana) is None
    assert slot(ready.id).labeler_id == ben.id


def test_a_reservation_of_another_is_not_reserved_again(people):
    ana, ben = people.labeler("ana"), people.labeler("ben")
    make_round(3)
    first, second = claim(ana), claim(ben)
    assert prepare(ana, first) is not None
    assert prepare(ben, second) is None
    with reading() as session:
        assert session.scalars(select(Assignment).where(Assignment.ahead_for_id.is_not(None))).all() == [
            session.get_one(Assignment, prepare(ana, first).id)
        ]


def test_a_reservation_runs_out_by_itself(people):
    ana, ben = people.labeler("ana"), people.labeler("ben")
    make_round(3)
    ready = prepare(ana, claim(ana))
    with transaction() as session:
        past = ready.ahead_until - timedelta(seconds=2 * slots.AHEAD_SECONDS)
        session.execute(update(Assignment).where(Assignment.id == ready.id).values(ahead_until=past))
    assert claim(ben).id == ready.id, "first in the queue again"


def test_what_is_given_back_leaves_no_trace(people):
    ana = people.labeler("ana")
    make_round(2)
    first = claim(ana)
    ready = prepare(ana, first)
    with transaction() as session:
        slots.give_back(session, ana)
    assert slot(ready.id).state is AssignmentState.OPEN and slot(ready.id).ahead_for_id is None
    with reading() as session:
        assert session.scalars(select(Draft.item_id)).all() == [first.item_id]


def test_what_was_written_on_a_prepared_page_survives_giving_it_back(people):
    ana = people.labeler("ana")
    make_round(2)
    ready = prepare(ana, claim(ana))
    with transaction() as session:
        drafts.save(session, ready, ana, {"notes": "early"}, version=0)
        slots.give_back(session, ana)
    with reading() as session:
        assert session.get_one(Draft, (ready.item_id, ana.id)).content == {"notes": "early"}


def test_a_round_that_closes_frees_the_labeler_for_another(people):
    ana = people.labeler("ana")
    closing = make_round(1, number=1)
    make_round(2, number=2)
    make_round(1, number=3)
    ready = prepare(ana, claim(ana))
    with transaction() as session:
        rules.close_round(session, session.get_one(Round, closing.id))
        round_of_ready = session.get_one(Assignment, ready.id).item.round
        rules.close_round(session, round_of_ready)
    held = claim(ana)
    again = prepare(ana, held)
    assert again is None and slot(ready.id).ahead_for_id is None
    assert held.id != ready.id


def test_other_unfinished_work_comes_first_and_nothing_is_reserved(people):
    ana = people.labeler("ana")
    make_round(3)
    first = claim(ana)
    finish(ana, first)
    second = claim(ana)
    with transaction() as session:
        slots.reopen(session, first.item_id, ana)  # as an undo does
    ready = prepare(ana, first)
    assert ready.id == second.id and ready.ahead_for_id is None


def test_a_late_answer_fills_a_slot_that_is_only_reserved(people):
    ana, ben, cid = people.labeler("ana"), people.labeler("ben"), people.labeler("cid")
    make_round(2)
    held = claim(ana)
    other = claim(ben)
    with transaction() as session:
        slots.release(session, held.item_id, ana)
    assert prepare(ben, other).id == held.id
    with transaction() as session:
        filled = rules.fill_slot(session, held, ana, {}, active_seconds=1)
    assert not filled.surplus
    assert slot(held.id).ahead_for_id is None and claim(cid) is None


def test_a_paused_labeler_prepares_nothing(people):
    ana = people.labeler("ana")
    make_round(2)
    held = claim(ana)
    ana.paused = True
    assert prepare(ana, held) is None


def test_forty_who_all_prepare_never_share_and_leave_nothing_behind(people):
    """Everybody reserves while working, some go home in the middle: what they reserved reaches the others."""
    labelers = [people.labeler(f"l{number}") for number in range(40)]
    make_round(90)
    start, given = threading.Barrier(len(labelers)), []

    def work(labeler, at_most: int) -> list[int]:
        mine = []
        while len(mine) < at_most and (held := claim(labeler)) is not None:
            given.append((held.id, held.fence))
            prepare(labeler, held)
            with transaction() as session:
                assert not rules.fill_slot(session, held, labeler, {}, active_seconds=0).surplus
            mine.append(held.item_id)
        return mine

    def together(labeler) -> list[int]:
        start.wait()
        return work(labeler, 1 if labeler.id % 2 else 100)

    with ThreadPoolExecutor(len(labelers)) as pool:
        done = [item for mine in pool.map(together, labelers) for item in mine]
    done += work(labelers[0], 100)  # whoever looks again finds what was held in the last moment
    assert max(Counter(given).values()) == 1, "a slot was handed out twice under one fence"
    assert len(done) == len(set(done)) == 90
    with reading() as session:
        left = select(Assignment).where(Assignment.state != AssignmentState.SUBMITTED)
        assert session.scalars(left).all() == []
        assert session.scalars(select(Assignment).where(Assignment.ahead_for_id.is_not(None))).all() == []
