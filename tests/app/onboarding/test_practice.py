"""Practice: written by admins, done on the ordinary pages, answered at once, and no part of any data set."""

import re

import pytest
from sqlalchemy import func, select

from app.assignments import rules as assignments
from app.assignments.tables import Assignment
from app.comparisons.tables import Comparison
from app.database import reading, transaction
from app.errors import BadInput
from app.guidelines import rules as guidelines
from app.onboarding import exercises, rules
from app.prompts.tables import Prompt
from app.rounds.tables import Item, Round, RoundPurpose
from app.snapshots import rules as snapshots
from training.contract.records import Flag, Purpose

FIRST = {
    "part": "practice",
    "prompt": "Name a colour.",
    "completions": [
        {"text": "Blue.", "tier": 1, "flags": {Flag.SEXUAL_CONTENT: False, Flag.DENIGRATES: False}, "why": "Does it."},
        {"text": "I hate people who ask.", "tier": 3, "flags": {Flag.DENIGRATES: True}},
        {"text": "Seven.", "tier": 2},
    ],
    "explanation": "The first one **answers**.",
}


@pytest.fixture
def admin(client, people):
    return people.bearer(people.admin())


def write(client, admin, **changes):
    made = client.post("/api/v1/onboarding/exercises", json={**FIRST, **changes}, headers=admin)
    assert made.status_code == 201, made.text
    return made.json()


def read_guideline(*labelers):
    with transaction() as session:
        newest = guidelines.current_guideline(session, "training")
        for labeler in labelers:
            guidelines.acknowledge(session, newest, labeler)


def letters(shown: dict) -> dict[str, str]:
    """Text -> the letter as which this labeler sees it."""
    return {one["text"]: one["letter"] for one in shown["completions"]}


def test_an_exercise_is_done_like_any_work_and_the_difference_is_told_at_once(client, people, admin):
    write(client, admin)
    ana = people.labeler()
    me = people.bearer(ana)
    assert client.get("/api/v1/onboarding", headers=me).json()["practice"] == {"done": 0, "all": 1}
    unread = client.post("/api/v1/onboarding/next", json={}, headers=me)
    assert unread.status_code == 409 and "How to label" in unread.json()["detail"]
    guideline = unread.json()["current"]["guideline"]
    assert client.post(f"/api/v1/guidelines/{guideline}/acknowledge", headers=me).status_code == 204

    id = client.post("/api/v1/onboarding/next", json={}, headers=me).json()["assignment"]
    again = client.post("/api/v1/onboarding/next", json={}, headers=me).json()["assignment"]
    assert again == id  # begun, not handed in: the same one
    shown = client.get(f"/api/v1/assignments/{id}", headers=me).json()
    of = letters(shown)
    assert client.get(f"/api/v1/onboarding/feedback/{id}", headers=me).status_code == 404  # not before it is done
    answer = {
        of["Blue."]: {"rating": 6, "flags_complete": True, "tier": 1},
        of["I hate people who ask."]: {"rating": 4, "flags_complete": True, "tier": 2},
        of["Seven."]: {"rating": 3, "flags_complete": True, "tier": 3},
    }
    sent = client.post(f"/api/v1/assignments/{id}/submit", json={"completions": answer}, headers=me)
    assert sent.status_code == 200 and not sent.json()["surplus"]

    told = client.get(f"/api/v1/onboarding/feedback/{id}", headers=me).json()
    assert (told["alike"], told["compared"]) == (2, 3)
    assert told["pairs"] == [{"better": of["Seven."], "worse": of["I hate people who ask."], "tied": False}]
    by_letter = {one["letter"]: one for one in told["completions"]}
    wrong = [{"flag": Flag.DENIGRATES, "reference": True, "given": False}]
    assert by_letter[of["I hate people who ask."]]["flags"] == wrong
    assert by_letter[of["Blue."]]["flags"] == [] and by_letter[of["Blue."]]["why"] == "Does it."
    assert told["explanation"] == "The first one **answers**."
    assert client.post("/api/v1/onboarding/next", json={}, headers=me).status_code == 204
    assert client.get("/api/v1/onboarding", headers=me).json()["practice"] == {"done": 1, "all": 1}
    other = people.bearer(people.labeler("ben"))
    assert client.get(f"/api/v1/onboarding/feedback/{id}", headers=other).status_code == 404


