"""Who gets what: claims, leases, skips, pools and overlap, on both databases and with real threads."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, update

from app.assignments import drafts, queries, rules
from app.assignments.locks import one_at_a_time
from app.assignments.tables import Assignment, AssignmentState, Draft, Skip, SkipReason
from app.database import reading, transaction, utc_now
from app.desk import overview
from app.errors import BadInput, Conflict, NotFound
from app.rounds.tables import Round, RoundState
from tests.desk import given_earlier, make_round
from training.contract.records import Pool


def claim(labeler):
    with transaction() as session:
        return rules.claim(session, labeler)


def get(labeler, assignment):
    with reading() as session:
        return queries.assignment(session, assignment.public_id, labeler)


def run_out(assignment) -> None:
    """Let the lease of an assignment have run out a second ago, by the database's clock."""
    with transaction() as session:
        session.execute(update(Assignment).where(Assignment.id == assignment.id).values(lease_until=utc_now(-1)))


def test_opening_makes_overlap_assignments_for_each_item_in_order(database):
    round = make_round(3, overlap=2, number=7)
    with reading() as session:
        rows = session.execute(
            select(Assignment.position, Assignment.slot).order_by(Assignment.position, Assignment.id)
        ).all()
    assert rows == [(7_000_000 + item, slot) for item in range(3) for slot in range(2)]
    assert round.state is RoundState.OPEN and round.opened_at is not None


def test_a_round_opens_once_closes_once_and_never_empty(database):
    round = make_round(1)
    with pytest.raises(Conflict), transaction() as session:
        rules.open_round(session, session.get_one(Round, round.id))
    with transaction() as session:
        rules.close_round(session, session.get_one(Round, round.id))
    with pytest.raises(Conflict), transaction() as session:
        rules.close_round(session, session.get_one(Round, round.id))
    empty = make_round(0, number=2, opened=False)
    with pytest.raises(BadInput, match="no items"), transaction() as session:
        rules.open_round(session, session.get_one(Round, empty.id))


def test_a_comparison_needs_two_completions(database):
    round = make_round(1, k=1, opened=False)
    with pytest.raises(BadInput, match="1 completions"), transaction() as session:
        rules.open_round(session, session.get_one(Round, round.id))


def test_work_is_handed_out_in_order_and_unfinished_work_comes_back_first(people):
    make_round(2)
    ana, ben = people.labeler("ana"), people.labeler("ben")
    first = claim(ana)
    assert (first.state, first.labeler_id, first.fence) == (AssignmentState.LEASED, ana.id, 1)
    again = claim(ana)
    assert (again.id, again.fence) == (first.id, 1)
    assert claim(ben).id > first.id
    assert claim(people.labeler("cleo")) is None


def test_a_draft_round_and_a_closed_round_hand_out_nothing(people):
    ana = people.labeler()
    make_round(1, number=1, opened=False)
    round = make_round(1, number=2)
    with transaction() as session:
        rules.close_round(session, session.get_one(Round, round.id))
    assert claim(ana) is None


def test_only_the_rounds_pools_get_its_work(people):
    ana, hal = people.labeler("ana"), people.labeler("hal", pool=Pool.HELD_OUT)
    make_round(1, number=1, pools=("train",))
    make_round(1, number=2, pools=("held-out",))
    assert claim(hal).item.round.number == 2
    assert claim(ana).item.round.number == 1
    assert claim(people.labeler("tom")) is None


def test_overlap_asks_distinct_labelers(people):
    make_round(1, overlap=3)
    ana = people.labeler("ana")
    mine = claim(ana)
    with transaction() as session:
        filled = rules.fill_slot(session, mine, ana, {}, active_seconds=1)
    assert not filled.surplus
    assert claim(ana) is None, "the other two slots are for others"
    others = [claim(people.labeler(name)) for name in ("ben", "cleo", "dan")]
    assert [other is not None for other in others] == [True, True, False]


