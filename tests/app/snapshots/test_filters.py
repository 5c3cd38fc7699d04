"""Filters of snapshots: every name exists or is refused with the way out, and nothing empty is frozen."""

import pytest
from sqlalchemy import insert, select, text, update

from app.comparisons.tables import Comparison, ComparisonSource
from app.database import reading, transaction, utc_now
from app.errors import BadInput, Conflict
from app.prompts import rules as prompt_rules
from app.prompts.hygiene.kinds import PersonalData
from app.prompts.tables import Finding, FindingState, Prompt, PromptSource
from app.rounds.tables import Item, Round, RoundPurpose
from app.snapshots import rules, tasks
from app.snapshots.tables import Snapshot, SnapshotMember, SnapshotState
from tests.loop import add_prompt, fill_round, lines, prompts
from training.contract.records import Purpose


def create(purpose: str, filter: dict) -> Snapshot:
    with transaction() as session:
        return rules.create(session, purpose, filter)


def write(snapshot: Snapshot) -> Snapshot:
    tasks.write(snapshot.id)
    with reading() as session:
        return session.get_one(Snapshot, snapshot.id)


def finds_personal_data(prompt_id: int) -> None:
    """As if examining the prompt had found an e-mail address."""
    with transaction() as session:
        found = {"prompt_id": prompt_id, "message": 0, "kind": PersonalData.EMAIL, "start": 0, "stop": 3}
        session.execute(insert(Finding), [found])


@pytest.fixture
def bank(database) -> dict[str, str]:
    """Ids of some prompts beside two closed rounds, the second of them an evaluation, and imported comparisons."""
    asked = prompts(12)  # the last three are of the validation split, and every fourth is a held-out labeler's
    fill_round([asked[place] for place in (0, 9, 1, 2, 3, 10)])
    fill_round(asked[4:8], number=2, purpose=RoundPurpose.EVALUATION)
    with transaction() as session:
        ids = {"good": add_prompt(session, asked[8], "shopping"), "withdrawn": add_prompt(session, asked[11], "old")}
        ids["withdrawn"].withdrawn_at = utc_now()
        described = [{"role": "user", "text": "A bot that sells shoes."}]
        ids["use"] = prompt_rules.add(session, messages=described, source=PromptSource.USE_CASE, collection="uses")
        trained = select(Comparison).join(Comparison.prompt).where(Prompt.split == "train", Comparison.pool == "train")
        of_round_1 = trained.join(Comparison.item).join(Item.round).where(Round.number == 1)
        for comparison in session.scalars(of_round_1.limit(2)).all():
            comparison.source, comparison.collection, comparison.item_id = ComparisonSource.IMPORT, "imported", None
        session.flush()
        return {name: prompt.public_id for name, prompt in ids.items()}


REFUSED = {
    "a misspelt collection": ("ppo", {"collections": ["shoping"]}, ["Did you mean “shopping”?", "miniature"]),
    "one that is quite unknown": ("ppo", {"collections": ["xyz"]}, ["xyz", "Available: miniature, old, shopping"]),
    "one of prompts where comparisons are wanted": ("rm", {"collections": ["shopping"]}, ["shopping", "imported"]),
    "one of comparisons where pairs are wanted": ("sft", {"collections": ["imported"]}, ["imported", "none yet"]),
    "one good and one bad": ("ppo", {"collections": ["shopping", "shop"]}, ["“shop”"]),
    "one whose prompts are withdrawn": ("ppo", {"collections": ["old"]}, ["old", "withdrawn prompts (1)"]),
    "one of descriptions of a use": ("ppo", {"collections": ["uses"]}, ["uses", "use-case descriptions"]),
    "an unknown prompt": ("ppo", {"prompts": ["good", "0123456789abcdef"]}, ["0123456789abcdef", "Prompts"]),
    "a withdrawn prompt": ("ppo", {"prompts": ["good", "withdrawn"]}, ["restore"]),
    "a description of a use": ("ppo", {"prompts": ["use"]}, ["Use-case descriptions are not prompts"]),
    "prompts and collections": ("ppo", {"prompts": ["good"], "collections": ["shopping"]}, ["either"]),
    "no prompt": ("ppo", {"prompts": []}, ["0 prompts"]),
    "prompts for a reward model": ("rm", {"prompts": ["good"]}, ["PPO"]),
    "rounds for PPO": ("ppo", {"rounds": [1]}, ["rounds"]),
    "an evaluation": ("rm", {"rounds": [1, 2]}, ["Round 2", "--train-on-evaluation", "train_on_evaluation"]),
    "an evaluation for SFT": ("sft", {"rounds": [2]}, ["Round 2", "are for measuring"]),
    "the word without an evaluation": ("rm", {"rounds": [1], "train_on_evaluation": True}, ["None of the rounds"]),
    "the word for PPO": ("ppo", {"train_on_evaluation": True}, ["PPO"]),
    "an unknown round": ("rm", {"rounds": [9]}, ["no round 9", "Available: 1, 2"]),
    "nothing": ("rm", {"rounds": []}, ["0 comparisons"]),
    "nothing for SFT": ("sft", {"rounds": []}, ["0 demonstrations and 0 conversations"]),
    "no record of the split": ("sft", {"splits": ["test"]}, ["0 demonstrations", "splits that were not chosen (6)"]),
}  # fmt: skip