def test_everybody_has_a_slot_and_nobody_is_handed_one_as_work(client, people, admin):
    write(client, admin)
    labelers = [people.labeler(name) for name in ("ana", "ben", "cem")]
    read_guideline(*labelers)
    given = set()
    for labeler in labelers:
        with transaction() as session:
            given.add(rules.begin(session, labeler, RoundPurpose.PRACTICE).public_id)
    assert len(given) == 3
    dora = people.labeler("dora")
    with transaction() as session:
        session.execute(select(Assignment).with_for_update())
        for one in session.scalars(select(Assignment)):
            one.lease_until = one.claimed_at  # all three went home long ago
    with transaction() as session:
        assert assignments.claim(session, dora) is None
        assert assignments.waiting(session, dora) == 0
    with transaction() as session:  # and whoever began finds it again
        assert assignments.claim(session, labelers[0]).public_id in given


def test_nothing_of_practice_is_listed_planned_or_frozen(client, people, admin):
    write(client, admin)
    with reading() as session:
        round = session.scalars(select(Round)).one()
        prompt = session.scalars(select(Prompt)).one()
    assert (round.number, round.purpose) == (0, RoundPurpose.PRACTICE)
    assert prompt.withdrawn_at is not None
    assert client.get("/api/v1/rounds", headers=admin).json()["items"] == []
    assert client.get("/api/v1/prompts", headers=admin).json()["items"] == []
    plan = {"name": "x", "purpose": "practice", "plan": {"demonstrations": {}}}
    refused = client.post("/api/v1/rounds", json=plan, headers=admin)
    assert refused.status_code == 422 and refused.json()["field"] == "purpose"
    for numbers in ([0], [-1]):
        refused = client.post("/api/v1/snapshots", json={"purpose": "rm", "filter": {"rounds": numbers}}, headers=admin)
        assert refused.status_code == 422, refused.text
    client.post(f"/api/v1/rounds/{round.public_id}/close", headers=admin)  # even if somebody finds a way to close it
    with transaction() as session, pytest.raises(BadInput, match="0 comparisons"):
        snapshots.create(session, Purpose.RM, {})
    named = client.post("/api/v1/snapshots", json={"purpose": "rm", "filter": {"rounds": [0]}}, headers=admin)
    assert named.status_code == 422
    assert client.post("/api/v1/prompts", json={"prompt": "Name a river."}, headers=admin).status_code == 201
    first = client.post("/api/v1/rounds", json={**plan, "purpose": "training"}, headers=admin)
    assert first.status_code == 201, first.text
    assert first.json()["number"] == 1  # the loop's rounds are counted without it


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"completions": []}, "completions"),  # practice has a reference
        ({"completions": FIRST["completions"][:1]}, "completions"),
        ({"completions": [{"text": "a", "tier": 1}, {"text": " a ", "tier": 2}]}, "completions"),
        ({"completions": [{"text": "a", "tier": 1}, {"text": "b", "tier": 1}]}, "completions"),  # says nothing
        ({"completions": [{"text": "a", "tier": 1}, {"text": "b", "tier": 2, "flags": {"odd": True}}]}, "odd"),
        ({"explanation": " "}, "explanation"),
        ({"prompt": " \n"}, "messages.0.text"),
    ],
)
def test_what_teaches_nothing_is_refused(client, admin, changes, field):
    refused = client.post("/api/v1/onboarding/exercises", json={**FIRST, **changes}, headers=admin)
    assert refused.status_code == 422 and refused.json()["field"] == field, refused.text
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(Item)) == 0


def test_the_same_prompt_once_and_a_prompt_of_the_bank_stays_in_it(client, admin):
    bank = client.post("/api/v1/prompts", json={"prompt": FIRST["prompt"]}, headers=admin).json()
    made = write(client, admin)
    assert client.post("/api/v1/onboarding/exercises", json=FIRST, headers=admin).status_code == 409
    assert not client.get(f"/api/v1/prompts/{bank['id']}", headers=admin).json()["withdrawn"]
    assert made["prompt"] == bank["messages"]


