"""What a comparison stores, and how admins read it."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.accounts.tables import AccountKind
from app.assignments import queries as assignment_queries
from app.assignments import rules as assignments
from app.assignments.tables import LETTERS
from app.comparisons import queries, rules
from app.comparisons.schemas import ComparisonContent, CompletionAnswer
from app.database import reading, transaction
from app.desk.submit import submit
from app.errors import BadInput
from app.guidelines.tables import Form, FormKind
from app.prompts.tables import Prompt
from tests.desk import SECRET_POLICY, make_round
from training.contract.records import Flag, Pool

FLAGS = ["fails_task", "opinion", "hallucination"]
FORM = Form(
    kind=FormKind.COMPLETION,
    version=1,
    questions=[
        {"name": "rating", "kind": "rating", "label": "Rating"},
        {"name": "fails_task", "label": "Fails"},
        {"name": "opinion", "label": "Opinion"},
        {"name": "hallucination", "label": "Hallucination", "shown_if": ["closed_domain"]},
    ],
)


@given(
    st.dictionaries(st.sampled_from(FLAGS), st.one_of(st.none(), st.booleans())),
    st.booleans(),
    st.sampled_from([None, True, False]),
)
def test_nothing_unanswered_is_ever_stored_as_an_answer(given_flags, flags_complete, closed_domain):
    prompt = Prompt(answers={} if closed_domain is None else {"closed_domain": closed_domain})
    shown = set(FLAGS) - ({"hallucination"} if closed_domain is False else set())
    answered = {name: answer for name, answer in given_flags.items() if answer is not None}
    answer = CompletionAnswer(rating=4, flags=given_flags, flags_complete=flags_complete)
    if not set(answered) <= shown:
        with pytest.raises(BadInput, match="not asked"):
            rules.flags_of(FORM, prompt, "A", answer)
        return
    stored = rules.flags_of(FORM, prompt, "A", answer)
    assert set(stored) == (shown if flags_complete else set(answered))
    for name, value in stored.items():
        assert value == answered.get(name, False)


@given(st.lists(st.integers(1, 9), min_size=2, max_size=9))
def test_tiers_are_closed_up_and_keep_their_order(tiers):
    made = [rules.dense(tiers)[tier] for tier in tiers]
    assert set(made) == set(range(1, len(set(tiers)) + 1))
    for a, one in zip(tiers, made, strict=True):
        for b, other in zip(tiers, made, strict=True):
            assert (a < b) == (one < other) and (a == b) == (one == other)


@settings(max_examples=200)
@given(st.data())
def test_a_form_changes_only_what_it_shows(data):
    letters = "ABCD"
    answer = st.builds(
        CompletionAnswer,
        rating=st.none() | st.integers(1, 7),
        flags=st.dictionaries(st.sampled_from(FLAGS), st.booleans()),
        flags_complete=st.booleans(),
        tier=st.none() | st.integers(1, 9),
    )
    before = ComparisonContent(completions={letter: data.draw(answer) for letter in letters}, notes="before")
    at = data.draw(st.sampled_from(letters))
    ticked = data.draw(st.sets(st.sampled_from(FLAGS)))
    rating = data.draw(st.sampled_from(["", "1", "7"]))
    go_on = data.draw(st.booleans())
    form = {
        "rated": at,
        f"flags_complete.{at}": "",
        f"rating.{at}": rating,
        "do": "go_on" if go_on else "save",
        **{f"flag.{at}.{one}": "yes" for one in ticked},
    }
    after = before.with_form(form, letters, FLAGS)
    for letter in set(letters) - {at}:
        assert after.of(letter) == before.of(letter)
    assert after.notes == "before" and after.of(at).tier == before.of(at).tier
    assert after.of(at).rating == (int(rating) if rating else None)
    assert {flag for flag, value in after.of(at).flags.items() if value} == ticked
    denied = {flag for flag, value in before.of(at).flags.items() if value is False}
    assert {flag for flag, value in after.of(at).flags.items() if value is False} == denied - ticked
    assert after.of(at).flags_complete == (before.of(at).flags_complete or (go_on and bool(rating)))


def test_the_earlier_name_of_flags_complete_is_accepted():
    """Programs, stored drafts and pages that were opened before an upgrade use it."""
    said = CompletionAnswer.model_validate({"rating": 3, "gone_on": True})
    assert said == CompletionAnswer(rating=3, flags_complete=True) and "gone_on" not in said.model_dump()
    form = {"rated": "A", "gone_on.A": "yes", "rating.A": "3", "flag.A.toxic": "yes", "do": "save"}
    assert ComparisonContent().with_form(form, "A", ["toxic"]).of("A") == CompletionAnswer(
        rating=3, flags={"toxic": True}, flags_complete=True
    )


def compare(labeler, **content):
    """Claim the next item and hand in a ranking of it, as shown: A first, the rest tied."""
    with transaction() as session:
        claimed = assignments.claim(session, labeler)
        found = assignment_queries.assignment(session, claimed.public_id, labeler)
        assignment_queries.draft(session, found, labeler).given_at -= timedelta(minutes=2)
        letters = LETTERS[: len(found.item.completions)]
        answers = {
            letter: CompletionAnswer(rating=6 if letter == "A" else 3, tier=1 if letter == "A" else 2)
            for letter in letters
        }
        return submit(session, found, labeler, ComparisonContent(completions=answers, **content), active_seconds=61)


def test_pool_guideline_and_form_are_stamped_as_they_were(people):
    make_round(1, overlap=2)
    train, held = people.labeler("tia"), people.labeler("hal", pool=Pool.HELD_OUT)
    stored = [compare(train), compare(held)]
    with reading() as session:
        for one, pool in zip(stored, (Pool.TRAIN, Pool.HELD_OUT), strict=True):
            row = queries.comparison(session, one.public_id)
            assert (row.pool, row.item.round.guideline_id, row.item.round.form_id) == (
                pool,
                row.guideline_id,
                row.form_id,
            )
            assert row.surplus is False and row.prompt_id == row.item.prompt_id


def test_admins_see_who_ranked_what_and_whose_it_was(client, people):
    make_round(2, k=3)
    ana, robot = people.labeler("ana", name="Ana Lund"), people.labeler("robot", kind=AccountKind.SIMULATED)
    mine, robots = compare(ana, notes="<script>alert(1)</script>"), compare(robot)
    people.sign_in(client, people.admin())
    page = client.get("/admin/comparisons").text
    assert "Ana Lund" in page and "A &gt; B = C" in page and page.count("simulated") == 1
    assert page.index(robots.public_id) < page.index(mine.public_id), "the newest first"
    assert robots.public_id not in client.get("/admin/comparisons?labeler=ana&round=1").text
    assert mine.public_id not in client.get("/admin/comparisons?round=2").text
    one = client.get(f"/admin/comparisons/{mine.public_id}").text
    assert f"{SECRET_POLICY}-" in one and "shown as A" in one and "How to label: training" in one
    assert "<script>alert" not in one and "&lt;script&gt;" in one
    assert "simulated" in client.get(f"/admin/comparisons/{robots.public_id}").text
    assert client.get("/admin/comparisons/nothing").status_code == 404


def test_rest_lists_comparisons_page_by_page(client, people):
    make_round(5, k=2)
    ana = people.labeler("ana")
    ids = [compare(ana).public_id for _ in range(5)]
    bearer = people.bearer(people.admin())
    seen, cursor = [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        listed = client.get("/api/v1/comparisons", params=params, headers=bearer).json()
        seen += [one["id"] for one in listed["items"]]
        if (cursor := listed["next_cursor"]) is None:
            break
    assert seen == ids[::-1]
    one = client.get(f"/api/v1/comparisons/{ids[0]}", headers=bearer).json()
    best, rest = one["completions"]
    assert (best["letter"], best["tier"], best["rating"], rest["tier"]) == ("A", 1, 6, 2)
    assert best["policy"].startswith(SECRET_POLICY) and best["flags"] == {}
    assert (one["labeler"], one["labeler_kind"], one["guideline"]) == (ana.public_id, "person", "training 1")
    assert (one["round"], one["form_version"], one["active_seconds"]) == (1, 1, 61)
    found = client.get(
        "/api/v1/comparisons", params={"labeler": ana.public_id, "round": 1, "source": "person"}, headers=bearer
    )
    assert len(found.json()["items"]) == 5
    assert not client.get("/api/v1/comparisons?source=import", headers=bearer).json()["items"]
    assert client.get("/api/v1/comparisons?limit=0", headers=bearer).status_code == 422


def test_the_eleven_flags_of_the_contract_are_those_of_the_form(people):
    make_round(1, k=2)
    with reading() as session:
        from app.guidelines.rules import current_form, questions

        asked = {one.name for one in questions(current_form(session, FormKind.COMPLETION)) if one.kind == "yes_no"}
    assert asked == set(Flag)
