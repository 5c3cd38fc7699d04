"""The comparison of what else might have been said in place of a model-written message."""

from sqlalchemy import select, update

from app.assignments import queries as assignment_queries
from app.assignments import rules as assignments
from app.conversations import queries, sampling, tasks
from app.conversations.tables import Alternatives, AlternativesState, Conversation
from app.database import reading, transaction, utc_now
from app.policies.tables import Policy
from app.prompts.tables import Prompt, PromptSource
from app.rounds.schemas import ConversationPlan, PolicyShare
from app.rounds.tables import Item, ItemKind
from tests.app.conversations.conftest import OPENING, SECRET_POLICY
from tests.talk import talked
from training.contract.records import Pool, Split


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


def test_the_round_says_what_is_still_to_join_it(client, people, talk, server):
    round = talk()
    waiting = alternatives_of(talked(people.labeler("ana"), server))
    people.sign_in(client, people.admin())
    place = f"/admin/rounds/{round.public_id}"
    assert "being sampled for 1 conversation." in client.get(place).text
    server.answer = lambda request: [f"text {n}" for n in range(request["n"])]
    run_alternatives(waiting.id)
    assert "being sampled for" not in client.get(place).text


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


def test_a_policy_that_is_away_is_asked_again_and_then_it_failed(client, people, talk, server):
    talk()
    olga = people.bearer(people.admin())
    stored = talked(people.labeler(), server)
    waiting, again = alternatives_of(stored), f"/api/v1/conversations/{stored.public_id}/alternatives"
    server.reply = (500, {}, b"")
    assert client.post(again, headers=olga).status_code == 404  # they have not failed
    for attempt in (1, 2):
        tried = run_alternatives(waiting.id)
        assert (tried.state, tried.attempt) == (AlternativesState.QUEUED, attempt)
        assert "failed (500)" in tried.error
    failed = run_alternatives(waiting.id)
    assert failed.state is AlternativesState.FAILED
    answer = client.post(again, headers=olga)
    assert (answer.status_code, answer.json()["alternatives"]["state"]) == (202, "queued")
    server.reply = None
    server.answer = lambda request: [f"text {n}" for n in range(request["n"])]
    assert run_alternatives(waiting.id).state is AlternativesState.READY


def test_a_policy_that_repeats_itself_is_nothing_to_rank(people, talk, server):
    talk()
    waiting = alternatives_of(talked(people.labeler(), server))
    server.answer = lambda request: ["the same"] * request["n"]
    failed = run_alternatives(waiting.id)
    assert failed.state is AlternativesState.FAILED and "fewer than two distinct" in failed.error
    asked = sum(one["n"] for one in server.requests[1:])
    assert 4 * sampling.TRIES <= asked < 4 * (sampling.TRIES + 1), "it comes to an end"


def test_servers_that_write_one_text_at_a_time_are_asked_more_often(people, talk, server):
    talk()
    waiting = alternatives_of(talked(people.labeler(), server))
    server.answer = lambda _request: [f"text {len(server.requests)}"]  # n is ignored
    assert run_alternatives(waiting.id).sampled == 4


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
