"""A run's view of a snapshot: each line by its own pool and split, and as many as the manifest counts."""

from collections import Counter
from pathlib import Path

import pytest

from tests.loop import lines
from training.contract.events import Started
from training.contract.records import (
    COMPARISONS,
    DEMONSTRATIONS,
    ComparisonRecord,
    Message,
    Pool,
    Purpose,
    RankedCompletion,
    Split,
    Use,
    write_snapshot,
)
from training.run.run_folder import RunFolder
from training.run.snapshots import load

BOTH = (RankedCompletion(text="a", policy="p", tier=1), RankedCompletion(text="b", policy="p", tier=2))


def ranking(number: int, labeler: str, pool: Pool = Pool.TRAIN, split: Split = Split.TRAIN) -> ComparisonRecord:
    prompt = (Message(role="user", text=f"prompt {number}"),)
    return ComparisonRecord(
        prompt_key=str(number), prompt=prompt, split=split, labeler=labeler, pool=pool, completions=BOTH
    )


@pytest.fixture
def data(tmp_path) -> Path:
    """Write rankings of two unnamed labelers, one of them held out, and of one who moved from held-out to train."""
    held_out = {"pool": Pool.HELD_OUT, "split": Split.VALIDATION}
    records = [
        ranking(1, ""),
        ranking(2, ""),
        ranking(3, "", **held_out),
        ranking(4, "moved", **held_out),
        ranking(5, "moved"),
        ranking(6, "stayed", split=Split.TEST),
    ]
    write_snapshot(tmp_path / "data", Purpose.RM, {COMPARISONS: records, DEMONSTRATIONS: []})
    return tmp_path / "data"


def test_a_labeler_s_other_answers_do_not_decide_what_a_line_is_for(data):
    uses = [(one.prompt_key, one.use) for one in load(data, COMPARISONS, ComparisonRecord)]
    assert uses == [
        ("1", Use.TRAIN), ("2", Use.TRAIN), ("3", Use.HELD_OUT), ("4", Use.HELD_OUT), ("5", Use.TRAIN), ("6", Use.TEST),
    ]  # fmt: skip


def test_a_run_says_what_it_read(data, tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.report(Started(verb="train"))
    load(data, COMPARISONS, ComparisonRecord, folder)
    (event,) = (one for one in lines(folder.path / "events.jsonl") if one["kind"] == "data")
    assert (event["file"], Counter(event["uses"])) == ("comparisons.jsonl", Counter(train=3, held_out=2, test=1))


def test_data_that_was_changed_after_it_was_frozen_is_refused(data):
    path = data / COMPARISONS
    path.write_text(path.read_text().replace('"pool":"held-out"', '"pool":"train"', 1))
    with pytest.raises(
        ValueError, match="3 train, 1 validation, 1 test, 1 held_out, but its manifest counts 3 train, 1 test, 2"
    ):
        load(data, COMPARISONS, ComparisonRecord)


def test_data_without_a_manifest_is_read_as_it_is(data):
    (data / "manifest.json").unlink()
    assert len(load(data, COMPARISONS, ComparisonRecord)) == 6
