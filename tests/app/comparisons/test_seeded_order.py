"""Tiers seeded from ratings: no tie is ever invented, and what is unacceptable stands last."""

import re
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from app.assignments import queries as assignment_queries
from app.assignments import rules as assignments
from app.assignments.tables import LETTERS
from app.comparisons import rules
from app.comparisons.schemas import ComparisonContent, CompletionAnswer
from app.comparisons.tables import ComparedCompletion, Comparison, SeededOrder
from app.database import reading, transaction
from app.desk.submit import submit
from app.errors import BadInput
from tests.desk import make_round

ratings_of = st.lists(st.none() | st.integers(1, 7), min_size=2, max_size=9)


def rated(ratings) -> tuple[str, ComparisonContent]:
    """The letters, and a draft in which only the ratings are said."""
    letters = LETTERS[: len(ratings)]
    answers = {letter: CompletionAnswer(rating=rating) for letter, rating in zip(letters, ratings, strict=True)}
    return letters, ComparisonContent(completions=answers)


def as_posted(places: dict[str, CompletionAnswer], **more) -> dict[str, str]:
    """The form of the ranking page as it comes with these places; an undecided one has no place chosen."""
    form = {"ranking": "yes"} | more
    for letter, place in places.items():
        form[f"undecided.{letter}"] = str(place.tier) if place.undecided else ""
        if place.unacceptable:
            form[f"tier.{letter}"] = "unacceptable"
        elif place.tier and not place.undecided:
            form[f"tier.{letter}"] = str(place.tier)
    return form


@given(ratings_of)
def test_a_seeded_order_follows_the_ratings_and_leaves_equals_undecided(ratings):
    letters, content = rated(ratings)
    places = content.placed(letters)
    for a, b in combinations(letters, 2):
        x, y = content.of(a).rating, content.of(b).rating
        if x is None or y is None:
            continue
        assert (x > y) == (places[a].tier < places[b].tier) and (x == y) == (places[a].tier == places[b].tier)
        assert x != y or (places[a].undecided and places[b].undecided)
    for letter in letters:
        rating = content.of(letter).rating
        assert (places[letter].tier is None) == (rating is None)
        assert places[letter].undecided == (rating is not None and ratings.count(rating) > 1)
        if places[letter].tier is not None:  # there is a row left for each of those it shares its own with
            assert places[letter].tier + ratings.count(rating) - 1 <= len(letters)


@given(ratings_of)
def test_what_is_shown_and_sent_back_untouched_says_nothing(ratings):
    letters, content = rated(ratings)
    shown = as_posted(content.placed(letters))
    after = content.with_form(shown, letters, [])
    assert after.completions == {letter: content.of(letter) for letter in letters}
    assert after.seeded_order is None, "an order that nobody touched is nobody's"


@given(ratings_of, st.data())
def test_no_tie_that_nobody_said_is_ever_stored(ratings, data):
    """Whatever is decided of a seeded order, what is handed in holds no tie but those that were chosen."""
    letters, content = rated(ratings)
    places = content.placed(letters)
    k = len(letters)
    moved = data.draw(st.dictionaries(st.sampled_from(letters), st.integers(1, k)))
    now = {letter: CompletionAnswer(tier=moved[letter]) if letter in moved else places[letter] for letter in letters}
    after = content.with_form(as_posted(now, do="hand_in"), letters, [])
    level = [place.tier for place in now.values()]
    open_ones = [
        letter
        for letter, place in now.items()
        if place.tier is None or (place.undecided and level.count(place.tier) > 1)
    ]
    if open_ones:
        with pytest.raises(BadInput, match=r"Undecided|Not ranked yet") as refused:
            rules._tiers(letters, after)
        named = set(re.findall(r"\b[A-I]\b", refused.value.message))
        assert named & set(open_ones), "it says which"
        return
    tiers = rules._tiers(letters, after)
    for a, b in combinations(letters, 2):
        assert (tiers[a] == tiers[b]) == (now[a].tier == now[b].tier)
        assert (tiers[a] < tiers[b]) == (now[a].tier < now[b].tier)
    untouched = all(now[letter] == places[letter] for letter in letters)
    assert after.seeded_order is (SeededOrder.CONFIRMED if untouched else SeededOrder.EDITED)
    rules._check_seeded_order(letters, after)


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=2, max_size=9))
def test_what_is_unacceptable_is_the_last_tier_by_itself(given_places):
    letters = LETTERS[: len(given_places)]
    answers = {
        letter: CompletionAnswer(tier=tier, unacceptable=bad)
        for letter, (tier, bad) in zip(letters, given_places, strict=True)
    }
    tiers = rules._tiers(letters, ComparisonContent(completions=answers))
    assert set(tiers.values()) == set(range(1, max(tiers.values()) + 1))
    bad = [letter for letter in letters if answers[letter].unacceptable]
    assert len({tiers[letter] for letter in bad}) <= 1
    assert all(tiers[letter] < tiers[one] for letter in letters if letter not in bad for one in bad)


