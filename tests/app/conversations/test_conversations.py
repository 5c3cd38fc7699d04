"""A conversation from its first suggestion to the comparison of what else might have been said."""

import json
import re

import pytest
from sqlalchemy import func, select, update

from app.assignments import queries as assignment_queries
from app.assignments import rules as assignments
from app.conversations import queries, rules, sampling, suggesting, tasks
from app.conversations.schemas import ConversationContent
from app.conversations.tables import Alternatives, AlternativesState, Conversation, Origin, Suggestion
from app.database import reading, transaction, utc_now
from app.errors import BadInput, Conflict, TooMany
from app.policies.tables import Policy
from app.prompts.tables import Prompt, PromptSource
from app.rounds import rules as rounds
from app.rounds.schemas import ConversationPlan, PolicyShare, PromptFilter
from app.rounds.tables import Item, ItemKind
from app.snapshots import queries as snapshot_queries
from app.snapshots import rules as snapshots
from app.snapshots import tasks as snapshot_tasks
from app.snapshots.schemas import SnapshotFilter
from app.snapshots.tables import Snapshot, SnapshotMember
from tests.app.conversations.conftest import OPENING, SECRET_POLICY, TOPIC
from training.records import DemonstrationRecord, Pool, Purpose, Split, read


def begin(labeler) -> str:
    """Claim the next piece of work; its id."""
    with transaction() as session:
        return assignments.claim(session, labeler).public_id


def draft(labeler, id: str, **content) -> None:
    with transaction() as session:
        found = assignment_queries.assignment(session, id, labeler)
        version = assignment_queries.draft(session, found, labeler).version
        kept = ConversationContent.model_validate(content).model_dump(mode="json")
        assignments.save_draft(session, found, labeler, kept, version=version)


def submit(labeler, id: str, messages: list, **fields) -> Conversation:
    with transaction() as session:
        found = assignment_queries.assignment(session, id, labeler)
        content = ConversationContent.model_validate({"messages": messages, **fields})
        return rules.submit(session, found, labeler, content, active_seconds=9)


def says(role: str, text: str, suggestion: str | None = None) -> dict:
    return {"role": role, "text": text, "suggestion": suggestion}


def talked(labeler, server, id: str | None = None) -> Conversation:
    """A conversation in which a suggestion was taken word for word for the second answer."""
    id = id or begin(labeler)
    said = [says("assistant", "The Rhine."), says("user", "How long is it?")]
    draft(labeler, id, messages=said)
    server.answer = lambda _request: ["It is 1,230 km long."]
    taken = suggesting.suggest(labeler, id)
    return submit(labeler, id, [*said, says("assistant", taken.text, taken.public_id)])


# --- Suggestions ---


def test_what_a_policy_is_asked_for_either_side(people, talk, server):
    talk()
    ana = people.labeler()
    id = begin(ana)
    first = suggesting.suggest(ana, id)
    assert server.requests[-1]["messages"] == [{"role": "user", "content": OPENING}]
    assert (first.role, first.position, first.text) == ("assistant", 0, f"answer to {OPENING}")
    draft(ana, id, messages=[says("assistant", "The Rhine.")])
    second = suggesting.suggest(ana, id)
    system, *turned = server.requests[-1]["messages"]
    assert (second.role, second.position) == ("user", 1)
    assert system["role"] == "system" and "You play a person" in system["content"]
    assert [one["role"] for one in turned] == ["user", "assistant", "user"], "the two change places"
    assert [one["content"] for one in turned[1:]] == [OPENING, "The Rhine."]
    with reading() as session:
        assert session.get_one(Policy, second.policy_id).name == SECRET_POLICY
        assert second.settings["temperature"] == 1.0


def test_a_described_use_is_no_message_of_the_conversation(people, talk, server):
    talk(topics=[TOPIC])
    ana = people.labeler()
    id = begin(ana)
    assert suggesting.suggest(ana, id).role == "user"
    assert TOPIC in server.requests[-1]["messages"][0]["content"]
    draft(ana, id, messages=[says("user", "Which bicycle for hills?")])
    assert suggesting.suggest(ana, id).role == "assistant"
    assert server.requests[-1]["messages"] == [{"role": "user", "content": "Which bicycle for hills?"}]
    stored = submit(ana, id, [says("user", "Which bicycle for hills?"), says("assistant", "One with low gears.")])
    with reading() as session:
        assert [one.origin for one in queries.conversation(session, stored.public_id).conversation.messages] == [
            Origin.IGNORED,
            Origin.IGNORED,
        ]


