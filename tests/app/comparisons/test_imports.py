"""Importing comparisons: HH dialogues, preference pairs and our own rankings; twice adds nothing."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import func, select

from app.comparisons.formats import ComparisonFormat, read
from app.comparisons.imports import import_comparisons
from app.comparisons.tables import ComparedCompletion, Comparison, ComparisonSource
from app.completions.tables import Completion
from app.database import reading, transaction
from app.kit.given import Given, Row
from app.policies.tables import Policy
from app.prompts.imports import PromptDefaults
from app.prompts.messages import split_for, text_sha256
from app.prompts.tables import Prompt
from app.snapshots import rules as snapshots
from app.snapshots import tasks as snapshot_tasks
from training.contract.records import ComparisonRecord, Message, Pool, Purpose, Split
from training.contract.records import read as read_records

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
HH, PAIRS, RANKINGS, *_ = ComparisonFormat


def jsonl(path: Path, *rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(path: Path, format: ComparisonFormat, collection: str = "mine", **options):
    return import_comparisons(path, format=format, defaults=PromptDefaults(collection), **options)


def stored() -> list[tuple[list[str], list[tuple[int, str]]]]:
    """For each comparison: the texts of its prompt, and (tier, text) best first."""
    with reading() as session:
        return [
            (
                [message["text"] for message in one.prompt.messages],
                sorted((member.tier, member.completion.text) for member in one.completions),
            )
            for one in session.scalars(select(Comparison).order_by(Comparison.id))
        ]


def dialogue(*turns: str) -> str:
    return "".join(f"\n\n{('Human', 'Assistant')[number % 2]}: {turn}" for number, turn in enumerate(turns))


def test_hh_dialogues_part_at_their_last_turn(database, tmp_path):
    path = jsonl(
        tmp_path / "hh.jsonl",
        {"chosen": dialogue("Hi", "Yes?", "Why?", "Because."), "rejected": dialogue("Hi", "Yes?", "Why?", "No.")},
        {"chosen": dialogue("Hi", "One.\n\nHuman:"), "rejected": dialogue("Hi", "Two.")},
    )
    report = run(path, HH)
    assert (report.rows, report.added, report.problems, report.left_out) == (2, 2, [], [])
    assert stored() == [
        (["Hi", "Yes?", "Why?"], [(1, "Because."), (2, "No.")]),
        (["Hi"], [(1, "One.\n\nHuman:"), (2, "Two.")]),
    ]
    with reading() as session:
        one = session.scalars(select(Comparison)).first()
        assert (one.source, one.pool, one.collection) == (ComparisonSource.IMPORT, Pool.TRAIN, "mine")
        assert one.labeler is None
        assert [policy.name for policy in session.scalars(select(Policy))] == ["mine"]


def test_hh_dialogues_that_part_earlier_share_whole_turns():
    values = {
        "chosen": dialogue("Hi", "Yes?", "Why?", "Because.", "Oh", "Right."),
        "rejected": dialogue("Hi", "Yes?", "Why?", "No."),
    }
    ((ranking,), _left_out, problems) = read(Row(1, Given(values)), HH, PromptDefaults(), "p")
    assert not problems
    assert ranking.fell_back
    assert [message.text for message in ranking.prompt.messages] == ["Hi", "Yes?", "Why?"]
    assert {one.tier: one.text for one in ranking.completions} == {
        1: "Because.\n\nHuman: Oh\n\nAssistant: Right.",
        2: "No.",
    }


def test_one_speaker_twice_in_a_row_is_one_message():
    common = "\n\nHuman: a\n\nHuman: b\n\nAssistant: c\n\nHuman: d\n\nAssistant: "
    row = Row(1, Given({"chosen": common + "x", "rejected": common + "y"}))
    ((ranking,), *_) = read(row, HH, PromptDefaults(), "p")
    assert [(one.role, one.text) for one in ranking.prompt.messages] == [
        ("user", "a\n\nb"),
        ("assistant", "c"),
        ("user", "d"),
    ]


def test_pairs_in_every_shape(database, tmp_path):
    user = [{"role": "user", "content": "Two?"}]

    def assistant(text: str) -> dict:
        return {"role": "assistant", "content": text}

    path = jsonl(
        tmp_path / "pairs.jsonl",
        {"prompt": "One?", "chosen": "a", "rejected": "b"},
        {"prompt": user, "chosen": [assistant("a")], "rejected": [assistant("b")]},
        {"chosen": [*user, assistant("c")], "rejected": [*user, assistant("d")]},
        {"instruction": "Three.", "input": "x", "chosen": "a", "rejected": "", "labeler": "w7", "pool": "held-out"},
        {"prompt": "One?", "chosen": "b", "rejected": "a"},
    )
    report = run(path, PAIRS)
    assert (report.added, report.problems) == (5, [])
    assert report.notes == ["1 rows have an empty completion, kept because it was ranked."]
    assert stored() == [
        (["One?"], [(1, "a"), (2, "b")]),
        (["Two?"], [(1, "a"), (2, "b")]),
        (["Two?"], [(1, "c"), (2, "d")]),
        (["Three.\n\nx"], [(1, "a"), (2, "")]),
        (["One?"], [(1, "b"), (2, "a")]),
    ]
    with reading() as session:
        held_out = session.scalars(select(Comparison).where(Comparison.pool == Pool.HELD_OUT)).one()
        assert held_out.imported_labeler == "w7"
        # The same two texts keep their places, whichever was chosen.
        one, *_, other = session.scalars(select(Comparison).order_by(Comparison.id))
        places = [{member.completion_id: member.shown_position for member in got.completions} for got in (one, other)]
        assert places[0] == places[1]
    again = run(path, PAIRS)
    assert (again.added, again.known, again.written) == (0, 5, False)


def test_bad_rows_are_told_and_same_texts_left_out(database, tmp_path):
    path = jsonl(
        tmp_path / "pairs.jsonl",
        {"prompt": "One?", "chosen": "a", "rejected": "b"},
        {"prompt": "One?", "chosen": "a", "rejected": "a \u200b\r\n"},
        {"prompt": "One?", "chosen": "a"},
        {"chosen": "a", "rejected": "b"},
        {"prompt": "One?", "chosen": ["a"], "rejected": ["b"]},
        {"prompt": "One?", "chosen": "a", "rejected": "b", "pool": "everybody"},
        {"prompt": "One?", "chosen": "a", "rejected": 3},
    )
    report = run(path, PAIRS)
    assert not report.written
    assert stored() == []
    assert [(one.line, one.field) for one in report.problems] == [
        (3, "rejected"),
        (4, "prompt"),
        (5, "chosen.0"),
        (6, "pool"),
        (7, "rejected"),
    ]
    assert [(one.line, one.message) for one in report.left_out] == [(2, "Two of the completions have the same text.")]
    assert run(path, PAIRS, skip_bad=True).added == 1


def test_hh_rows_that_are_no_dialogues(database, tmp_path):
    path = jsonl(
        tmp_path / "hh.jsonl",
        {"chosen": "Hello", "rejected": "Hi"},
        {"chosen": dialogue("a", "b"), "rejected": dialogue("c", "b")},
        {"chosen": dialogue("a", "b")},
    )
    report = run(path, HH)
    assert [(one.line, one.field) for one in report.problems] == [(1, "chosen"), (2, "rejected"), (3, "rejected")]


def record(**fields) -> dict:
    completions = [
        {"text": "a", "policy": "p", "tier": 1, "rating": 6, "flags": {"fails_task": False}, "shown_position": 1},
        {"text": "b", "policy": "q", "tier": 2, "rating": 2, "flags": {"fails_task": None}, "shown_position": 0},
        {"text": "c", "policy": "q", "tier": 2, "rating": None, "shown_position": 2},
    ]
    made = ComparisonRecord(
        prompt_key="k",
        prompt=[{"role": "user", "text": "One?"}],
        split=Split.VALIDATION,
        use_case="chat",
        completions=completions,
        labeler="x1",
        pool=Pool.HELD_OUT,
        round=3,
    )
    return {**made.model_dump(mode="json"), **fields}


def test_our_own_rankings_come_back_as_they_went(database, tmp_path):
    path = jsonl(
        tmp_path / "rankings.jsonl", record(), record(labeler="x2"), record(), record(labeler="judge", probability=0.8)
    )
    report = run(path, RANKINGS)
    assert (report.added, report.known, report.problems) == (3, 1, [])
    with reading() as session:
        one, two, judged = session.scalars(select(Comparison).order_by(Comparison.id))
        assert (one.probability, judged.probability) == (None, 0.8)
        assert (one.imported_labeler, two.imported_labeler, one.pool) == ("x1", "x2", Pool.HELD_OUT)
        assert one.prompt.split is split_for(one.prompt.text_sha256)
        assert one.prompt_id == two.prompt_id
        members = [
            (m.shown_position, m.completion.text, m.completion.policy.name, m.tier, m.rating, m.flags)
            for m in one.completions
        ]
    assert members == [
        (0, "b", "q", 2, 2, {}),
        (1, "a", "p", 1, 6, {"fails_task": False}),
        (2, "c", "q", 2, None, {}),
    ]


@pytest.mark.parametrize(
    ("pool", "split", "own"),
    [
        (Pool.TRAIN, Split.TRAIN, Split.TRAIN),
        (Pool.TRAIN, Split.VALIDATION, Split.VALIDATION),
        (Pool.HELD_OUT, Split.TEST, Split.TEST),
        (Pool.HELD_OUT, Split.VALIDATION, None),  # what a held-out ranking of a train prompt says too
    ],
)
def test_a_held_out_ranking_does_not_decide_the_split_of_its_prompt(pool, split, own):
    row = Row(1, Given(record(pool=pool, split=split)))
    ((ranking,), _left_out, problems) = read(row, RANKINGS, PromptDefaults(), "p")
    assert not problems and ranking.prompt.split is own


def test_a_held_out_ranking_that_comes_first_never_trains(database, tmp_path):
    """Its prompt is new, so a hash puts it into train; the ranking stays out of train all the same."""
    asked = [{"role": "user", "text": text} for text in map("Question {}?".format, range(200))]
    asked = [[message] for message in asked if split_for(text_sha256([Message(**message)])) is Split.TRAIN][:20]
    first = [record(prompt=one, labeler="hal") for one in asked]
    then = [record(prompt=one, labeler="tia", pool=Pool.TRAIN, split=Split.TRAIN) for one in asked]
    report = run(jsonl(tmp_path / "rankings.jsonl", *first, *then), RANKINGS)
    assert (report.added, report.problems) == (40, [])
    with transaction() as session:
        assert set(session.scalars(select(Prompt.split))) == {Split.TRAIN}
        made = snapshots.create(session, Purpose.RM, {"collections": ["mine"]})
    snapshot_tasks.write(made.id)
    frozen = list(read_records(snapshots.folder(made) / "comparisons.jsonl", ComparisonRecord))
    assert Counter((one.pool, one.split) for one in frozen) == {
        (Pool.TRAIN, Split.TRAIN): 20,
        (Pool.HELD_OUT, Split.VALIDATION): 20,
    }


def test_bad_rankings_are_told_by_field(database, tmp_path):
    path = jsonl(
        tmp_path / "rankings.jsonl",
        record(split="training"),
        record(completions=[{"text": "a", "policy": "p"}]),
        record(extra=1),
        record(
            completions=[
                {"text": "a", "policy": "p", "tier": 1, "shown_position": 0},
                {"text": "b", "policy": "p", "tier": 2, "shown_position": 5},
            ]
        ),
    )
    report = run(path, RANKINGS)
    assert [(one.line, one.field) for one in report.problems] == [
        (1, "split"),
        (2, "completions"),
        (3, "extra"),
        (4, "completions.shown_position"),
    ]


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")
def test_hh_harmless_is_2312_comparisons(database):
    path = DATA / "hh_harmless" / "test.jsonl.gz"
    report = run(path, HH, collection="hh_harmless")
    assert (report.rows, report.added, report.problems, report.left_out) == (2312, 2312, [], [])
    assert report.notes == [
        "Prompts with personal data, left out of snapshots until an admin decides: 10.",
        "5 pairs diverge before their last turn; their prompt is the part that both dialogues share.",
        "4 rows have an empty completion, kept because it was ranked.",
        "Prompts that are near-duplicates of another prompt, with both in the stricter split: 1.",
    ]
    assert run(path, HH, collection="hh_harmless").known == 2312
    with gzip.open(path, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(Prompt)) == 2310
        assert session.scalar(select(func.count()).select_from(ComparedCompletion)) == 2 * 2312
        splits = dict(session.execute(select(Prompt.split, func.count()).group_by(Prompt.split)).all())
        assert splits[Split.TRAIN] == pytest.approx(0.8 * 2310, abs=80)
        # Every side of every pair is there, in the file's own words.
        found = session.execute(
            select(ComparedCompletion.comparison_id, ComparedCompletion.tier, Completion.text)
            .join(Completion)
            .order_by(ComparedCompletion.comparison_id, ComparedCompletion.tier)
        ).all()
    for row, (_, first, chosen), (_, second, rejected) in zip(rows, found[::2], found[1::2], strict=True):
        assert (first, second) == (1, 2)
        assert row["chosen"].endswith(chosen)
        assert row["rejected"].endswith(rejected)
