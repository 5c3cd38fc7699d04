"""The demo: whole or not at all, loaded once, and never over people's work; its page leads around the loop."""

import re

import pytest
from sqlalchemy import func, select, update

from app.accounts.queries import by_username
from app.accounts.tables import Account, AccountKind, AuditEntry
from app.assignments import handing_out
from app.assignments.rules import claim, open_round
from app.assignments.tables import Assignment
from app.database import reading, transaction, utc_now
from app.errors import Conflict
from app.jobs.tables import Job
from app.plans.schemas import NextRound
from app.prompts.tables import Prompt
from app.rounds.queries import is_reserved
from app.rounds.tables import Item, ItemKind, Round, RoundPurpose, RoundState
from app.simulation import demo, miniature, queries
from app.simulation.pages import NEXT_ROUND
from app.tables import metadata
from tests.conftest import create_tables, fresh_database
from tests.desk import make_round
from training.contract.records import Split
from training.miniature.rubric import judge

FEWER = 400  # prompts; a round takes 300


def small_demo() -> None:
    create_tables()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "TRAIN_PROMPTS", FEWER)
        demo.load(lambda line: None)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path, monkeypatch):
    """A database with the demo in it, of fewer miniature prompts."""
    monkeypatch.setattr(demo, "TRAIN_PROMPTS", FEWER)
    yield from fresh_database(request, tmp_path, monkeypatch, fill=small_demo)


def rows() -> dict[str, int]:
    """Number of rows by table."""
    with reading() as session:
        return {table.name: session.scalar(select(func.count()).select_from(table)) for table in metadata.sorted_tables}


def account(username: str) -> Account:
    with reading() as session:
        return by_username(session, username)


def test_it_is_loaded_once(database):
    before = rows()
    demo.load(lambda line: None)
    assert rows() == before


def test_a_person_first_meets_something_worth_reading(database):
    with transaction() as session:
        first = claim(session, account("ada"))
        assert first.item.kind is ItemKind.COMPARISON
        assert first.item.round.purpose is RoundPurpose.DEMO
        assert 4 <= len(first.item.texts) <= 9


def test_a_person_may_practise_first(database, client, people):
    people.sign_in(client, account("ada"))
    assert "You have 3 practice exercises to do" in client.get("/").text
    assert "0 of 3" in client.get("/onboarding").text


def test_simulated_labelers_leave_the_readable_texts_to_people(database, people):
    simulated = people.labeler("simulated-1-01", kind=AccountKind.SIMULATED)
    with transaction() as session:
        first = claim(session, simulated)
        assert session.get_one(Prompt, first.item.prompt.id).collection == miniature.COLLECTION
        judge(first.item.prompt.messages[-1]["text"], "")  # the rubric knows it


def test_all_of_it_is_open_and_the_base_network_is_queued(database):
    with reading() as session:
        assert {round.state for round in session.scalars(select(Round))} == {RoundState.OPEN}
        assert [job.config["recipe"] for job in session.scalars(select(Job))] == ["miniature_base"]


def test_reset_starts_it_anew_but_never_over_people(database, people):
    before = rows()
    with transaction() as session:
        claim(session, account("ada"))
    demo.reset()
    assert not demo.is_loaded()
    demo.load(lambda line: None)
    assert rows() == before
    people.labeler("ana")
    with pytest.raises(Conflict, match=r"people \(1 here\)"):
        demo.reset()
    assert demo.is_loaded()


def test_miniature_prompts_are_distinct_and_keep_to_their_split_and_the_owners_cap():
    rows = list(miniature.prompts(3, train=450, validation=50))
    assert len({row.prompt for row in rows}) == 500
    splits, counts = {}, {}
    for row in rows:
        assert splits.setdefault(row.owner, row.split) is row.split
        counts[row.owner] = counts.get(row.owner, 0) + 1
    assert max(counts.values()) <= 200
    assert [row.split for row in rows].count(Split.VALIDATION) == 50
    # More of them begin with the same ones, so a demo can grow into a simulation.
    assert rows[:450] == list(miniature.prompts(3, train=900, validation=0))[:450]


def test_the_page_leads_from_work_to_a_plan(database, client, people):
    admin = account("carla")
    people.sign_in(client, admin)
    page = client.get("/admin/simulation").text
    assert "0 / 300" in page
    assert "285 tasks to do" in page and "15 tasks are left for people" in page
    button = r'<button class="primary"( aria-disabled="true")?>Start simulated labelers'
    assert re.search(button, page)[1] is None
    assert client.post("/admin/simulation/work", data=people.csrf(client)).status_code == 303
    page = client.get("/admin/simulation/state").text
    assert re.search(button, page)[1] and "simulated labelers are working" in page
    with reading() as session:
        (turn,) = queries.turns(session)
        assert turn.waits_for_work
        assert not turn.waits_for_plan
    assert client.get("/admin/simulation/state").status_code == 200
    reply = client.post("/api/v1/simulation/work", headers=people.bearer(admin, "accounts"))
    assert (reply.status_code, reply.json()) == (202, {"waiting": 285})
    with transaction() as session:
        assert session.scalar(select(func.count()).where(AuditEntry.action == "simulation.work")) == 2, (
            "what is asked for is never dropped"
        )
        session.execute(update(AuditEntry).values(at=utc_now(-60)))
    assert re.search(button, client.get("/admin/simulation/state").text)[1] is None


def test_the_programs_leave_a_person_something_and_the_next_round_comes_first(database, people):
    """Steps 4 and 5 of the tour in the README, whatever the programs have done by then."""
    ada, program = account("ada"), people.labeler("simulated-1-01", kind=AccountKind.SIMULATED)
    with transaction() as session:
        (turn,) = queries.turns(session)
        theirs = select(Item.id).join(Round).where(Item.round_id == turn.round.id, ~is_reserved())
        taken = update(Assignment).where(Assignment.item_id.in_(theirs))
        session.execute(taken.values(state="submitted", labeler_id=program.id, submitted_at=utc_now()))
    with transaction() as session:
        (turn,) = queries.turns(session)
        assert turn.waits_for_plan and turn.for_people == 15
        assert claim(session, program) is None
        assert claim(session, ada, turn.round.number).item.round.id == turn.round.id
        next_round = NextRound.model_validate(NEXT_ROUND)
    make_round(2, number=9, opened=False)
    with transaction() as session:
        made = session.scalars(select(Round).where(Round.number == 9)).one()
        handing_out.change(session, made, None, priority=next_round.priority)
        open_round(session, made)
    with transaction() as session:
        session.execute(update(Assignment).where(Assignment.labeler_id == ada.id).values(labeler_id=program.id))
        assert claim(session, ada).item.round.id == made.id
    assert next_round.prompts * next_round.reserved_for_people >= 10, "enough to see what the policy writes"


def test_labelers_do_not_see_the_page(database, client, people):
    people.sign_in(client, account("ada"))
    assert client.get("/admin/simulation").status_code == 404
    assert client.post("/admin/simulation/work", data=people.csrf(client)).status_code == 404
