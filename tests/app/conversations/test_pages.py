"""A conversation by page and over REST."""

import json
import re

from sqlalchemy import select

from app.assignments import queries as assignment_queries
from app.conversations import queries
from app.conversations.tables import Suggestion
from app.database import reading, transaction
from app.policies import rules as policies
from app.policies.tables import PolicyKind
from app.serving import rules as serving
from tests.app.conversations.conftest import OPENING, SECRET_POLICY, TOPIC
from tests.talk import says


def test_a_whole_conversation_over_rest(client, people, talk, server):
    talk()
    ana, admin = people.labeler("ana"), people.admin()
    work, read = people.bearer(ana), people.bearer(admin)
    given = client.post("/api/v1/assignments/next", headers=work).json()
    assert given["kind"] == "conversation" and given["prompt"][0]["text"] == OPENING
    path = f"/api/v1/assignments/{given['id']}"
    made = client.post(f"{path}/suggestions", headers=work)
    assert made.status_code == 201 and set(made.json()) == {"id", "role", "text"}
    said = [says("assistant", made.json()["text"], made.json()["id"]), says("user", "Thanks.")]
    kept = client.post(
        f"{path}/draft", json={"content": {"messages": said, "text": "You are"}}, headers={**work, "If-Match": '"0"'}
    )
    assert kept.json()["version"] == 1
    stale = client.post(f"{path}/draft", json={"content": {"messages": []}}, headers={**work, "If-Match": '"0"'})
    assert stale.status_code == 409 and stale.json()["current"]["content"]["text"] == "You are"
    body = {"fence": given["fence"], "messages": [*said, says("assistant", "You are welcome.")]}
    done = [client.post(f"{path}/submit", json=body, headers=work).json() for _ in range(2)]
    assert done[0] == done[1] and done[0]["kind"] == "conversation"
    everything = client.get(path, headers=work).text + json.dumps(done) + made.text
    assert SECRET_POLICY not in everything and server.url not in everything
    (one,) = client.get("/api/v1/conversations", headers=read).json()["items"]
    assert [(m["role"], m["origin"]) for m in one["messages"]] == [
        ("assistant", "taken"),
        ("user", "written"),
        ("assistant", "written"),
    ]
    assert one["messages"][0]["suggestion"]["policy"] == SECRET_POLICY and one["alternatives"]["state"] == "queued"
    assert one["opening"] == [{"role": "user", "text": OPENING}] and one["topic"] is None
    assert client.get(f"/api/v1/conversations/{one['id']}", headers=read).json() == one
    lines = client.get("/api/v1/conversations.jsonl?round=1", headers=read).text.splitlines()
    assert [json.loads(line) for line in lines] == [one]
    assert client.get("/api/v1/conversations.jsonl?round=2", headers=read).text == ""
    assert client.get("/api/v1/conversations", headers=work).status_code == 403


class Desk:
    """A labeler at the pages, without a script."""

    def __init__(self, client, people, labeler):
        self.client, self.people = client, people
        people.sign_in(client, labeler)
        self.place = client.post("/assignments/next", data=people.csrf(client)).headers["location"]

    def page(self, address: str = "") -> str:
        return self.client.get(address or self.place).text

    def fields(self, page: str) -> dict[str, str]:
        hidden = dict(re.findall(r'<input type="hidden" name="([\w.]+)" value="([^"]*)"', page))
        areas = dict(re.findall(r'<textarea[^>]* name="([\w.]+)"[^>]*>\n(.*?)</textarea>', page, re.S))
        return hidden | areas

    def press(self, do: str, act: str = "draft", address: str = "", **fields):
        values = self.fields(self.page(address)) | {"do": do} | fields
        return self.client.post(f"{self.place}/{act}", data=values)