def test_a_lease_that_ran_out_goes_to_the_next_and_first_of_all(people):
    make_round(2)
    ana, ben = people.labeler("ana"), people.labeler("ben")
    lost = claim(ana)
    run_out(lost)
    taken = claim(ben)
    assert (taken.id, taken.fence) == (lost.id, 2)
    with pytest.raises(Conflict, match="ran out"), transaction() as session:
        rules.heartbeat(session, lost, ana, lost.fence)
    assert get(ana, lost).labeler_id == ben.id, "ana still sees it, as lost"
    assert claim(ana).id != lost.id


def test_a_lease_that_ran_out_unnoticed_is_still_the_labelers(people):
    make_round(1)
    ana = people.labeler()
    held = claim(ana)
    run_out(held)
    with transaction() as session:
        until = rules.heartbeat(session, held, ana, held.fence)
    assert until > held.claimed_at
    run_out(held)
    assert claim(ana).fence == held.fence


def test_an_item_can_be_resumed_unless_others_hold_it(people):
    make_round(1)
    ana, ben = people.labeler("ana"), people.labeler("ben")
    lost = claim(ana)
    run_out(lost)
    claim(ben)
    with transaction() as session:
        assert rules.resume(session, lost, ana) is None
    run_out(lost)
    with transaction() as session:
        resumed = rules.resume(session, lost, ana)
    assert (resumed.id, resumed.labeler_id, resumed.fence) == (lost.id, ana.id, 3)


def test_skipping_frees_the_slot_and_is_never_offered_again(people):
    make_round(1)
    ana, ben = people.labeler("ana"), people.labeler("ben")
    passed = claim(ana)
    for _ in range(2):  # a double click
        with transaction() as session:
            rules.skip(session, passed, ana, SkipReason.UNCLEAR, "what is meant?")
    assert claim(ana) is None
    assert claim(ben).id == passed.id
    with reading() as session:
        skip = session.scalars(select(Skip)).one()
        assert (skip.reason, skip.note) == (SkipReason.UNCLEAR, "what is meant?")


def test_nobody_else_sees_an_assignment(people):
    make_round(1)
    held = claim(people.labeler("ana"))
    with pytest.raises(NotFound):
        get(people.labeler("ben"), held)


def test_a_draft_outlives_its_lease_and_follows_to_another_slot(people):
    make_round(1, overlap=2)
    ana, ben = people.labeler("ana"), people.labeler("ben")
    lost = claim(ana)
    with transaction() as session:
        drafts.save(session, lost, ana, {"notes": "so far"}, version=0)
    run_out(lost)
    assert claim(ben).id == lost.id
    other = claim(ana)
    assert other.id != lost.id and other.item_id == lost.item_id
    assert get(ana, lost).id == other.id, "the old address leads to the slot held now"
    with reading() as session:
        assert queries.draft(session, other, ana).content == {"notes": "so far"}


def test_a_draft_changed_elsewhere_is_not_overwritten(people):
    make_round(1)
    ana = people.labeler()
    held = claim(ana)
    given_earlier(60)
    with transaction() as session:
        assert drafts.save(session, held, ana, {"notes": "one"}, version=0, active_seconds=9).version == 1
    with pytest.raises(Conflict) as refused, transaction() as session:
        drafts.save(session, held, ana, {"notes": "two"}, version=0)
    assert refused.value.current == {"version": 1, "content": {"notes": "one"}}
    with transaction() as session:
        drafts.save(session, held, ana, {"notes": "two"}, version=1, active_seconds=5)
        assert queries.draft(session, held, ana).active_seconds == 9, "time worked never shrinks"


def test_saving_a_draft_renews_the_lease(people):
    make_round(1)
    ana = people.labeler()
    held = claim(ana)
    run_out(held)
    with transaction() as session:
        drafts.save(session, held, ana, {"notes": "still here"}, version=0)
    assert claim(people.labeler("ben")) is None


