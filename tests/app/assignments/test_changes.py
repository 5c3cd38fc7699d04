"""Undo within seconds, editing until the round closes, and the history of both, on both databases."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import joinedload

from app.accounts import rules as accounts
from app.assignments import changes, drafts, queries, rules
from app.assignments.queries import LabelerState
from app.assignments.tables import Assignment, AssignmentState, Draft, EarlierVersion, VersionEnd
from app.comparisons.schemas import ComparisonContent, CompletionAnswer
from app.comparisons.tables import ComparedCompletion, Comparison
from app.completions.tables import Completion
from app.database import reading, transaction
from app.demonstrations.schemas import DemonstrationContent
from app.demonstrations.tables import Demonstration
from app.desk.submit import submit, withdraw
from app.errors import Conflict
from app.rounds.tables import ItemKind, Round, RoundPurpose
from tests.desk import make_round
from training.contract.records import Pool


def ranked(*tiers: int) -> ComparisonContent:
    return ComparisonContent(
        completions={letter: CompletionAnswer(tier=tier) for letter, tier in zip("ABCDEFGHI", tiers, strict=False)}
    )


def written(text: str) -> DemonstrationContent:
    return DemonstrationContent(text=text)


def hand_in(labeler, content, key: str = ""):
    """Claim the next piece of work and hand it in."""
    with transaction() as session:
        held = rules.claim(session, labeler)
        submit(session, held, labeler, content, key=key)
    return held


def act(verb, held, labeler):
    with transaction() as session:
        return verb(session, queries.assignment(session, held.public_id, labeler), labeler)


def draft_of(labeler) -> Draft:
    with reading() as session:
        return session.scalars(select(Draft).where(Draft.labeler_id == labeler.id)).one()


def rows(table):
    with reading() as session:
        return session.scalars(select(table).order_by(table.id)).all()


def close(round) -> None:
    with transaction() as session:
        rules.close_round(session, session.get_one(Round, round.id))


def make_older(seconds: float) -> None:
    """Let what was handed in be handed in so many seconds earlier."""
    with transaction() as session:
        for draft in session.scalars(select(Draft).where(Draft.submitted_at.is_not(None))):
            draft.submitted_at -= timedelta(seconds=seconds)


def test_undo_takes_a_ranking_back_and_reopens_its_draft_under_the_same_lease(people):
    ana, ben = people.labeler("ana"), people.labeler("ben")
    make_round(1, k=3)
    held = hand_in(ana, ranked(1, 2, 2))
    act(withdraw, held, ana)
    assert rows(Comparison) == []
    with reading() as session:
        assert session.scalars(select(ComparedCompletion)).all() == []
        slot = session.scalars(select(Assignment)).one()
        assert (slot.state, slot.labeler_id, slot.fence) == (AssignmentState.LEASED, ana.id, held.fence)
    draft = draft_of(ana)
    assert draft.submitted_at is None and draft.content["completions"]["B"]["tier"] == 2
    with transaction() as session:
        assert rules.claim(session, ben) is None, "nobody else is given it"
        again = rules.claim(session, ana)
        submit(session, again, ana, ranked(3, 2, 1))
    [stored] = rows(Comparison)
    assert not stored.surplus and stored.assignment_id == held.id
    [kept] = rows(EarlierVersion)
    assert kept.end is VersionEnd.WITHDRAWN and kept.content["completions"]["A"]["tier"] == 1


def test_undo_forgets_the_completion_unless_somebody_else_wrote_the_same(people):
    ana, ben = people.labeler("ana"), people.labeler("ben")
    make_round(1, kind=ItemKind.DEMONSTRATION, overlap=2)
    held = hand_in(ana, written("The same words."))
    hand_in(ben, written("The same words."))
    act(withdraw, held, ana)
    assert [one.labeler_id for one in rows(Demonstration)] == [ben.id]
    assert [one.text for one in rows(Completion)] == ["The same words."]
    with transaction() as session:
        submit(session, rules.claim(session, ana), ana, written("Other words."))
    act(withdraw, held, ana)
    assert [one.text for one in rows(Completion)] == ["The same words."]


def test_undo_is_over_after_its_seconds_and_the_answer_stands(people):
    ana = people.labeler("ana")
    make_round(1, kind=ItemKind.DEMONSTRATION)
    held = hand_in(ana, written("Thought over."))
    make_older(changes.UNDO_SECONDS + 6)
    with pytest.raises(Conflict, match="10 seconds to undo are over"):
        act(withdraw, held, ana)
    assert len(rows(Demonstration)) == 1 and rows(EarlierVersion) == []


def test_undo_twice_is_undo_once(people):
    ana = people.labeler("ana")
    make_round(1, kind=ItemKind.DEMONSTRATION)
    held = hand_in(ana, written("One."))
    act(withdraw, held, ana)
    act(withdraw, held, ana)
    assert len(rows(EarlierVersion)) == 1


@pytest.mark.parametrize("verb", [withdraw, changes.begin])
def test_nothing_changes_once_the_round_has_closed(people, verb):
    ana = people.labeler("ana")
    round = make_round(1, kind=ItemKind.DEMONSTRATION)
    held = hand_in(ana, written("It stands."))
    close(round)
    with pytest.raises(Conflict, match="closed in the meantime"):
        act(verb, held, ana)
    assert [one.text for one in rows(Completion)] == ["It stands."]
    assert draft_of(ana).content["text"] == "It stands."


@pytest.mark.parametrize("verb", [withdraw, changes.begin])
@pytest.mark.parametrize("purpose", [RoundPurpose.PRACTICE, RoundPurpose.SCREENING])
def test_practice_and_screening_are_answered_once(people, verb, purpose):
    ana = people.labeler("ana")
    round = make_round(1, kind=ItemKind.DEMONSTRATION)
    held = hand_in(ana, written("At first sight."))
    with transaction() as session:
        session.execute(update(Round).where(Round.id == round.id).values(purpose=purpose))
    with pytest.raises(Conflict, match="answered only once"):
        act(verb, held, ana)


def test_an_edit_takes_the_place_of_what_stood_and_the_history_is_kept(people):
    ana = people.labeler("ana")
    make_round(1, k=2)
    held = hand_in(ana, ranked(1, 2), key="first")
    [before] = rows(Comparison)
    make_older(3600)
    act(changes.begin, held, ana)
    act(changes.begin, held, ana)  # a double click
    version = draft_of(ana).version
    with transaction() as session:
        drafts.save(session, held, ana, ranked(1, 1).model_dump(mode="json"), version=version)
    with reading() as session:
        assert [row.tier for row in session.scalars(select(ComparedCompletion))] == [1, 2], "it stands meanwhile"
    with transaction() as session:
        submit(session, queries.assignment(session, held.public_id, ana), ana, ranked(2, 1), key="second")
    [after] = rows(Comparison)
    assert (after.id, after.public_id, after.assignment_id) == (before.id, before.public_id, before.assignment_id)
    assert after.edited_at > before.submitted_at and not after.surplus
    with reading() as session:
        found = session.scalars(select(ComparedCompletion).order_by(ComparedCompletion.shown_position))
        assert [row.tier for row in found] == [2, 1]
    [kept] = rows(EarlierVersion)
    assert (kept.number, kept.end) == (1, VersionEnd.EDITED)
    assert [kept.content["completions"][letter]["tier"] for letter in "AB"] == [1, 2]
    with pytest.raises(Conflict, match="undo are over"):
        act(withdraw, held, ana)


def test_an_edited_demonstration_leaves_no_completion_behind(people):
    ana = people.labeler("ana")
    make_round(1, kind=ItemKind.DEMONSTRATION)
    held = hand_in(ana, written("First."))
    for text in ("Second.", "Third."):
        act(changes.begin, held, ana)
        with transaction() as session:
            submit(session, queries.assignment(session, held.public_id, ana), ana, written(text))
    assert [one.text for one in rows(Completion)] == ["Third."]
    with reading() as session:
        told = changes.versions(session, held.item_id, ana.id)
        assert [(one.number, one.content["text"]) for one in told] == [(1, "First."), (2, "Second.")]
        assert told[0].submitted_at < told[1].submitted_at


def test_leaving_it_as_it_was_brings_the_text_back(people):
    ana = people.labeler("ana")
    make_round(1, kind=ItemKind.DEMONSTRATION)
    held = hand_in(ana, written("It was good."))
    act(changes.begin, held, ana)
    with transaction() as session:
        drafts.save(session, held, ana, {"text": "Worse."}, version=draft_of(ana).version)
    act(changes.leave, held, ana)
    draft = draft_of(ana)
    assert draft.content["text"] == "It was good." and draft.reopened_at is None and draft.submitted_at
    assert rows(EarlierVersion) == []
    with transaction() as session, pytest.raises(Conflict, match="already submitted this"):
        drafts.save(session, held, ana, {"text": "Late."}, version=draft.version)


def test_a_round_that_closes_during_an_edit_leaves_both_texts(people):
    ana = people.labeler("ana")
    round = make_round(1, kind=ItemKind.DEMONSTRATION)
    held = hand_in(ana, written("It stands."))
    act(changes.begin, held, ana)
    close(round)
    with pytest.raises(Conflict, match="Your earlier submission remains"), transaction() as session:
        submit(session, queries.assignment(session, held.public_id, ana), ana, written("Too late."))
    with transaction() as session:
        drafts.save(session, held, ana, {"text": "Too late."}, version=draft_of(ana).version)
    assert [one.text for one in rows(Completion)] == ["It stands."]
    with reading() as session:
        draft = queries.draft(session, held, ana)
        assert draft.content["text"] == "Too late."
        assert changes.standing_version(session, draft.item_id, draft.labeler_id).content["text"] == "It stands."
        assert (
            queries.labeler_state(queries.assignment(session, held.public_id, ana), ana, draft)
            is LabelerState.SUBMITTED
        )


def test_an_edit_is_not_skipped_and_counts_once(people):
    ana = people.labeler("ana")
    make_round(1, kind=ItemKind.DEMONSTRATION)
    held = hand_in(ana, written("Once."))
    act(changes.begin, held, ana)
    with transaction() as session:
        with pytest.raises(Conflict, match="are editing it"):
            rules.skip(session, held, ana, "other")
        with pytest.raises(Conflict, match="are editing it"):
            rules.resume(session, held, ana)
        assert rules.claim(session, ana) is None
        found = queries.assignment(session, held.public_id, ana)
        assert queries.labeler_state(found, ana, queries.draft(session, found, ana)) is LabelerState.EDITING


def test_a_repetition_of_the_first_submission_changes_nothing_during_an_edit(people):
    ana = people.labeler("ana")
    make_round(1, kind=ItemKind.DEMONSTRATION)
    held = hand_in(ana, written("Sent twice."), key="k")
    act(changes.begin, held, ana)
    with transaction() as session:
        submit(session, queries.assignment(session, held.public_id, ana), ana, written("Sent twice."), key="k")
    assert draft_of(ana).reopened_at is not None and rows(Demonstration)[0].edited_at is None


@pytest.mark.parametrize(
    ("kind", "table"), [(ItemKind.COMPARISON, Comparison), (ItemKind.DEMONSTRATION, Demonstration)]
)
def test_an_edit_after_a_move_to_another_pool_relabels_nothing(people, kind, table):
    ana, olga = people.labeler("ana"), people.admin()
    make_round(1, k=2, kind=kind)
    first, second = (ranked(1, 2), ranked(2, 1)) if kind is ItemKind.COMPARISON else (written("One."), written("Two."))
    held = hand_in(ana, first, key="first")
    with transaction() as session:
        moved = accounts.change_account(session, ana, by=olga, pool=Pool.HELD_OUT)
    act(changes.begin, held, moved)
    with transaction() as session:
        submit(session, queries.assignment(session, held.public_id, moved), moved, second, key="second")
    [stored] = rows(table)
    assert stored.edited_at and stored.pool is Pool.TRAIN
    if kind is ItemKind.DEMONSTRATION:
        with reading() as session:
            [text] = session.scalars(select(Completion).options(joinedload(Completion.policy)))
            assert (text.text, text.policy.name) == ("Two.", "people")
