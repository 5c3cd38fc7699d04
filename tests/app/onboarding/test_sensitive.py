"""Sensitive prompts: marked in four ways, warned of before they are seen, and not given to those who opted out."""

import io
import json
import time

import pytest
from sqlalchemy import insert, select, update

from app.assignments import rules as assignments
from app.assignments.tables import Assignment
from app.database import public_id, reading, transaction
from app.guidelines.schemas import PromptAnswer
from app.prompts.tables import SENSITIVE, Prompt
from app.rounds.tables import Item, ItemKind
from tests.desk import make_round


def mark(*texts: str) -> None:
    """Mark the prompts that say one of these."""
    with transaction() as session:
        for prompt in session.scalars(select(Prompt)):
            if prompt.messages[-1]["text"] in texts:
                prompt.answers = {SENSITIVE: True}


def test_the_mark_is_the_papers_answer_about_a_prompt():
    assert PromptAnswer.SENSITIVE == SENSITIVE


@pytest.mark.parametrize("answers", [{}, {SENSITIVE: False}, {SENSITIVE: True}, {"ambiguous": True}])
def test_the_database_and_the_row_say_the_same(database, answers):
    make_round(1, answers=answers)
    with reading() as session:
        prompt = session.scalars(select(Prompt)).one()
        marked = session.scalars(select(Prompt).where(Prompt.sensitive)).all()
        unmarked = session.scalars(select(Prompt).where(~Prompt.sensitive)).all()
    assert prompt.sensitive is (answers.get(SENSITIVE) is True)
    assert (len(marked), len(unmarked)) == ((1, 0) if prompt.sensitive else (0, 1))


def test_prompts_are_marked_by_rest_by_import_and_by_page(client, people):
    olga = people.admin()
    admin = people.bearer(olga)

    def marked(id):
        return client.get(f"/api/v1/prompts/{id}", headers=admin).json()["answers"].get(SENSITIVE)

    one = client.post("/api/v1/prompts", json={"prompt": "A", "answers": {SENSITIVE: True}}, headers=admin).json()
    two = client.post("/api/v1/prompts", json={"prompt": "B"}, headers=admin).json()
    assert marked(one["id"]) and not marked(two["id"])
    client.patch(f"/api/v1/prompts/{two['id']}", json={"answers": {SENSITIVE: True}}, headers=admin)
    assert marked(two["id"])
    line = json.dumps({"prompt": "C", "answers": {SENSITIVE: True}}).encode()
    done = client.post("/api/v1/prompts/import", files={"file": ("p.jsonl", io.BytesIO(line))}, headers=admin).json()
    assert done["added"] == 1
    newest = client.get("/api/v1/prompts", headers=admin).json()["items"][0]
    assert newest["messages"][0]["text"] == "C" and marked(newest["id"])
    people.sign_in(client, olga)
    client.post(f"/admin/prompts/{newest['id']}", data={**people.csrf(client), SENSITIVE: "no"})
    assert marked(newest["id"]) is False


def test_whoever_opted_out_is_given_the_others(client, people):
    make_round(3)
    mark("prompt 0 of round 1", "prompt 2 of round 1")
    ana, ben = people.labeler(), people.labeler("ben")
    me = people.bearer(ana)
    assert client.patch("/api/v1/accounts/me", json={"avoids_sensitive": True}, headers=me).json()["avoids_sensitive"]
    with reading() as session:
        assert assignments.waiting(session, session.get_one(type(ana), ana.id)) == 1
        assert assignments.waiting(session, ben) == 3
    shown = client.post("/api/v1/assignments/next", headers=me).json()
    assert shown["prompt"][0]["text"] == "prompt 1 of round 1" and shown["sensitive"] is False
    client.post(f"/api/v1/assignments/{shown['id']}/skip", json={"reason": "other"}, headers=me)
    assert client.post("/api/v1/assignments/next", headers=me).status_code == 204
    theirs = client.post("/api/v1/assignments/next", headers=people.bearer(ben)).json()
    assert theirs["prompt"][0]["text"] == "prompt 0 of round 1" and theirs["sensitive"] is True


def test_opting_out_on_the_account_page(client, people):
    ana = people.labeler()
    people.sign_in(client, ana)
    fields = people.csrf(client)
    assert client.post("/account/sensitive", data=fields).status_code == 303
    with reading() as session:
        assert session.get_one(type(ana), ana.id).avoids_sensitive
    assert client.post("/account/sensitive", data={**fields, "show": "yes"}).status_code == 303
    with reading() as session:
        assert not session.get_one(type(ana), ana.id).avoids_sensitive


def test_the_warning_comes_before_the_text_on_every_page(client, people):
    make_round(2, kind=ItemKind.DEMONSTRATION)
    mark("prompt 0 of round 1")
    ana = people.labeler()
    people.sign_in(client, ana)
    fields = people.csrf(client)
    work = client.post("/assignments/next", data=fields).headers["location"]
    for path in (work, f"{work}?at=A", "/"):
        assert "prompt 0 of round 1" not in client.get(path).text, path
    assert "Before you read on" in client.get(work).text
    assert client.post(f"{work}/show", data=fields).status_code == 303
    assert "prompt 0 of round 1" in client.get(work).text
    assert "prompt 0 of round 1" in client.get("/").text
    other = people.labeler("ben")
    people.sign_in(client, other)
    assert client.post(f"{work}/show", data=people.csrf(client)).status_code == 404


def test_skipping_from_the_warning(client, people):
    make_round(2, kind=ItemKind.DEMONSTRATION)
    mark("prompt 0 of round 1")
    ana = people.labeler()
    people.sign_in(client, ana)
    fields = people.csrf(client)
    work = client.post("/assignments/next", data=fields).headers["location"]
    given = {**fields, "labeler": ana.public_id, "version": "0", "reason": "harmful"}
    following = client.post(f"{work}/skip", data=given).headers["location"]
    assert "prompt 1 of round 1" in client.get(following).text


def test_a_queue_that_begins_with_sensitive_prompts_is_passed_quickly(database, people):
    """Whoever opted out passes 5,000 of them in well under a second, on either database."""
    make_round(1)
    with transaction() as session:
        item = session.scalars(select(Item)).one()
        rows = [
            {"messages": [{"role": "user", "text": str(n)}], "text_sha256": f"{n:064}", "folded_sha256": f"{n:064}",
             "source": "customer", "owner": "", "split": "train", "answers": {SENSITIVE: True},
             "public_id": public_id()}
            for n in range(5000)
        ]  # fmt: skip
        prompts = session.scalars(insert(Prompt).returning(Prompt.id), rows).all()
        items = session.scalars(
            insert(Item).returning(Item.id),
            [
                {"round_id": item.round_id, "prompt_id": id, "kind": "comparison", "position": n, "overlap": 1,
                 "public_id": public_id()}
                for n, id in enumerate(prompts, 1)
            ],
        ).all()  # fmt: skip
        session.execute(
            insert(Assignment),
            [
                {"public_id": public_id(), "item_id": id, "slot": 0, "position": n}
                for n, id in enumerate(items)
            ],
        )  # fmt: skip
        session.execute(update(Assignment).where(Assignment.item_id == item.id).values(position=10_000))
    ana = people.labeler()
    with transaction() as session:
        session.get_one(type(ana), ana.id).avoids_sensitive = True
    with transaction() as session:
        ana = session.get_one(type(ana), ana.id)
        began = time.perf_counter()
        claimed = assignments.claim(session, ana)
        seconds = time.perf_counter() - began
    assert claimed.item_id == item.id
    assert seconds < 1, seconds
