"""A conversation that was handed in: undone within seconds, edited until its round closes."""

import pytest
from sqlalchemy import func, select, update

from app import queue
from app.accounts import rules as accounts
from app.assignments import changes
from app.assignments import queries as assignment_queries
from app.assignments.tables import Draft, EarlierVersion, VersionEnd
from app.conversations import tasks
from app.conversations.tables import Alternatives, AlternativesState, Conversation, ConversationMessage, Origin
from app.database import reading, transaction, utc_now
from app.desk.submit import withdraw
from app.errors import Conflict
from app.prompts.tables import Prompt, PromptSource
from tests.talk import begin, says, submit, talked
from training.contract.records import Pool


def rows(table) -> list:
    with reading() as session:
        return session.scalars(select(table)).all()


def act(verb, id: str, labeler) -> None:
    with transaction() as session:
        verb(session, assignment_queries.assignment(session, id, labeler), labeler)


def prefixes() -> int:
    """How many prompts conversations have put into the bank."""
    with reading() as session:
        return session.scalar(select(func.count(Prompt.id)).where(Prompt.source == PromptSource.CONVERSATION))


def test_undone_it_is_a_draft_again_and_nobody_samples_for_it(people, talk, server):
    talk()
    ana = people.labeler("ana")
    id = begin(ana)
    talked(ana, server, id)
    assert prefixes() == 1 and len(rows(Alternatives)) == 1
    waits = rows(Alternatives)[0].lease_until
    tasks.reconcile()
    assert rows(Alternatives)[0].lease_until == waits, "nothing is sent while it can be undone"
    act(withdraw, id, ana)
    assert rows(Conversation) == rows(ConversationMessage) == rows(Alternatives) == [] and prefixes() == 0
    draft = rows(Draft)[0]
    assert draft.submitted_at is None and draft.content["messages"][0]["text"] == "The Rhine."
    assert [one.end for one in rows(EarlierVersion)] == [VersionEnd.WITHDRAWN]
    again = submit(ana, id, draft.content["messages"])
    assert [one.text for one in again.messages][-1] == "It is 1,230 km long." and len(rows(Alternatives)) == 1


def test_undo_is_over_after_its_seconds(people, talk, server):
    talk()
    ana = people.labeler("ana")
    id = begin(ana)
    talked(ana, server, id)
    with transaction() as session:
        session.execute(update(Draft).values(submitted_at=utc_now(-changes.FINAL_AFTER_SECONDS - 1)))
    with pytest.raises(Conflict, match="seconds to undo are over"):
        act(withdraw, id, ana)
    assert len(rows(Conversation)) == 1
    with transaction() as session:
        session.execute(update(Alternatives).values(lease_until=utc_now(-1)))
    sent = queue.waiting(queue.DEFAULT)
    tasks.reconcile()
    with reading() as session:
        assert session.scalar(select(func.count(Alternatives.id)).where(Alternatives.lease_until > utc_now())) == 1
    assert queue.waiting(queue.DEFAULT) == sent + 1, "now somebody is to sample them"


def test_edited_it_is_the_same_conversation_with_other_messages_and_the_old_ones_are_history(people, talk, server):
    talk()
    ana = people.labeler("ana")
    id = begin(ana)
    first = talked(ana, server, id)
    act(changes.begin, id, ana)
    assert len(rows(ConversationMessage)) == 3, "it stands while it is edited"
    edited = submit(ana, id, [says("assistant", "The Po.")])
    assert (edited.id, edited.public_id) == (first.id, first.public_id) and edited.edited_at is not None
    assert [(one.position, one.text, one.origin) for one in rows(ConversationMessage)] == [
        (0, "The Po.", Origin.WRITTEN)
    ]
    assert rows(Alternatives) == [] and prefixes() == 0, "no message of a model is left to sample others for"
    (before,) = rows(EarlierVersion)
    assert before.end is VersionEnd.EDITED and len(before.content["messages"]) == 3
    act(changes.begin, id, ana)
    act(changes.leave, id, ana)
    assert [one.text for one in rows(ConversationMessage)] == ["The Po."]


def test_what_is_sampled_by_then_stays_when_it_is_edited(people, talk, server):
    talk()
    ana = people.labeler("ana")
    id = begin(ana)
    talked(ana, server, id)
    with transaction() as session:
        session.execute(update(Alternatives).values(state=AlternativesState.READY, lease_until=None))
    act(changes.begin, id, ana)
    submit(ana, id, [says("assistant", "The Po.")])
    assert [one.state for one in rows(Alternatives)] == [AlternativesState.READY] and prefixes() == 1


def test_the_earlier_version_is_shown_to_admins(client, people, talk, server):
    talk()
    ana = people.labeler("ana")
    id = begin(ana)
    stored = talked(ana, server, id)
    act(changes.begin, id, ana)
    submit(ana, id, [says("assistant", "The Po.")])
    people.sign_in(client, people.admin())
    shown = client.get(f"/admin/conversations/{stored.public_id}").text
    assert "Earlier versions" in shown and "How long is it?" in shown


def test_an_edit_after_a_move_to_another_pool_relabels_nothing(people, talk, server):
    talk(alternatives=None)
    ana = people.labeler("ana", pool=Pool.HELD_OUT)
    id = begin(ana)
    talked(ana, server, id)
    with transaction() as session:
        moved = accounts.change_account(session, ana, by=None, pool=Pool.TRAIN)
    act(changes.begin, id, moved)
    edited = submit(moved, id, [says("assistant", "The Po.")])
    assert edited.edited_at is not None and edited.pool is Pool.HELD_OUT
