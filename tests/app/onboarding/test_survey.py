"""The survey: counted rightly, put to everybody once, shown from five answers on, and pointing at nobody."""

import threading
from collections import Counter

import pytest
from sqlalchemy import String, select

from app.accounts.tables import Account, AccountKind, AuditEntry, SurveyState
from app.database import reading, transaction
from app.errors import Conflict
from app.onboarding import survey
from app.onboarding.tables import SurveyCount


def states() -> dict[str, str]:
    with reading() as session:
        return dict(session.execute(select(Account.username, Account.survey)).all())


def answer(labeler, **given):
    with transaction() as session:
        survey.end_asking(session, labeler)
    with transaction() as session:
        survey.count(session, given)


def offered(people, *names):
    made = [people.labeler(name) for name in names]
    with transaction() as session:
        survey.offer(session, None)
    return made


def test_nothing_stored_can_point_at_a_person_or_a_time():
    """By its columns alone: which question, which answer, how many. No key, no time, no row for a person."""
    columns = SurveyCount.__table__.columns
    assert {column.name for column in columns} == {"question", "answer", "count"}
    assert not SurveyCount.__table__.foreign_keys
    assert all(isinstance(column.type, String) for column in SurveyCount.__table__.primary_key)


def test_only_people_who_label_are_asked_and_each_once(database, people):
    people.labeler("ana")
    people.admin("olga")
    people.labeler("bot", kind=AccountKind.SIMULATED)
    with transaction() as session:
        assert survey.offer(session, None) == 1
    assert states() == {"ana": "offered", "olga": "not_asked", "bot": "not_asked"}
    ana = people.labeler("later")  # came after the others were asked
    with reading() as session:
        first = session.scalars(select(Account).where(Account.username == "ana")).one()
    answer(first, glad=["agree"])
    with transaction() as session:
        assert survey.offer(session, None) == 1
    assert states()["ana"] == "asked" and states()["later"] == "offered"
    with pytest.raises(Conflict), transaction() as session:
        survey.end_asking(session, first)
    with transaction() as session:  # to say no leaves the same trace as to answer
        survey.end_asking(session, ana)
    assert states()["later"] == "asked"


def test_counts_are_those_of_the_answers_given_and_shown_from_five_on(client, people):
    labelers = offered(people, *"abcdef")
    admin = people.bearer(people.admin())
    given = [
        {"gender": ["female"], "ethnicity": ["white", "latinx", "white"], "glad": ["agree"]},
        {"gender": ["female", "male"], "nationality": ["PH"]},  # one answer to a question of one answer
        {"gender": ["other"], "ethnicity": ["white"], "glad": ["agree"], "age": [""]},
        {},  # took part and answered nothing
        {"gender": ["robot"], "shoe size": ["42"], "nationality": ["XX"], "glad": ["disagree"]},  # no such answers
    ]
    for labeler, one in zip(labelers, given, strict=False):
        with reading() as session:
            assert survey.results(session) is None
        none = client.get("/api/v1/onboarding/survey", headers=admin).json()
        assert none == {"enough": False, "answered": None, "questions": {}}
        answer(labeler, **one)
    found = client.get("/api/v1/onboarding/survey", headers=admin).json()
    assert found == {
        "enough": True,
        "answered": 5,
        "questions": {
            "gender": {"female": 2, "other": 1},
            "ethnicity": {"white": 2, "latinx": 1},
            "nationality": {"PH": 1},
            "glad": {"agree": 2, "disagree": 1},
        },
    }


def test_many_at_once_are_all_counted_and_a_double_click_once(database, people):
    labelers = offered(people, *(f"labeler{number}" for number in range(8)))
    together, results = threading.Barrier(16), Counter()

    def take_part(labeler):
        together.wait()
        try:
            answer(labeler, glad=["agree"], gender=["male"], ethnicity=["black", "white"])
            results["counted"] += 1
        except Conflict:
            results["refused"] += 1

    threads = [threading.Thread(target=take_part, args=(one,)) for one in (*labelers, *labelers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {"counted": 8, "refused": 8}
    with reading() as session:
        counts = {(one.question, one.answer): one.count for one in session.scalars(select(SurveyCount))}
    assert set(counts.values()) == {8} and len(counts) == 5


def test_by_page(client, people):
    olga, ana = people.admin(), people.labeler()
    people.sign_in(client, ana)
    assert "survey" not in client.get("/").text
    assert "already been asked" in client.get("/survey").text
    people.sign_in(client, olga)
    fields = people.csrf(client)
    assert client.post("/admin/onboarding/survey/offer", data=fields).status_code == 303
    assert "Fewer than 5" in client.get("/admin/onboarding/survey").text
    people.sign_in(client, ana)
    fields = people.csrf(client)
    assert 'href="/survey"' in client.get("/").text
    form = client.get("/survey").text
    for question in survey.questions():
        assert f'name="{question.name}"' in form
    assert client.post("/survey", data={**fields, "do": "answer", "gender": "female"}).status_code == 303
    assert 'href="/survey"' not in client.get("/").text
    assert client.post("/survey", data={**fields, "do": "answer", "gender": "female"}).status_code == 409
    for name in "bcde":
        other = people.labeler(name)
        with transaction() as session:
            survey.offer(session, None)
        people.sign_in(client, other)
        client.post("/survey", data={**people.csrf(client), "do": "answer", "ethnicity": ["white", "black"]})
    people.sign_in(client, olga)
    shown = client.get("/admin/onboarding/survey").text
    assert "5 people have answered" in shown and "Philippines" not in shown  # a country nobody named is not listed
    with reading() as session:
        audit = session.scalars(select(AuditEntry).where(AuditEntry.action.contains("survey"))).all()
        assert all(entry.account_id != ana.id for entry in audit)


def test_saying_no_counts_nothing(client, people):
    (ana,) = offered(people, "ana")
    people.sign_in(client, ana)
    fields = people.csrf(client)
    assert client.post("/survey", data={**fields, "do": "no", "gender": "female"}).status_code == 303
    assert states()["ana"] == SurveyState.ASKED
    with reading() as session:
        assert session.scalars(select(SurveyCount)).all() == []