def test_no_suggestion_says_so_without_naming_anybody(people, talk, server):
    talk()
    ana = people.labeler()
    id = begin(ana)
    server.reply = (500, {}, b"")
    with pytest.raises(suggesting.NoSuggestion) as none:
        suggesting.suggest(ana, id)
    assert SECRET_POLICY not in none.value.message and server.url not in none.value.message
    with reading() as session:
        policy = session.scalar(select(Policy).where(Policy.name == SECRET_POLICY))
        assert "broke (500)" in policy.last_error, "admins see why"
        assert session.scalar(select(func.count()).select_from(Suggestion)) == 0


def test_only_some_labelers_wait_at_once_and_one_message_gets_only_so_many(people, talk, server, monkeypatch):
    talk()
    ana = people.labeler()
    id = begin(ana)
    monkeypatch.setattr(suggesting, "MAX_SUGGESTIONS", 2)
    suggesting.suggest(ana, id)
    for _ in range(suggesting.AT_ONCE):
        suggesting._waiting.acquire()
    try:
        with pytest.raises(TooMany):
            suggesting.suggest(ana, id)
    finally:
        for _ in range(suggesting.AT_ONCE):
            suggesting._waiting.release()
    suggesting.suggest(ana, id)
    with pytest.raises(BadInput, match="2 suggestions for one message"):
        suggesting.suggest(ana, id)


# --- Handing in ---


def test_where_every_message_came_from_is_stored(people, talk, server):
    talk(alternatives=None)
    ana = people.labeler()
    id = begin(ana)
    said: list[dict] = []
    kept = []
    for role, text in (("assistant", None), ("user", "and why?"), ("assistant", "edited {}"), ("user", "own words")):
        draft(ana, id, messages=said)
        left, one = suggesting.suggest(ana, id), suggesting.suggest(ana, id)
        kept.append((left, one))
        if role == "user":
            said.append(says(role, text))
        else:
            said.append(says(role, one.text if text is None else text.format(one.text), one.public_id))
    draft(ana, id, messages=said)
    said.append(says("assistant", "the end"))
    stored = submit(ana, id, said)
    with reading() as session:
        whole = queries.conversation(session, stored.public_id)
    messages = whole.conversation.messages
    assert [one.origin for one in messages] == ["taken", "ignored", "edited", "ignored", "written"]
    assert messages[0].suggestion_id == kept[0][1].id and messages[2].suggestion.text == kept[2][1].text
    assert messages[0].suggestion.policy.name == SECRET_POLICY
    assert {one.id for one in whole.suggestions[0]} == {kept[0][0].id, kept[0][1].id}
    assert whole.alternatives is None


def test_a_suggestion_typed_again_counts_as_taken(people, talk, server):
    talk()
    ana = people.labeler()
    id = begin(ana)
    offered = suggesting.suggest(ana, id)
    stored = submit(ana, id, [], text=f"  {offered.text}\n")
    assert [(one.origin, one.suggestion_id) for one in stored.messages] == [(Origin.TAKEN, offered.id)]


def test_once_and_under_the_fence(people, talk, server):
    round = talk(overlap=2)
    ana, ben = people.labeler("ana"), people.labeler("ben")
    id = begin(ana)
    said = [says("assistant", "The Rhine.")]
    first = submit(ana, id, said)
    assert submit(ana, id, said).id == first.id
    with pytest.raises(Conflict):
        submit(ana, id, [says("assistant", "The Po.")])
    other = begin(ben)
    with transaction() as session:
        assignments.close_round(session, session.merge(round))
    late = submit(ben, other, said)
    assert (first.surplus, late.surplus) == (False, True)


@pytest.mark.parametrize(
    ("messages", "says_"),
    [
        ([], "ends with a message of the assistant"),
        ([says("user", "Hi")], "it is the assistant's turn"),
        ([says("assistant", "a"), says("assistant", "b")], "it is the user's turn"),
        ([says("assistant", "a"), says("user", "b")], "ends with a message of the assistant"),
        ([says("assistant", " ")], "Message 1 is empty"),
        ([says("assistant", "a", "nowhere")], "There is no suggestion nowhere"),
    ],
)
def test_what_cannot_be_handed_in(people, talk, messages, says_):
    talk()
    ana = people.labeler()
    id = begin(ana)
    with pytest.raises(BadInput, match=says_):
        submit(ana, id, messages)
    assert submit(ana, id, [says("assistant", "fine")]).id, "nothing of it was stored"


