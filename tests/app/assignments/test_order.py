"""Which tasks come first: the priority of rounds, the round that a labeler chooses, and the share left to people."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from typer.testing import CliRunner

from app.accounts.tables import AccountKind
from app.assignments import order
from app.assignments.tables import Assignment
from app.cli import cli
from app.database import reading
from app.rounds.queries import is_reserved
from app.rounds.tables import Item, ItemKind, Round, RoundPriority
from tests.app.desk.pages.plain_browser import Browser
from tests.desk import make_round

ROUNDS = "/api/v1/rounds"


@pytest.fixture
def olga(client, people):
    """Changes how a round is handed out as an admin; returns the reply."""
    headers = people.bearer(people.admin())

    def change(round, status: int = 200, **body):
        reply = client.patch(f"{ROUNDS}/{round.public_id}", headers=headers, json=body)
        assert reply.status_code == status, reply.text
        return reply.json()

    return change


def round_of(id: str) -> int:
    with reading() as session:
        found = select(Round.number).join(Item).join(Assignment, Assignment.item_id == Item.id)
        return session.scalar(found.where(Assignment.public_id == id))


def given_rounds(one, count: int) -> list[int]:
    """Numbers of the rounds whose tasks somebody is given, one after another; each is submitted."""
    numbers = []
    for _ in range(count):
        numbers.append(round_of(id := one.next()))
        one.submit(id)
    return numbers


# --- Priority ---


def test_a_higher_priority_comes_first_and_an_equal_one_by_number(worker, olga):
    first, second, third = (make_round(2, kind=ItemKind.DEMONSTRATION, number=number) for number in (1, 2, 3))
    ana = worker("ana")
    assert given_rounds(ana, 1) == [1]
    olga(third, priority="high")
    assert given_rounds(ana, 1) == [3]
    olga(first, priority="low")
    assert [part["round"] for part in ana("GET", "/day")["rounds"]] == [3, 2, 1], "the desk lists them so"
    assert given_rounds(ana, 4) == [3, 2, 2, 1]
    olga(second, priority="high")
    assert olga(second, priority="normal")["priority"] == "normal"


def test_what_somebody_holds_stays_theirs_and_comes_first(worker, olga):
    _first, second = (make_round(1, kind=ItemKind.DEMONSTRATION, number=number) for number in (1, 2))
    ana = worker("ana")
    held = ana.next()
    olga(second, priority="high")
    assert ana.next() == held


def test_an_abandoned_task_comes_first_within_its_priority_alone(worker, olga, leases_run_out):
    low, high = (make_round(2, kind=ItemKind.DEMONSTRATION, number=number) for number in (1, 2))
    ana, ben = worker("ana"), worker("ben")
    hers = ana.next()
    leases_run_out()
    olga(high, priority="high")
    olga(low, priority="low")
    assert given_rounds(ben, 2) == [2, 2]
    assert ben.next() == hers


def test_a_priority_is_set_when_the_round_is_made_and_holds_for_every_slot(worker, olga):
    make_round(1, kind=ItemKind.DEMONSTRATION, number=1)
    draft = make_round(2, kind=ItemKind.DEMONSTRATION, number=2, overlap=2, opened=False)
    olga(draft, priority="high")
    with reading() as session:
        assert session.scalar(select(Assignment.id).join(Item).where(Item.round_id == draft.id)) is None
    run("round", "open", "2")
    assert given_rounds(worker("ana"), 3) == [2, 2, 1]
    assert given_rounds(worker("ben"), 2) == [2, 2]


@given(
    st.lists(st.tuples(st.sampled_from(list(RoundPriority)), st.integers(1, 2**31 - 1), st.integers(0, 999_999))),
)
def test_the_number_of_a_place_sorts_as_priority_round_and_item(places):
    level = [RoundPriority.HIGH, RoundPriority.NORMAL, RoundPriority.LOW].index
    by_number = sorted(places, key=lambda place: order.position(*place))
    assert by_number == sorted(places, key=lambda place: (level(place[0]), *place[1:]))
    assert all(abs(order.position(*place)) < 2**63 for place in places)


def test_databases_read_the_priority_and_the_round_out_of_a_place(database):
    made = {
        number: make_round(2, kind=ItemKind.DEMONSTRATION, number=number, opened=False) for number in (1, 7, 2**31 - 1)
    }
    wanted = zip((RoundPriority.HIGH, RoundPriority.LOW, RoundPriority.NORMAL), made, strict=True)
    for priority, number in wanted:
        run("round", "change", str(number), "--priority", priority)
        run("round", "open", str(number))
    with reading() as session:
        levels = session.execute(
            select(Round.number, order.level(Assignment.position))
            .join(Item, Item.round_id == Round.id)
            .join(Assignment, Assignment.item_id == Item.id)
            .distinct()
            .order_by(Round.number)
        ).all()
        high, low, normal = (level for _number, level in levels)
        assert high < normal < low
        for number in made:
            found = session.scalars(
                select(Round.number)
                .join(Item, Item.round_id == Round.id)
                .join(Assignment, Assignment.item_id == Item.id)
                .where(order.of_round(Assignment.position, number))
            ).all()
            assert found == [number, number]


# --- One round ---


def test_a_round_is_chosen_over_rest(worker):
    make_round(2, kind=ItemKind.DEMONSTRATION, number=1)
    make_round(2, kind=ItemKind.DEMONSTRATION, number=2)
    ana = worker("ana")
    held = ana.next(2)
    assert round_of(held) == 2 and ana.next(2) == held
    ahead = ana("POST", f"/{held}/ahead", json={"round": 2})["id"]
    assert round_of(ahead) == 2
    ana.submit(held)
    assert ana.next(2) == ahead
    ana.submit(ahead)
    assert ana.next(2) is None, "one round alone, although others wait"
    assert round_of(ana.next()) == 1


def test_what_is_held_of_another_round_waits_while_one_is_chosen(worker):
    make_round(1, kind=ItemKind.DEMONSTRATION, number=1)
    make_round(1, kind=ItemKind.DEMONSTRATION, number=2)
    ana = worker("ana")
    first = ana.next()
    second = ana.next(2)
    assert round_of(second) == 2
    assert ana.next(1) == first and ana.next(2) == second


@pytest.mark.parametrize("number", [7, 2**31 - 1])
def test_a_round_that_is_not_for_the_labeler_does_not_exist(worker, number):
    make_round(1, kind=ItemKind.DEMONSTRATION, number=1)
    make_round(1, kind=ItemKind.DEMONSTRATION, number=7, pools=("held-out",))
    refused = worker("ana")("POST", "/next", 404, json={"round": number})
    assert f"Round {number} is not open to you" in refused["detail"]


@pytest.mark.parametrize("number", [0, -1, 2**31, "x", 1.5])
def test_what_is_no_number_of_a_round_is_refused(worker, number):
    worker("ana")("POST", "/next", 422, json={"round": number})


def test_the_desk_lets_one_choose_a_round_and_remembers_it(client, people):
    make_round(2, kind=ItemKind.DEMONSTRATION, number=1)
    make_round(2, kind=ItemKind.DEMONSTRATION, number=2)
    ana = Browser(client, people, people.labeler("ana")).open("/")
    assert "Start round 2" in ana.html
    ana = choose(client, people, ana, "2")
    assert round_of(id_of(ana)) == 2
    ana.press("submit", text="One.")
    assert round_of(id_of(ana)) == 2, "the next is of the same round"
    done = ana.press("submit", text="Two.")
    assert done.url == "/" and "No more tasks to do in round 2." in done.html
    ana = choose(client, people, ana, "")
    assert round_of(id_of(ana)) == 1


def id_of(browser) -> str:
    return browser.url.removeprefix("/assignments/")


def choose(client, people, browser, round: str):
    sent = client.post("/assignments/next", data=people.csrf(client) | {"round": round})
    return browser.open(sent.headers["location"])


def test_a_choice_is_of_one_account_and_of_a_round_that_there_is(client, people):
    make_round(2, kind=ItemKind.DEMONSTRATION, number=1)
    make_round(1, kind=ItemKind.DEMONSTRATION, number=2)
    ana = Browser(client, people, people.labeler("ana"))
    choose(client, people, ana, "2")
    cookies = dict(client.cookies)
    ben = people.labeler("ben")
    people.sign_in(client, ben)
    for name, value in cookies.items():
        if "round" in name:
            client.cookies.set(name, value)
    sent = client.post("/assignments/next", data=people.csrf(client))
    assert round_of(sent.headers["location"].rsplit("/", 1)[1]) == 1, "ben has chosen none"
    sent = client.post("/assignments/next", data=people.csrf(client) | {"round": "9"})
    assert sent.headers["location"] == "/"
    assert "Round 9 is not open to you" in client.get("/").text


# --- What is left to people ---


@pytest.mark.parametrize("percent", [0, 1, 5, 10, 25, 33, 50, 99, 100])
@pytest.mark.parametrize("items", [1, 7, 40])
def test_the_share_is_rounded_down_and_spread_evenly(database, percent, items):
    round = make_round(items, kind=ItemKind.DEMONSTRATION, opened=False)
    run("round", "change", "1", "--reserved-for-people", str(percent / 100))
    with reading() as session:
        reserved = session.execute(
            select(Item.position, is_reserved()).join(Round).where(Round.id == round.id).order_by(Item.position)
        ).all()
    # In every beginning of the round, which is what is worked on, as many as its own share, rounded down.
    for count in range(1, items + 1):
        assert sum(bool(one) for _position, one in reserved[:count]) == count * percent // 100


def test_programs_leave_their_share_to_people(worker, olga):
    olga(make_round(8, kind=ItemKind.DEMONSTRATION), reserved_for_people=0.25)
    program = worker("bot", kind=AccountKind.SIMULATED)
    assert program("GET", "/day")["rounds"][0]["waiting"] == 6
    assert given_rounds(program, 6) == [1] * 6 and program.next() is None
    ana = worker("ana")
    assert given_rounds(ana, 2) == [1] * 2 and ana.next() is None


def test_people_are_given_all(worker, olga):
    olga(make_round(4, kind=ItemKind.DEMONSTRATION), reserved_for_people=0.5)
    assert given_rounds(worker("ana"), 4) == [1] * 4


def test_a_share_can_be_given_to_programs_later(worker, olga):
    round = make_round(4, kind=ItemKind.DEMONSTRATION)
    assert olga(round, reserved_for_people=1)["reserved_for_people"] == 1
    program = worker("bot", kind=AccountKind.SIMULATED)
    assert program.next() is None
    assert olga(round, reserved_for_people=0)["reserved_for_people"] == 0
    assert program.next() is not None


@pytest.mark.parametrize("share", [-0.01, 1.01, 0.123, "NaN", "much"])
def test_what_is_no_share_is_refused(olga, share):
    olga(make_round(1), 422, reserved_for_people=share)


def test_what_cannot_change_is_refused(olga):
    round = make_round(1)
    for body in ({"priority": "urgent"}, {"overlap": 3}, {"name": "Other"}):
        olga(round, 422, **body)


# --- On the page and the command line ---


def run(*words: str) -> dict:
    result = CliRunner().invoke(cli, [*words, "--json"])
    assert result.exit_code == 0, result.output + str(result.exception)
    return json.loads(result.output)


def test_the_command_line_changes_both(database):
    make_round(4)
    changed = run("round", "change", "1", "--priority", "low", "--reserved-for-people", "0.5")
    assert (changed["priority"], changed["reserved_for_people"]) == ("low", 0.5)
    changed = run("round", "change", "1", "--priority", "high")
    assert (changed["priority"], changed["reserved_for_people"]) == ("high", 0.5)


def test_the_page_changes_both_and_says_what_is_wrong(client, people):
    round = make_round(8, kind=ItemKind.DEMONSTRATION)
    people.sign_in(client, people.admin())
    path, fields = f"/admin/rounds/{round.public_id}", people.csrf(client)
    sent = client.post(f"{path}/handing-out", data=fields | {"priority": "high", "reserved": "25"})
    assert sent.status_code == 303
    page = client.get(path).text
    assert "That is 2 of 8 items." in page and '<option value="high" selected>' in page
    for wrong, says in (
        ({"priority": "high", "reserved": "101"}, "from 0 to 100"),
        ({"priority": "x"}, "high, normal"),
    ):
        refused = client.post(f"{path}/handing-out", data=fields | wrong)
        assert refused.status_code == 422 and says in refused.text
    with reading() as session:
        stored = session.get_one(Round, round.id)
        assert (stored.priority, stored.reserved_percent) == (RoundPriority.HIGH, 25)
