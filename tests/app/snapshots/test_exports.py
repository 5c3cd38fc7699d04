"""Exports: the split that a prompt goes out with, and Parquet columns that do not depend on the first rows."""

import pytest

from app.snapshots import exports, rules
from app.snapshots.exports import What
from app.snapshots.tables import Snapshot, SnapshotState
from training import records
from training.records import ComparisonRecord, DemonstrationRecord, Message, Pool, Purpose, RankedCompletion, Split


def frozen(purpose: Purpose, **data) -> Snapshot:
    """A ready snapshot with these records."""
    snapshot = Snapshot(public_id="s", state=SnapshotState.READY)
    manifest = records.write_snapshot(rules.folder(snapshot), purpose, {f"{name}.jsonl": data[name] for name in data})
    snapshot.manifest = manifest.model_dump(mode="json")
    return snapshot


def asked(key: str, split: Split, pool: Pool) -> dict:
    """The fields that every record of an answer has."""
    prompt = (Message(role="user", text=key),)
    return {"prompt_key": key, "prompt": prompt, "split": split, "labeler": f"by {pool}", "pool": pool}


def ranking(key: str, split: Split = Split.TRAIN, pool: Pool = Pool.TRAIN, **fields) -> ComparisonRecord:
    """A ranking of two completions, each with these fields."""
    both = tuple(RankedCompletion(text=text, policy="p", tier=tier, **fields) for tier, text in enumerate("ab", 1))
    return ComparisonRecord(**asked(key, split, pool), completions=both)


def test_a_held_out_labeler_does_not_decide_the_split_of_a_prompt(database):
    held_out = (Split.VALIDATION, Pool.HELD_OUT)
    demonstrations = [
        DemonstrationRecord(**asked("one", *held_out), completion="c"),
        DemonstrationRecord(**asked("two", Split.TRAIN, Pool.TRAIN), completion="c"),
    ]
    comparisons = [ranking("one", *held_out), ranking("one"), ranking("two", *held_out), ranking("three", *held_out)]
    snapshot = frozen(Purpose.RM, comparisons=comparisons, demonstrations=demonstrations)
    found = [(row["prompt_key"], row["split"]) for row in exports.rows(snapshot, What.PROMPTS)]
    assert found == [("one", "train"), ("two", "train"), ("three", "validation")]


@pytest.mark.parametrize("what", [What.DEMONSTRATIONS, What.COMPARISONS, What.PAIRS, What.PROMPTS])
def test_parquet_columns_that_are_empty_at_first_and_filled_later(database, tmp_path, monkeypatch, what):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(exports, "BATCH", 2)
    late = ranking("late", rating=7, flags={"fails_task": True}, shown_position=1)
    late = late.model_copy(update={"round": 3, "use_case": records.UseCase.CHAT})
    wrote = DemonstrationRecord(**asked("w", Split.TRAIN, Pool.TRAIN), completion="c")
    snapshot = frozen(
        Purpose.RM,
        comparisons=[ranking("a"), ranking("b"), ranking("c"), late],
        demonstrations=[wrote, wrote, wrote, wrote.model_copy(update={"use_case": records.UseCase.CHAT})],
    )
    exports.write_parquet(snapshot, what, tmp_path / "made.parquet")
    expected = list(exports.rows(snapshot, what))
    for row in expected if what is What.COMPARISONS else ():
        for completion in row["completions"]:
            completion["flags"] = '{"fails_task":true}' if row["prompt_key"] == "late" else "{}"
    assert parquet.read_table(tmp_path / "made.parquet").to_pylist() == expected