@settings(max_examples=50)
@given(ratings_of, st.data())
def test_a_contradiction_is_a_rank_against_the_rating_by_two_or_more(ratings, data):
    letters, content = rated(ratings)
    tiers = data.draw(st.lists(st.integers(1, 9), min_size=len(letters), max_size=len(letters)))
    answers = {one: content.of(one).model_copy(update={"tier": tier}) for one, tier in zip(letters, tiers, strict=True)}
    said = ComparisonContent(completions=answers)
    found = set(said.contradictions(letters))
    for a, b in combinations(letters, 2):
        for better, worse in ((a, b), (b, a)):
            x, y = answers[better].rating, answers[worse].rating
            odd = None not in (x, y) and x - y >= 2 and answers[better].tier > answers[worse].tier
            assert ((better, worse) in found) == odd
    assert content.contradictions(letters) == [], "a seeded order contradicts no rating"


def test_reading_takes_a_tenth_of_a_second_a_word():
    assert rules.reading_seconds(["word " * 300, "two words"]) == pytest.approx(30.2)
    assert rules.reading_seconds([]) == 0
    assert 4 <= rules.reading_seconds(["漢" * 100]) <= 6, "a hundred characters are about fifty words"


def hand_in(labeler, content: ComparisonContent) -> Comparison:
    with transaction() as session:
        claimed = assignments.claim(session, labeler)
        found = assignment_queries.assignment(session, claimed.public_id, labeler)
        return submit(session, found, labeler, content, active_seconds=3)


def test_an_undecided_tier_is_refused_with_words_and_the_rest_is_stored_as_said(people):
    make_round(1, k=4)
    ana = people.labeler("ana")
    letters, content = rated([6, 3, 3, 5])
    untouched = content.with_form(as_posted(content.placed(letters), do="hand_in"), letters, [])
    with pytest.raises(BadInput, match=r"Undecided: B, C\. Mark each") as refused:
        hand_in(ana, untouched)
    assert refused.value.field == "completions.B.undecided"
    tied = {
        **content.placed(letters),
        "B": CompletionAnswer(tier=3),
        "C": CompletionAnswer(tier=3),
        "A": CompletionAnswer(unacceptable=True),
    }
    one = hand_in(ana, content.with_form(as_posted(tied, do="hand_in"), letters, []))
    assert one.seeded_order is SeededOrder.EDITED and one.first_action_at <= one.submitted_at
    with reading() as session:
        rows = session.scalars(select(ComparedCompletion).order_by(ComparedCompletion.shown_position)).all()
        assert [(row.tier, row.unacceptable) for row in rows] == [(3, True), (2, False), (2, False), (1, False)]


def test_over_rest_all_of_it_is_optional_and_what_is_said_is_checked(client, people):
    make_round(4, k=2)
    ana, admin = people.bearer(people.labeler("ana")), people.bearer(people.admin())

    def submit(**more):
        work = client.post("/api/v1/assignments/next", headers=ana).json()
        answers = {"A": {"rating": 6, "tier": 1}, "B": {"rating": 2, "tier": 2}}
        body = {"fence": work["fence"], "completions": answers} | more
        return client.post(f"/api/v1/assignments/{work['id']}/submit", json=body, headers=ana)

    def newest():
        return client.get("/api/v1/comparisons?limit=1", headers=admin).json()["items"][0]

    assert submit().status_code == 200
    assert (newest()["seeded_order"], newest()["first_action_at"]) == (None, None)
    assert submit(seeded_order="confirmed", first_action_at="2999-01-01T00:00:00Z").status_code == 200
    assert newest()["seeded_order"] == "confirmed"
    assert newest()["first_action_at"] == newest()["submitted_at"], "a clock that goes ahead costs nothing"
    against = {"A": {"rating": 2, "tier": 1}, "B": {"rating": 6, "tier": 2}}
    refused = submit(seeded_order="confirmed", completions=against)
    assert refused.status_code == 422 and refused.json()["field"] == "seeded_order"
    assert submit(seeded_order="edited", completions=against).status_code == 200
    lowest = {"A": {"rating": 1, "unacceptable": True}, "B": {"rating": 6, "tier": 1}}
    assert submit(completions=lowest).status_code == 200
    assert [(one["letter"], one["tier"], one["unacceptable"]) for one in newest()["completions"]] == [
        ("B", 1, False),
        ("A", 2, True),
    ]
