"""Nobody is given their own words to rank: as a demonstration, or as a message of a conversation."""

import pytest
from sqlalchemy import select

from app.assignments import rules as assignments
from app.completions import rules as completions
from app.conversations.tables import Conversation
from app.database import reading, transaction
from app.policies import rules as policies
from app.policies.tables import PolicyKind
from app.prompts import rules as prompts
from app.prompts.tables import Prompt, PromptSource
from app.rounds import rules as rounds
from app.rounds.schemas import PolicyShare, PromptFilter, RoundPlan
from app.rounds.tables import ItemKind
from tests.app.conversations.conftest import server, talk  # noqa: F401
from tests.desk import make_round
from tests.talk import talked

RANKED = {"completions": {"A": {"tier": 1}, "B": {"tier": 2}}}


@pytest.fixture
def written(worker):
    """Ana and Ben have written a demonstration each, for one prompt each, and a policy has completed both prompts."""
    make_round(2, kind=ItemKind.DEMONSTRATION)
    ana, ben = worker("ana"), worker("ben")
    for one, text in ((ana, "Words of Ana."), (ben, "Words of Ben.")):
        one.submit(one.next(), text)
    with transaction() as session:
        policy = policies.get_or_create(session, "model", PolicyKind.IMPORTED)
        for prompt in session.scalars(select(Prompt)):
            completions.add(session, prompt, policy, f"A model on {prompt.id}.")
    return ana, ben


def compare_people(k: int = 2) -> int:
    """Open a round that compares people with the policy; its number."""
    with transaction() as session:
        plan = RoundPlan(
            comparisons=PromptFilter(),
            policies=[PolicyShare(policy="people"), PolicyShare(policy="model")],
            completions=k,
        )
        return opened(session, plan)


def opened(session, plan: RoundPlan) -> int:
    made = rounds.create(session, name="One", plan=plan)
    rounds.resample_items(session, made)
    assignments.open_round(session, made)
    return made.number


def shown(one, id: str) -> set[str]:
    return {completion["text"] for completion in one("GET", f"/{id}")["completions"]}


def all_given(one) -> set[str]:
    """Rank all that somebody is given; every text that they saw."""
    seen: set[str] = set()
    while id := one.next():
        seen |= shown(one, id)
        one.submit(id, RANKED)
    return seen


def test_a_demonstration_is_ranked_by_others_alone(written):
    ana, ben = written
    compare_people()
    assert ana("GET", "/day")["rounds"][-1]["waiting"] == 1, "the figures count no more than is given"
    seen = all_given(ana)
    assert "Words of Ben." in seen and "Words of Ana." not in seen
    seen = all_given(ben)
    assert "Words of Ana." in seen and "Words of Ben." not in seen


def test_others_who_wrote_nothing_are_given_all(written, worker):
    compare_people()
    assert {"Words of Ana.", "Words of Ben."} <= all_given(worker("cleo"))


def test_nor_is_what_comes_next_ones_own(written):
    ana, _ben = written
    compare_people()
    id = ana.next()
    assert ana("POST", f"/{id}/ahead", 204) is None


def test_what_was_withdrawn_since_is_still_ones_own(worker):
    """The round was prepared, or the text stands elsewhere: it stays what ana wrote."""
    make_round(1, kind=ItemKind.DEMONSTRATION, overlap=2)
    ana, ben = worker("ana"), worker("ben")
    first = ana.next()
    ana.submit(first, "The same words.")
    ben.submit(ben.next(), "The same words.")
    ana("POST", f"/{first}/undo")
    ana.submit(first, "Other words.")
    with transaction() as session:
        prompt = session.scalars(select(Prompt)).one()
        completions.add(session, prompt, policies.get_or_create(session, "model", PolicyKind.IMPORTED), "A model.")
    compare_people(k=3)
    assert ana.next() is None and ben.next() is None
    cleo = worker("cleo")
    assert {"The same words.", "Other words."} <= shown(cleo, cleo.next())


def test_what_is_written_after_the_round_opened_counts_too(worker):
    """The same prompt is asked in one round and its completions are compared in another; ana writes what is in it."""
    ana, ben = worker("ana"), worker("ben")
    with transaction() as session:
        prompt = prompts.add(session, messages=[{"role": "user", "text": "A river?"}], source=PromptSource.CUSTOMER)
        for name, text in (("one", "The Rhine."), ("two", "The Elbe.")):
            completions.add(session, prompt, policies.get_or_create(session, name, PolicyKind.IMPORTED), text)
        for plan in (RoundPlan(demonstrations=PromptFilter()), RoundPlan(comparisons=PromptFilter(), completions=2)):
            opened(session, plan)
    ana.submit(ana.next(), "The Rhine. \r\n")  # another policy wrote the same before
    assert ana.next() is None
    assert shown(ben, ben.next()) == {"The Rhine.", "The Elbe."}


def test_a_task_that_has_become_ones_own_is_not_forced_on_anybody(worker, leases_run_out):
    """Ana holds the comparison when she writes its text as a demonstration; it goes to Ben, and Ana is not stuck."""
    ana, ben = worker("ana"), worker("ben")
    with transaction() as session:
        prompt = prompts.add(session, messages=[{"role": "user", "text": "A river?"}], source=PromptSource.CUSTOMER)
        for name, text in (("one", "The Rhine."), ("two", "The Elbe.")):
            completions.add(session, prompt, policies.get_or_create(session, name, PolicyKind.IMPORTED), text)
        for plan in (RoundPlan(comparisons=PromptFilter(), completions=2), RoundPlan(demonstrations=PromptFilter())):
            opened(session, plan)
    held = ana.next(1)
    ana.submit(ana.next(2), "The Rhine.")
    assert ana.next() is None
    refused = ana("POST", f"/{held}/resume", 409)
    assert "a text that you wrote" in refused["detail"]
    leases_run_out()
    assert ben.next(1) == held


def test_a_message_of_ones_own_conversation_is_ranked_by_others(worker, talk, server):  # noqa: F811
    talk(alternatives=None)
    ana, ben = worker("ana"), worker("ben")
    stored = talked(ana.account, server)
    with reading() as session:
        said = [message.text for message in session.get_one(Conversation, stored.id).messages]
    with transaction() as session:
        before = [
            {"role": "user", "text": "Name a river in Europe."},
            {"role": "assistant", "text": said[0]},
            {"role": "user", "text": said[1]},
        ]
        prompt = prompts.add(session, messages=before, source=PromptSource.CUSTOMER)
        for name, text in (("one", said[2]), ("two", "I do not know.")):
            completions.add(session, prompt, policies.get_or_create(session, name, PolicyKind.IMPORTED), text)
        plan = RoundPlan(
            comparisons=PromptFilter(prompts=[prompt.public_id]),
            policies=[PolicyShare(policy="one"), PolicyShare(policy="two")],
            completions=2,
        )
        number = opened(session, plan)
    assert ana.next(number) is None
    assert said[2] in shown(ben, ben.next(number))


def test_the_round_says_that_an_item_has_no_labeler_left(written, client, people):
    number = compare_people()
    olga = people.bearer(people.admin())
    ana, ben = written
    ana.submit(ana.next(), RANKED)
    client.patch(f"/api/v1/accounts/{ben.account.public_id}", json={"disabled": True}, headers=olga)
    [round] = [one for one in client.get("/api/v1/rounds", headers=olga).json()["items"] if one["number"] == number]
    assert round["without_labeler"] == 1, "ana wrote it, ben is out"