# --- Alternatives ---


def run_alternatives(id: int) -> Alternatives:
    tasks.sample(id)
    with reading() as session:
        return queries.alternatives(session, id)


def alternatives_of(stored: Conversation) -> Alternatives:
    with reading() as session:
        return session.scalar(select(Alternatives).where(Alternatives.conversation_id == stored.id))


def test_a_model_written_message_gets_alternatives_that_wait_at_the_desk(people, talk, server):
    talk(alternatives=5, split=Split.TRAIN)
    ana, ben = people.labeler("ana"), people.labeler("ben")
    stored = talked(ana, server)
    waiting = alternatives_of(stored)
    assert (waiting.state, waiting.position) == (AlternativesState.QUEUED, 2)
    server.answer = lambda request: [f"{n + 1:,} km" for n in range(request["n"])]
    asked = len(server.requests)
    ready = run_alternatives(waiting.id)
    assert (ready.state, ready.sampled) == (AlternativesState.READY, 5)
    run_alternatives(waiting.id)
    assert len(server.requests) == asked + 1, "a message twice sent does nothing"
    assert [one["content"] for one in server.requests[-1]["messages"]] == [OPENING, "The Rhine.", "How long is it?"]
    with transaction() as session:
        claimed = assignments.claim(session, ben)
        item = assignment_queries.assignment(session, claimed.public_id, ben).item
        assert item.kind is ItemKind.COMPARISON and len(item.completions) == 5
        assert [one["text"] for one in item.prompt.messages] == [OPENING, "The Rhine.", "How long is it?"]
        assert (item.prompt.source, item.prompt.owner, item.prompt.split) == (
            PromptSource.CONVERSATION,
            "acme",
            Split.TRAIN,
        )
        texts = {one.completion.text for one in item.completions}
        assert "It is 1,230 km long." not in texts, "whoever wrote the conversation would know it again"
        policies = {session.get_one(Policy, one.completion.policy_id).name for one in item.completions}
        assert policies == {SECRET_POLICY}


def test_what_held_out_labelers_wrote_never_becomes_a_train_prompt(people, talk, server):
    talk(split=Split.TRAIN)
    stored = talked(people.labeler("hal", pool=Pool.HELD_OUT), server)
    with reading() as session:
        prefix = session.get_one(Prompt, alternatives_of(stored).prompt_id)
    assert prefix.split is Split.VALIDATION


def test_a_round_that_closed_meanwhile_gains_nothing_and_the_bank_has_the_texts(people, talk, server):
    round = talk()
    stored = talked(people.labeler(), server)
    with transaction() as session:
        assignments.close_round(session, session.merge(round))
    server.answer = lambda request: [f"text {n}" for n in range(request["n"])]
    ready = run_alternatives(alternatives_of(stored).id)
    assert (ready.state, ready.item_id, ready.sampled) == (AlternativesState.READY, None, 4)
    with reading() as session:
        kinds = list(session.scalars(select(Item.kind).where(Item.round_id == round.id)))
    assert kinds == [ItemKind.CONVERSATION]


def test_a_policy_that_is_away_is_asked_again_and_then_it_failed(people, talk, server):
    talk()
    waiting = alternatives_of(talked(people.labeler(), server))
    server.reply = (500, {}, b"")
    for attempt in (1, 2):
        tried = run_alternatives(waiting.id)
        assert (tried.state, tried.attempt) == (AlternativesState.QUEUED, attempt)
        assert "broke (500)" in tried.error
    failed = run_alternatives(waiting.id)
    assert failed.state is AlternativesState.FAILED
    with transaction() as session:
        rules.try_again(session, session.get_one(Alternatives, waiting.id))
    server.reply = None
    server.answer = lambda request: [f"text {n}" for n in range(request["n"])]
    assert run_alternatives(waiting.id).state is AlternativesState.READY


def test_a_policy_that_repeats_itself_is_nothing_to_rank(people, talk, server):
    talk()
    waiting = alternatives_of(talked(people.labeler(), server))
    server.answer = lambda request: ["the same"] * request["n"]
    failed = run_alternatives(waiting.id)
    assert failed.state is AlternativesState.FAILED and "fewer than two distinct" in failed.error
    assert len([one for one in server.requests if one["n"] > 1]) == sampling.TRIES