@pytest.mark.parametrize(("purpose", "filter", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_frozen_is_refused_with_the_way_out(bank, purpose, filter, words):
    if "prompts" in filter:
        filter = {**filter, "prompts": [bank.get(name, name) for name in filter["prompts"]]}
    with pytest.raises(BadInput) as refused:
        create(purpose, filter)
    for word in [*words, *(bank[name] for name in ("withdrawn", "use") if bank[name] in filter.get("prompts", ()))]:
        assert word in refused.value.message
    with reading() as session:
        assert session.scalars(select(Snapshot)).all() == []


def test_an_evaluation_trains_by_an_explicit_word_that_the_manifest_keeps(bank):
    plain = write(create("rm", {}))
    assert plain.filter["rounds"] == [1] and "train_on_evaluation" not in plain.manifest["filter"]
    allowed = write(create("rm", {"rounds": [1, 2], "train_on_evaluation": True}))
    assert allowed.manifest["filter"]["train_on_evaluation"] is True
    assert allowed.manifest["counts"]["comparisons"] == plain.manifest["counts"]["comparisons"] + 4
    measured = write(create("rm", {"rounds": [1, 2], "splits": ["validation", "test"]}))
    assert not measured.manifest["uses"]["comparisons"].get("train")


@pytest.mark.parametrize("purpose", Purpose)
def test_the_splits_are_those_of_the_records(bank, purpose):
    filter = {"splits": ["validation"]}
    found = write(create(purpose, filter))
    whole = write(create(purpose, {}))
    kept = []
    for path in rules.folder(found).glob("*.jsonl"):
        kept += [line["split"] for line in lines(path)]
        assert lines(path) == [line for line in lines(rules.folder(whole) / path.name) if line["split"] == "validation"]
    assert kept and set(kept) == {"validation"}


def test_a_train_prompt_that_a_held_out_labeler_answered_is_of_the_validation_split(bank):
    kept = lines(rules.folder(write(create("rm", {"splits": ["validation"]}))) / "demonstrations.jsonl")
    with reading() as session:
        own = {prompt.messages[0]["text"]: prompt.split for prompt in session.scalars(select(Prompt))}
    assert [line["prompt"][0]["text"] for line in kept if own[line["prompt"][0]["text"]] == "train"]


def test_an_unexamined_prompt_is_frozen_by_nobody(bank):
    with transaction() as session:
        queued = rules.create(session, "rm", {})
        some = session.scalars(select(Prompt.id).limit(2)).all()
        session.execute(update(Prompt).where(Prompt.id.in_(some)).values(language=None))
    with pytest.raises(Conflict, match=r"2 prompts.*plumbline migrate"):
        create("ppo", {})
    failed = write(queued)
    assert failed.state is SnapshotState.FAILED and "plumbline migrate" in failed.error
    with transaction() as session:  # a withdrawn one is in no snapshot anyway
        session.execute(update(Prompt).where(Prompt.id.in_(some)).values(withdrawn_at=utc_now()))
    assert write(create("ppo", {})).state is SnapshotState.READY


def test_a_snapshot_that_became_empty_fails_and_says_why(bank):
    queued = create("ppo", {"collections": ["shopping"]})
    with transaction() as session:
        session.execute(update(Prompt).where(Prompt.public_id == bank["good"]).values(withdrawn_at=utc_now()))
    failed = write(queued)
    assert failed.state is SnapshotState.FAILED
    assert "0 prompts" in failed.error and "withdrawn prompts (1)" in failed.error and "BadInput" not in failed.error


def test_undecided_personal_data_keeps_a_prompt_and_its_answers_out_until_it_is_decided(bank):
    whole = write(create("rm", {})).manifest
    with reading() as session:
        asked = session.scalars(select(Comparison.prompt_id).where(Comparison.item_id.is_not(None))).first()
    finds_personal_data(asked)
    without = write(create("rm", {})).manifest
    assert without["left_out"] == {
        "comparisons_with_open_personal_data": 1, "demonstrations_with_open_personal_data": 1,
    }  # fmt: skip
    assert without["counts"]["comparisons"] == whole["counts"]["comparisons"] - 1
    with transaction() as session:
        session.execute(update(Finding).values(state=FindingState.ALLOWED))
    assert write(create("rm", {})).manifest == whole


@pytest.mark.parametrize("purpose", Purpose)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_personal_data_found_while_a_snapshot_is_written_fails_it(bank, purpose, split, monkeypatch):
    with transaction() as session:
        made = rules.create(session, purpose, {"splits": [split]})
    finish = rules.finish

    def found_meanwhile(session, snapshot, manifest, members):
        name = {"sft": "demonstration_id", "rm": "comparison_id", "ppo": "prompt_id"}[purpose]
        member = next(member[name] for member in members if name in member)
        prompt = {
            "sft": "(SELECT prompt_id FROM completions JOIN demonstrations d ON completion_id = completions.id"
            f" WHERE d.id = {member})",
            "rm": f"(SELECT prompt_id FROM comparisons WHERE id = {member})",
            "ppo": str(member),
        }[purpose]
        session.execute(text(
            "INSERT INTO findings (public_id, prompt_id, message, start, stop, kind, state)"
            f" VALUES ('f', {prompt}, 0, 0, 3, 'email', 'open')"
        ))  # fmt: skip
        return finish(session, snapshot, manifest, members)

    monkeypatch.setattr(rules, "finish", found_meanwhile)
    failed = write(made)
    assert failed.state is SnapshotState.FAILED
    assert "Personal data was found" in failed.error and "under Prompts" in failed.error
    with reading() as session:
        assert session.scalars(select(SnapshotMember)).all() == []
    assert not rules.folder(made).exists()


def test_the_filter_that_a_manifest_keeps_freezes_the_same_again(bank):
    first = write(create("rm", {"rounds": [2, 1], "train_on_evaluation": True}))
    again = write(create("rm", first.manifest["filter"]))
    assert again.content_sha256 == first.content_sha256 and again.manifest == first.manifest