def test_the_shown_order_is_the_labelers_own_and_stays(people):
    make_round(1, k=9, overlap=9)
    labelers = [people.labeler(f"l{number}") for number in range(9)]
    orders = set()
    for labeler in labelers:
        held = claim(labeler)
        order = [one.text for one in rules.shown_completions(get(labeler, held).item, labeler)]
        assert order == [one.text for one in rules.shown_completions(get(labeler, held).item, labeler)]
        orders.add(tuple(order))
    assert len(orders) == 9


def test_the_desk_counts(people):
    make_round(4)
    ana = people.labeler()
    with transaction() as session:
        assert rules.waiting(session, ana) == 4
    first = claim(ana)
    given_earlier(60)
    with transaction() as session:
        rules.fill_slot(session, first, ana, {"notes": "x"}, active_seconds=30)
    second = claim(ana)
    with transaction() as session:
        rules.skip(session, second, ana, SkipReason.OTHER)
    third = claim(ana)
    with reading() as session:
        figures = overview.figures(session, ana, first.claimed_at)
        assert figures == (1, 30, 1, 1, 1, 0)
        assert rules.waiting(session, ana) == 1
        assert [line.id for line in overview.page(session, ana, overview.Listing.UNFINISHED)[0]] == [third.public_id]
        assert [line.id for line in overview.page(session, ana, overview.Listing.SUBMITTED)[0]] == [first.public_id]


@pytest.mark.parametrize("overlap", [1, 3])
def test_many_labelers_at_once_never_get_the_same(people, overlap):
    """Every labeler works the queue empty in a thread; half of the work is skipped or left, so that it goes round."""
    labelers = [people.labeler(f"l{number}") for number in range(8)]
    make_round(20, overlap=overlap)
    start, given = threading.Barrier(len(labelers)), []

    def work(labeler) -> list[tuple[int, int]]:
        mine = []
        while (held := claim(labeler)) is not None:
            given.append((held.id, held.fence))
            with transaction() as session:
                if (held.item_id + labeler.id) % 5 == 0:
                    rules.skip(session, held, labeler, SkipReason.OTHER)
                else:
                    assert not rules.fill_slot(session, held, labeler, {}, active_seconds=0).surplus
                    mine.append((held.item_id, labeler.id))
        return mine

    def together(labeler) -> list[tuple[int, int]]:
        start.wait()
        return work(labeler)

    with ThreadPoolExecutor(len(labelers)) as pool:
        done = [one for mine in pool.map(together, labelers) for one in mine]
    # Who found nothing while others held the rest has gone home; what was skipped after that waits for a second look.
    done += [one for labeler in labelers for one in work(labeler)]
    assert max(Counter(given).values()) == 1, "a slot was handed out twice under one fence"
    assert max(Counter(done).values()) == 1
    with reading() as session:
        states = dict(session.execute(select(Assignment.state, func.count()).group_by(Assignment.state)).all())
    assert states == {AssignmentState.SUBMITTED: 20 * overlap} and len(done) == 20 * overlap


def test_one_labeler_who_clicks_in_many_tabs_holds_one_assignment(people):
    make_round(10)
    ana = people.labeler()
    with ThreadPoolExecutor(8) as pool:
        held = {assignment.id for assignment in pool.map(lambda _: claim(ana), range(24))}
    assert len(held) == 1
    with reading() as session:
        assert session.scalar(select(func.count()).where(Assignment.labeler_id == ana.id)) == 1
        assert session.scalar(select(func.count()).select_from(Draft)) == 1


def test_a_heartbeat_at_the_moment_of_handing_in_does_not_make_it_surplus(people):
    make_round(12)
    ana = people.labeler()

    def beat(held):
        try:
            with transaction() as session:
                rules.heartbeat(session, held, ana, held.fence)
        except Conflict:
            pass

    def hand_in(held) -> bool:
        with transaction() as session:
            one_at_a_time(session, ana)
            return rules.fill_slot(session, held, ana, {}, active_seconds=0).surplus

    with ThreadPoolExecutor(4) as pool:
        for _ in range(12):
            held = claim(ana)
            beats = [pool.submit(beat, held) for _ in range(3)]
            assert pool.submit(hand_in, held).result() is False
            for one in beats:
                one.result()
