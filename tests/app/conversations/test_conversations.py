"""Suggestions, what is stored of a conversation, and how it is frozen."""

import pytest
from sqlalchemy import func, select

from app.assignments import rules as assignments
from app.conversations import queries, suggesting
from app.conversations.tables import Origin, Suggestion
from app.database import reading, transaction
from app.errors import BadInput, Conflict, TooMany
from app.policies.tables import Policy
from app.prompts.tables import Prompt, PromptSource
from app.rounds import rules as rounds
from app.rounds.schemas import PromptFilter
from app.rounds.tables import ItemKind
from app.snapshots import contents
from app.snapshots import rules as snapshots
from app.snapshots import tasks as snapshot_tasks
from app.snapshots.left_out import Kind
from app.snapshots.schemas import SnapshotFilter
from app.snapshots.splits import effective_splits
from app.snapshots.tables import Snapshot, SnapshotMember
from tests.app.conversations.conftest import OPENING, SECRET_POLICY, TOPIC
from tests.talk import begin, draft, says, submit, talked
from training.contract.records import DemonstrationRecord, Pool, Purpose, Split, read


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
        assert "failed (500)" in policy.last_error, "admins see why"
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
    with pytest.raises(BadInput, match="2 suggestions for this message"):
        suggesting.suggest(ana, id)


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
        ([], "must end with an assistant message"),
        ([says("user", "Hi")], "it is the assistant's turn"),
        ([says("assistant", "a"), says("assistant", "b")], "it is the user's turn"),
        ([says("assistant", "a"), says("user", "b")], "must end with an assistant message"),
        ([says("assistant", " ")], "Message 1 is empty"),
        ([says("assistant", "a", "nowhere")], "Suggestion nowhere not found"),
    ],
)
def test_what_cannot_be_handed_in(people, talk, messages, says_):
    talk()
    ana = people.labeler()
    id = begin(ana)
    with pytest.raises(BadInput, match=says_):
        submit(ana, id, messages)
    assert submit(ana, id, [says("assistant", "fine")]).id, "nothing of it was stored"


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
        found = contents.rows(session, Kind.PROMPTS, SnapshotFilter(), effective_splits(session))
        asked = [row for row, _prompt, _split in found]
    assert described.id not in {one.id for one in compared} | {one.id for one in asked}
    assert described.id in {one.id for one in talked_about}
