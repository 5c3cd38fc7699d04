"""What changed in a guideline since somebody read it, and that new work waits until they have."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.assignments import rules as assignments
from app.database import reading, transaction
from app.guidelines import queries, rules
from app.guidelines.changes import Kind, compare_texts
from app.guidelines.schemas import GuidelineIn
from app.rounds.tables import Round
from tests.desk import make_round

WORD = st.sampled_from(["be", "kind", "and", "fair", "to", "people", ",", "always", "."])
TEXT = st.lists(st.lists(WORD, min_size=1), max_size=6)


def text(paragraphs) -> str:
    return "\n\n".join(" ".join(words) for words in paragraphs)


@given(TEXT, TEXT)
def test_without_what_is_new_it_is_the_old_text_and_without_what_is_old_the_new(old, new):
    """The two texts are found again in their difference, whatever they are."""
    found = compare_texts(text(old), text(new))

    def left(*kinds):
        paragraphs = ["".join(piece.text for piece in pieces if piece.kind in kinds) for pieces in found]
        whole = [
            paragraph
            for paragraph, pieces in zip(paragraphs, found, strict=True)
            if any(piece.kind in kinds for piece in pieces)
        ]
        return "\n\n".join(whole)

    assert left(Kind.SAME, Kind.REMOVED) == text(old)
    assert left(Kind.SAME, Kind.ADDED) == text(new)


def test_a_reworded_paragraph_is_told_word_by_word_and_another_one_whole():
    found = compare_texts(
        "# A\n\nBe kind to people.\n\nGone.", "# A\n\nBe kind and fair to people.\n\nSomething else entirely"
    )
    assert [[(piece.kind.value, piece.text) for piece in pieces] for pieces in found] == [
        [("same", "# A")],
        [("same", "Be kind"), ("added", " and fair"), ("same", " to people.")],
        [("removed", "Gone.")],
        [("added", "Something else entirely")],
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a\n" * 40_000, "b\n" * 40_000),
        ("a b\n" * 20_000, "a b\nc\n" * 15_000),
        ("so " * 30_000, "so so " * 15_000 + "end"),
        ("\n".join(f"{n} kind words" for n in range(6_000)), "\n".join(f"kind words {n}" for n in range(6_000))),
        (("be kind to all people " * 60 + "\n") * 70, ("to be fair and kind " * 60 + "\n") * 70),
    ],
    ids=["all other", "doubled", "one long line", "all reworded", "long paragraphs"],
)
def test_the_longest_texts_are_compared_while_somebody_waits(old, new):
    began = time.perf_counter()
    compare_texts(old[:100_000], new[:100_000])
    assert time.perf_counter() - began < 10  # a second or two on an idle machine


def next_version(body: str = "Be kind and brief.") -> str:
    with transaction() as session:
        given = {"name": "training", "title": "How to label", "body": body, "what_changed": "Brevity counts."}
        return rules.add_version(session, GuidelineIn(**given), None).public_id


def known(labeler) -> int | None:
    with reading() as session:
        last = queries.last_read(session, "training", labeler)
    return last.version if last else None


def test_the_first_version_is_known_by_working_and_a_later_one_is_to_be_read_first(client, people):
    make_round(2, number=1)
    ana = people.labeler()
    me = people.bearer(ana)
    assert known(ana) is None
    first = client.post("/api/v1/assignments/next", headers=me).json()
    assert known(ana) == first["guideline"]["version"] == 1
    second = next_version()
    client.post(f"/api/v1/assignments/{first['id']}/skip", json={"reason": "other"}, headers=me)
    other = client.post("/api/v1/assignments/next", headers=me)
    assert other.status_code == 200  # the open round still goes by version 1
    client.post(f"/api/v1/assignments/{other.json()['id']}/skip", json={"reason": "other"}, headers=me)

    make_round(1, number=2)
    refused = client.post("/api/v1/assignments/next", headers=me)
    assert refused.status_code == 409 and refused.json()["current"]["guideline"] == second
    told = client.get(f"/api/v1/guidelines/{second}/changes", headers=me).json()
    assert (told["last_read"], told["guideline"]["version"]) == (1, 2)
    assert any(piece["kind"] == "added" for pieces in told["paragraphs"] for piece in pieces)
    assert client.post(f"/api/v1/guidelines/{second}/acknowledge", headers=me).status_code == 204
    assert client.post(f"/api/v1/guidelines/{second}/acknowledge", headers=me).status_code == 204
    assert known(ana) == 2
    work = client.post("/api/v1/assignments/next", headers=me).json()
    assert work["guideline"]["version"] == 2


def test_begun_work_goes_on_without_reading(client, people):
    make_round(1, number=1)
    ana = people.labeler()
    with transaction() as session:
        begun = assignments.claim(session, ana).public_id
    next_version()
    make_round(1, number=2)
    with transaction() as session:
        assert assignments.claim(session, ana).public_id == begun


def test_a_round_of_another_pool_asks_nobody_to_read(database, people):
    make_round(1, number=1)
    ana = people.labeler()
    with transaction() as session:
        rules.acknowledge(session, rules.current_guideline(session, "training"), ana)
    next_version()
    make_round(1, number=2, pools=("held-out",))
    with transaction() as session:
        assert assignments.claim(session, ana).item.round.number == 1
    with pytest.raises(rules.NotRead), transaction() as session:
        session.query(Round).filter_by(number=2).one().pools = ["train"]
        session.flush()
        other = people_labeler(session)
        rules.acknowledge(session, queries.versions(session, "training")[-1], other)
        assignments.claim(session, other)


def people_labeler(session):
    from app.accounts import rules as accounts
    from app.accounts.passwords import PasswordHash

    return accounts.create_account(session, username="ben", name="Ben", password=PasswordHash("x"))


def test_by_page_a_change_is_shown_once_and_the_work_goes_on(client, people):
    make_round(3, number=1)
    ana = people.labeler()
    people.sign_in(client, ana)
    fields = people.csrf(client)
    work = client.post("/assignments/next", data=fields).headers["location"]
    given = {**fields, "labeler": ana.public_id, "version": "0", "reason": "other"}
    with transaction() as session:
        body = rules.current_guideline(session, "training").body
    second = next_version(body.replace("Ties are welcome", "Ties are very welcome"))
    make_round(1, number=2)
    to_read = client.post(f"{work}/skip", data=given).headers["location"]
    assert to_read == f"/guidelines/{second}/changes"
    page = client.get(to_read).text
    assert "<ins>very </ins>" in page and "you have read version 1" in page and "Brevity counts." in page
    assert re.search(r"…", page), "paragraphs without a change are left out"
    done = client.post(f"/guidelines/{second}/acknowledge", data={**fields, "next": "/onboarding"})
    assert done.headers["location"] == "/onboarding"
    assert "You have read this version." in client.get(to_read).text
    assert client.post("/assignments/next", data=fields).headers["location"].startswith("/assignments/")
    away = client.post(f"/guidelines/{second}/acknowledge", data={**fields, "next": "//evil.example"})
    assert away.headers["location"] == "/"