def test_the_reference_can_be_said_better_and_the_exercise_retired(client, people, admin):
    made = write(client, admin)
    path = f"/api/v1/onboarding/exercises/{made['id']}"
    short = client.patch(path, json={"references": [{"tier": 1}]}, headers=admin)
    assert short.status_code == 422 and short.json()["field"] == "references"
    better = [{"tier": 2}, {"tier": None, "flags": {Flag.DENIGRATES: True}}, {"tier": 1, "why": "On second thought."}]
    changed = client.patch(path, json={"references": better, "explanation": "New."}, headers=admin).json()
    assert [one["tier"] for one in changed["completions"]] == [2, None, 1]
    assert [one["text"] for one in changed["completions"]] == [one["text"] for one in FIRST["completions"]]
    assert client.patch(path, json={"retired": True}, headers=admin).json()["retired"]
    me = people.bearer(people.labeler())
    assert client.get("/api/v1/onboarding", headers=me).json()["practice"] == {"done": 0, "all": 0}
    assert not client.patch(path, json={"retired": False}, headers=admin).json()["retired"]
    assert client.get("/api/v1/onboarding", headers=me).json()["practice"] == {"done": 0, "all": 1}


def test_two_admins_write_the_first_exercise_at_once(database, people):
    """The round of practice is made once: its number is unique, whoever comes second finds it."""
    import threading

    from app.onboarding.schemas import ExerciseIn

    with transaction() as session:
        guidelines.ensure_defaults(session)
    together, failed = threading.Barrier(4), []

    def work(number):
        try:
            together.wait()
            with transaction() as session:
                exercises.write(session, ExerciseIn.model_validate({**FIRST, "prompt": f"Prompt {number}"}), None)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(Round)) == 1
        assert session.scalar(select(func.count()).select_from(Item)) == 4


def test_by_page_from_writing_to_feedback(client, people):
    olga, ana = people.admin(), people.labeler()
    people.sign_in(client, olga)
    fields = people.csrf(client)
    form = client.get("/admin/onboarding/exercises/new").text
    assert form.count('name="text"') == 4 and Flag.DENIGRATES in form
    given = {
        **fields,
        "part": "practice",
        "prompt": "Name a fruit.",
        "text": ["Apple.", "Idiot.", "", ""],
        "tier.0": "1",
        "tier.1": "2",
        "flag.1": [Flag.DENIGRATES, Flag.INAPPROPRIATE],
        "why.1": "It insults.",
        "explanation": "Be *kind*.",
    }
    more = client.post("/admin/onboarding/exercises/new", data={**given, "more": "1"}).text
    assert more.count('name="text"') == 5 and "It insults." in more
    missing = client.post("/admin/onboarding/exercises/new", data={**given, "explanation": ""})
    assert missing.status_code == 422 and "Explain the reference" in missing.text and "Idiot." in missing.text
    assert client.post("/admin/onboarding/exercises/new", data=given).status_code == 303
    listed = client.get("/admin/onboarding").text
    path = re.search(r"/admin/onboarding/exercises/[0-9a-f]{16}", listed)[0]
    page = client.get(path).text
    assert "It insults." in page and "Name a fruit." in page
    saved = client.post(path, data={**fields, "tier.0": "1", "tier.1": "2", "flag.1": [Flag.DENIGRATES],
                                    "why.0": "Right.", "why.1": "", "explanation": "Still *kind*."})  # fmt: skip
    assert saved.status_code == 303
    with reading() as session:
        first, second = rules.exercise_(session, path[-16:]).references
    assert second.flags[Flag.DENIGRATES] and not second.flags[Flag.INAPPROPRIATE] and first.why == "Right."
    assert len(second.flags) == 11  # by page, what is not ticked is a no

    people.sign_in(client, ana)
    fields = people.csrf(client)
    assert "You have 1 practice exercise to do" in client.get("/").text
    to_read = client.post("/onboarding/next", data={**fields, "part": "practice"}).headers["location"]
    assert to_read.startswith("/guidelines/") and "I have read this guideline" in client.get(to_read).text
    read_guideline(ana)
    work = client.post("/onboarding/next", data={**fields, "part": "practice"}).headers["location"]
    assert "Name a fruit." in client.get(work).text
    answer = {"completions": {"A": {"tier": 1}, "B": {"tier": 1}}}
    assert client.post(f"/api/v1{work}/submit", json=answer, headers=people.bearer(ana)).status_code == 200
    after = client.get(client.get(work).headers["location"])
    assert after.status_code == 200 and "which is not a mistake" in after.text and "Still <em>kind</em>." in after.text
    with reading() as session:
        stored = session.scalars(select(Comparison)).one()
    assert stored.guideline_id and stored.form_id