def test_the_whole_work_without_a_script(client, people, talk, server):
    talk()
    ana = people.labeler("ana")
    desk = Desk(client, people, ana)
    page = desk.page()
    assert OPENING in page and "Now you are the assistant" in page and SECRET_POLICY not in page
    assert desk.press("suggest", text="my own beginning").status_code == 303
    page = desk.page()
    assert f"answer to {OPENING}" in page and "my own beginning" in page
    (id,) = [one.public_id for one in _suggestions()]
    desk.press(f"take:{id}")
    assert desk.fields(desk.page())["text"] == f"my own beginning\n\nanswer to {OPENING}", "nothing typed is lost"
    desk.press("add", text=f"answer to {OPENING}")
    page = desk.page()
    assert "Now you are the person" in page and desk.fields(page)["turn"] == "1"
    desk.press("add", text="Why?")
    desk.press("back")
    assert desk.fields(desk.page())["text"] == "Why?"
    refused = desk.press("back", text="Why so?")
    assert refused.status_code == 303 and "The editor is not empty" in desk.page()
    desk.press("add")
    editing = desk.page(desk.press("at:0", text="half an answer").headers["location"])
    assert desk.fields(editing)["message.0"] == f"answer to {OPENING}"
    desk.press("save", address=f"{desk.place}?at=0", **{"message.0": "The Rhine, of course."})
    page = desk.page()
    assert "The Rhine, of course." in page and desk.fields(page)["text"] == "half an answer"
    empty = desk.press("stop", act="submit", text=" ")
    assert empty.status_code == 422 and "must end with an assistant message" in empty.text
    done = desk.press("stop", act="submit", text="Because it is long.")
    assert done.headers["location"] == "/"
    shown = desk.page()
    assert "Submitted" in shown and "The Rhine, of course." in shown and "Because it is long." in shown
    with reading() as session:
        (one,), _ = queries.page(session, None, 5)
    assert [(m.text, m.origin) for m in one.conversation.messages] == [
        ("The Rhine, of course.", "edited"),
        ("Why so?", "written"),
        ("Because it is long.", "written"),
    ]
    people.sign_in(client, people.admin())
    listed = client.get("/admin/conversations").text
    assert one.conversation.public_id in listed
    read = client.get(f"/admin/conversations/{one.conversation.public_id}").text
    assert SECRET_POLICY in read and "suggestion edited" in read and "waiting for a worker" in read


def _suggestions() -> list[Suggestion]:
    with reading() as session:
        return list(session.scalars(select(Suggestion)))


def test_a_double_click_adds_one_message_and_a_stale_page_shows_both(client, people, talk):
    talk()
    desk = Desk(client, people, people.labeler("ana"))
    fields = desk.fields(desk.page())
    for _ in range(2):
        sent = client.post(f"{desk.place}/draft", data={**fields, "do": "add", "text": "The Rhine."})
        assert sent.status_code == 303
    assert desk.fields(desk.page())["turn"] == "1"
    stale = client.post(f"{desk.place}/draft", data={**fields, "do": "add", "text": "The Po."})
    assert stale.status_code == 409 and "The Po." in stale.text and "The Rhine." in stale.text


def test_ones_own_unfinished_conversation_comes_first(client, people, talk):
    talk(topics=[TOPIC, "Another use."])
    ana = people.labeler("ana")
    desk = Desk(client, people, ana)
    desk.press("add", text="Hello there")
    assert client.post("/assignments/next", data=people.csrf(client)).headers["location"] == desk.place
    assert "Write a conversation" in client.get("/").text and "Hello there" in desk.page()


def test_skipping_keeps_what_was_written(client, people, talk):
    talk()
    ana = people.labeler("ana")
    desk = Desk(client, people, ana)
    assert desk.press("", act="skip", text="half", reason="harmful").status_code == 303
    with reading() as session:
        found = assignment_queries.assignment(session, desk.place.rpartition("/")[2], ana)
        kept = assignment_queries.draft(session, found, ana).content
    assert kept["text"] == "half"


def test_a_script_gets_suggestions_as_json(client, people, talk, server):
    talk()
    desk = Desk(client, people, people.labeler("ana"))
    csrf = people.csrf(client)
    told = client.post(f"{desk.place}/suggest", data=csrf)
    assert set(told.json()) == {"id", "text"} and told.json()["text"] == f"answer to {OPENING}"
    assert client.post(f"{desk.place}/suggest/prepare", data=csrf).status_code == 204
    server.reply = (500, {}, b"")
    none = client.post(f"{desk.place}/suggest", data=csrf)
    assert none.status_code == 503 and server.url not in none.text
    assert client.post("/assignments/nowhere/suggest", data=csrf).status_code == 404


def test_whoever_begins_has_the_network_loaded_meanwhile(client, people, talk):
    talk()
    with transaction() as session:
        trained = policies.get_or_create(session, "trained", PolicyKind.TRAINED, path="runs/1/checkpoints/a")
    desk = Desk(client, people, people.labeler("ana"))
    with reading() as session:
        assert serving.wanted(session) == [], "looking at a page changes nothing"
    assert client.post(f"{desk.place}/suggest/prepare", data=people.csrf(client)).status_code == 204
    with reading() as session:
        assert [one.policy_id for one in serving.wanted(session)] == [trained.id]