def test_what_a_dead_worker_left_is_found(people, talk, server):
    talk()
    waiting = alternatives_of(talked(people.labeler(), server))
    for attempt in range(1, sampling.ATTEMPTS + 1):
        with transaction() as session:
            assert sampling._claim(session, waiting.id) == attempt
            assert sampling._claim(session, waiting.id) is None, "one worker at a time"
            session.execute(update(Alternatives).values(lease_until=utc_now(-1)))
        tasks.reconcile()
    with reading() as session:
        left = session.get_one(Alternatives, waiting.id)
    assert left.state is AlternativesState.FAILED and "died 3 times" in left.error


def test_shares_are_asked_for_as_counted_and_the_others_fill_what_is_left():
    plan = ConversationPlan(topics=["x"], alternatives=7)
    shares = [PolicyShare(policy="a", count=2), PolicyShare(policy="b"), PolicyShare(policy="c")]
    assert sampling.quotas(plan, shares) == {"a": 2, "b": 3, "c": 2}
    assert sampling.quotas(plan, shares[:1]) == {"a": 2}


# --- By page and REST ---


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
    assert refused.status_code == 303 and "the editor" in desk.page()
    desk.press("add")
    editing = desk.page(desk.press("at:0", text="half an answer").headers["location"])
    assert desk.fields(editing)["message.0"] == f"answer to {OPENING}"
    desk.press("save", address=f"{desk.place}?at=0", **{"message.0": "The Rhine, of course."})
    page = desk.page()
    assert "The Rhine, of course." in page and desk.fields(page)["text"] == "half an answer"
    empty = desk.press("stop", act="submit", text=" ")
    assert empty.status_code == 422 and "ends with a message of the assistant" in empty.text
    done = desk.press("stop", act="submit", text="Because it is long.")
    assert done.headers["location"] == "/"
    shown = desk.page()
    assert "Handed in" in shown and "The Rhine, of course." in shown and "Because it is long." in shown
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
    assert SECRET_POLICY in read and "suggestion edited" in read and "wait for a worker" in read


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


# --- Frozen ---


def test_every_answer_of_a_conversation_is_a_training_target(people, talk, server):
    round = talk(split=Split.TRAIN, overlap=2, alternatives=None)
    stored = talked(people.labeler("ana"), server)
    hal = people.labeler("hal", pool=Pool.HELD_OUT)
    submit(hal, begin(hal), [says("assistant", "The Po.")])
    with transaction() as session:
        assignments.close_round(session, session.merge(round))
        made = snapshots.create(session, Purpose.SFT, {})
    snapshot_tasks.write(made.id)
    with reading() as session:
        made = session.get_one(Snapshot, made.id)
        members = list(session.scalars(select(SnapshotMember).where(SnapshotMember.snapshot_id == made.id)))
    assert made.state == "ready", made.error
    lines = list(read(snapshots.folder(made) / "demonstrations.jsonl", DemonstrationRecord))
    mine = [one for one in lines if one.pool is Pool.TRAIN]
    assert [([m.text for m in one.prompt], one.completion) for one in mine] == [
        ([OPENING], "The Rhine."),
        ([OPENING, "The Rhine.", "How long is it?"], "It is 1,230 km long."),
    ]
    assert [one.split for one in mine] == [Split.TRAIN] * 2
    assert [(one.completion, one.split) for one in lines if one.pool is Pool.HELD_OUT] == [
        ("The Po.", Split.VALIDATION)
    ]
    assert len({one.prompt_key for one in lines}) == 2, "the same words before it, the same key"
    assert sorted(member.conversation_id for member in members) == [stored.id, stored.id + 1]
    counts = made.manifest["counts"]
    names = ("conversations_train", "conversations_held_out", "conversation_messages")
    assert [counts[name] for name in names] == [1, 1, 3]


def test_a_described_use_is_asked_of_no_policy(people, talk):
    talk(topics=[TOPIC], opened=False)
    with transaction() as session:
        described = session.scalar(select(Prompt).where(Prompt.source == PromptSource.USE_CASE))
        compared = rounds.choose_prompts(session, PromptFilter(), ItemKind.COMPARISON)
        talked_about = rounds.choose_prompts(session, PromptFilter(), ItemKind.CONVERSATION)
        asked = list(snapshot_queries.prompts(session, SnapshotFilter()))
    assert described.id not in {one.id for one in compared} | {one.id for one in asked}
    assert described.id in {one.id for one in talked_about}
