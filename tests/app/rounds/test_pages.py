"""Rounds by page: from the form to closing, and what a form gets wrong."""

import html
import re

import pytest
from sqlalchemy import select

from app.completions import rules as completions
from app.database import reading, transaction
from app.policies import rules as policies
from app.policies.tables import PolicyKind
from app.prompts import rules as prompts
from app.prompts.tables import PromptSource
from app.rounds.pages import WHOLE
from app.rounds.tables import Round


@pytest.fixture
def admin(client, people):
    people.sign_in(client, people.admin())
    client.fields = people.csrf(client)
    with transaction() as session:
        for number in range(30):
            prompt = prompts.add(
                session,
                messages=[{"role": "user", "text": f"Question {number} <b>?"}],
                source=PromptSource.CUSTOMER,
                collection="mine" if number < 25 else "other",
            )
            for name in ("a", "b"):
                policy = policies.get_or_create(session, name, PolicyKind.IMPORTED)
                completions.add(session, prompt, policy, "same" if number == 3 else f"{name} of {number}")
    return client


def make(client, **fields):
    form = {"name": "One", "purpose": "training", "overlap": "1", "pools": ["train"], "completions": "2", "seed": "0"}
    form["all"] = [name for name in WHOLE if name not in fields and (name != "policies" or "policy" not in fields)]
    return client.post("/admin/rounds/new", data={**client.fields, **form, **fields})


def test_a_round_by_page(admin, people):
    people.labeler("ana")
    form = admin.get("/admin/rounds/new").text
    assert 'value="mine"' in form
    assert 'name="count:a"' in form
    made = make(admin, ask_comparisons="yes", collections=["mine"], policy=["a", "b"], **{"count:a": "1"})
    assert made.status_code == 303
    address = made.headers["location"]
    page = admin.get(address).text
    assert "Created a draft with 24 items" in page
    assert "fewer than two distinct texts" in page
    assert "Question 3 " not in page or "left" in page
    assert "<b>?" not in page
    assert "a (1), b" in page
    following = html.unescape(re.search(r'href="([^"]+cursor=20)"', page).group(1))
    assert admin.get(following).text.count("/admin/prompts/") >= 4
    assert admin.post(f"{address}/open", data=admin.fields).status_code == 303
    opened = admin.get(address).text
    assert "0 of 24 answers submitted" in opened
    assert f'hx-get="{address}"' in opened
    part = admin.get(address, headers={"HX-Request": "true"}).text
    assert part.lstrip().startswith("<section")
    assert "0 of 24" in part
    assert admin.post(f"{address}/open", data=admin.fields).status_code == 409
    assert admin.post(f"{address}/discard", data=admin.fields).status_code == 409
    assert admin.post(f"{address}/close", data=admin.fields).status_code == 303
    closed = admin.get(address).text
    assert f"/admin/snapshots/new?round={address.rsplit('/', 1)[1]}" in closed
    assert "hx-trigger" not in closed
    assert "0 of 24" in admin.get("/admin/rounds").text


def test_a_draft_is_prepared_anew_and_deleted(admin):
    address = make(admin, ask_demonstrations="yes", demonstrations="40").headers["location"]
    assert "demonstration: 30" in admin.get(address).text
    with transaction() as session:
        prompts.add(session, messages=[{"role": "user", "text": "New?"}], source=PromptSource.CUSTOMER)
    assert admin.post(f"{address}/prepare", data=admin.fields).status_code == 303
    assert "demonstration: 31" in admin.get(address).text
    assert admin.post(f"{address}/discard", data=admin.fields).headers["location"] == "/admin/rounds"
    assert "There are no rounds yet" in admin.get("/admin/rounds").text


def test_a_round_that_fits_nothing_says_so(admin):
    refused = make(admin, ask_comparisons="yes", sources=["labeler_plain"])
    assert refused.status_code == 422 and "No prompts match" in refused.text


WRONG = [
    ({"ask_comparisons": "yes", "name": " "}, "Give the round a name"),
    ({}, "at least one of them"),
    ({"ask_comparisons": "yes", "overlap": "0"}, "number from 1 to 50"),
    ({"ask_comparisons": "yes", "completions": "10"}, "2 to 9 completions"),
    ({"ask_comparisons": "yes", "comparisons": "none"}, "1 to 1,000,000"),
    ({"ask_comparisons": "yes", "pools": []}, "at least one pool"),
    ({"ask_comparisons": "yes", "policy": ["nobody"]}, "no policy “nobody”"),
    ({"ask_comparisons": "yes", "policy": ["a"], "count:a": "3"}, "add up to 3"),
    ({"ask_comparisons": "yes", "guideline": "other"}, "no guideline “other”"),
    ({"ask_comparisons": "yes", "seed": "x"}, "whole number"),
]


def test_what_is_wrong_is_told_beside_what_was_given(admin):
    for fields, says in WRONG:
        answer = make(admin, **{"name": "Kept as it was", **fields})
        assert answer.status_code == 422
        assert says in html.unescape(answer.text)
        if "name" not in fields:
            assert "Kept as it was" in answer.text
    with reading() as session:
        assert session.scalar(select(Round)) is None


def test_labelers_see_none_of_it(client, people):
    people.sign_in(client, people.labeler())
    for path in ("/admin/rounds", "/admin/rounds/new", "/admin/policies", "/admin/completions/x", "/admin/guidelines"):
        assert client.get(path).status_code == 404
