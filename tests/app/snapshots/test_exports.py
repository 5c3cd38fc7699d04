"""Exports: every field of a record in every shape, the shapes that trainers read, and columns that no row decides."""

import gzip
import json
from pathlib import Path

import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import NotFound
from app.snapshots import exports, parquet, rules, shapes
from app.snapshots.exports import Format
from app.snapshots.shapes import SHAPES, What
from app.snapshots.tables import Snapshot, SnapshotState
from training.contract import records
from training.contract.records import (
    AnsweredBy,
    ComparisonRecord,
    DemonstrationRecord,
    Message,
    Pool,
    PromptRecord,
    Purpose,
    RankedCompletion,
    Split,
    UseCase,
)

# What TRL 1.16 gives a meaning of its own to in a row, beside what each shape is about.
TAKEN = {
    "prompt", "prompts", "chosen", "rejected", "completion", "completions", "messages", "label", "labels", "text",
    "images", "image", "tools", "chat_template_kwargs", "margin", "input_ids", "attention_mask", "completion_mask",
    "assistant_masks", "seq_lengths", "ref_chosen_logps", "ref_rejected_logps", "chosen_ids", "rejected_ids",
    "chosen_input_ids", "rejected_input_ids", "completion_ids", "trainer_state", "environments", "pixel_values",
}  # fmt: skip


def frozen(purpose: Purpose, **data) -> Snapshot:
    """A ready snapshot with these records."""
    snapshot = Snapshot(public_id="s", state=SnapshotState.READY)
    manifest = records.write_snapshot(rules.folder(snapshot), purpose, {f"{name}.jsonl": data[name] for name in data})
    snapshot.manifest = manifest.model_dump(mode="json")
    return snapshot


def asked(key: str, split: Split = Split.TRAIN, pool: Pool = Pool.TRAIN) -> dict:
    """The fields that every record of an answer has."""
    prompt = (Message(role="user", text=key),)
    return {"prompt_key": key, "prompt": prompt, "split": split, "labeler": f"by {pool}", "pool": pool}


def ranking(key: str, split: Split = Split.TRAIN, pool: Pool = Pool.TRAIN, **fields) -> ComparisonRecord:
    """A ranking of two completions, each with these fields."""
    both = tuple(RankedCompletion(text=text, policy="p", tier=tier, **fields) for tier, text in enumerate("ab", 1))
    return ComparisonRecord(**asked(key, split, pool), completions=both)


# Every field has a value that is not its default, and no two completions have one in common.
FULL_PROMPT = {
    "prompt_key": "key",
    "text_key": "text",
    "prompt": (
        Message(role="system", text="Be brief."),
        Message(role="user", text="Hi"),
        Message(role="assistant", text="Hello!"),
        Message(role="user", text="Who are you?"),
    ),
    "split": Split.VALIDATION,
    "use_case": UseCase.CHAT,
}
FULL_ANSWER = {**FULL_PROMPT, "labeler": "someone", "pool": Pool.HELD_OUT, "answered_by": AnsweredBy.DEMO}
BEST = RankedCompletion(
    text="I am a bot.", policy="one", tier=1, rating=6, flags={"fails_task": False, "ours": True}, shown_position=2
)
WORST = RankedCompletion(
    text="No.", policy="two", tier=2, rating=1, flags={"fails_task": True}, shown_position=1, unacceptable=True
)
FULL = {
    PromptRecord: PromptRecord(**FULL_PROMPT),
    DemonstrationRecord: DemonstrationRecord(**FULL_ANSWER, completion="I am a bot."),
    ComparisonRecord: ComparisonRecord(**FULL_ANSWER, completions=(WORST, BEST), round=3, probability=0.75),
}
TYPES = {
    records.PROMPTS: PromptRecord,
    records.DEMONSTRATIONS: DemonstrationRecord,
    records.COMPARISONS: ComparisonRecord,
}
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": "Who are you?"},
]


@pytest.fixture
def full(database) -> dict[Purpose, Snapshot]:
    """A snapshot of each purpose, of the one record with every field."""
    made = {}
    for purpose in Purpose:
        snapshot = Snapshot(public_id=f"s{purpose}", state=SnapshotState.READY)
        data = {name: [FULL[TYPES[name]]] for name in records.FILES[purpose]}
        snapshot.manifest = records.write_snapshot(rules.folder(snapshot), purpose, data).model_dump(mode="json")
        made[purpose] = snapshot
    return made


def rows_of(snapshot: Snapshot, what: What, tmp_path: Path) -> tuple[list[dict], list[dict]]:
    """The rows of an export as a reader gets them from JSON Lines and from Parquet."""
    exports.save(snapshot, what, Format.JSONL, tmp_path / f"{what}.jsonl")
    exports.save(snapshot, what, Format.PARQUET, tmp_path / f"{what}.parquet")
    lines = [json.loads(line) for line in (tmp_path / f"{what}.jsonl").read_text().splitlines()]
    return lines, pyarrow.parquet.read_table(tmp_path / f"{what}.parquet").to_pylist()


def holder(what: What) -> Purpose:
    """The purpose of the snapshot that an export is taken from here."""
    return {What.MESSAGES: Purpose.SFT, What.DEMONSTRATIONS: Purpose.SFT, What.PROMPTS: Purpose.PPO,
            What.PROMPT_ONLY: Purpose.PPO}.get(what, Purpose.RM)  # fmt: skip


def as_json(value: object) -> object:
    """A field's value as JSON has it, made by another way than the code's."""
    if isinstance(value, tuple):
        return [json.loads(one.model_dump_json()) for one in value]
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("what", What)
def test_every_field_that_a_record_has_is_in_every_shape_and_format(full, tmp_path, what):
    record = FULL[SHAPES[what].record]
    for rows in rows_of(full[holder(what)], what, tmp_path):
        row = rows[0]
        for name in type(record).model_fields:
            value = getattr(record, name)
            assert value != type(record).model_fields[name].default, f"{name}: the record above is to have a value here"
            if name == "prompt":
                expected = as_json(value) if what in (What.PROMPTS, What.DEMONSTRATIONS, What.COMPARISONS) else CHAT
                found = row.get("prompt") or row["messages"][:-1]
            elif name == "completion":
                expected = value
                found = row["messages"][-1]["content"] if what is What.MESSAGES else row["completion"]
            elif name == "completions":
                continue
            else:
                expected, found = as_json(value), row[name]
            assert found == expected, name
        for completion in record.completions if isinstance(record, ComparisonRecord) else ():
            for name in RankedCompletion.model_fields:
                found = completion_of(what, rows, completion, name)
                found = json.loads(found) if name == "flags" and isinstance(found, str) else found
                assert found == getattr(completion, name), f"{completion.text} {name}"


def completion_of(what: What, rows: list[dict], completion: RankedCompletion, name: str) -> object:
    """A field of one of the two completions as an export has it."""
    place = [WORST, BEST].index(completion)
    side = ("rejected", "chosen")[place]
    if what is What.COMPARISONS:
        return rows[0]["completions"][place][name]
    if what is What.PAIRS:
        return rows[0][side][0]["content"] if name == "text" else rows[0][f"{side}_{name}"]
    return rows[place]["completion"][0]["content"] if name == "text" else rows[place][name]


def test_a_field_that_a_record_gains_is_in_every_export():
    class Weighted(RankedCompletion):
        seconds: float = 0.0

    class Judged(ComparisonRecord):
        completions: tuple[Weighted, ...]
        judge: str | None = None

    both = (Weighted(text="a", policy="p", tier=1, rating=7, seconds=1.5), Weighted(text="b", policy="p", tier=2))
    record = Judged(**asked("k"), completions=both, judge="someone")
    for what in (What.COMPARISONS, What.PAIRS, What.KTO):
        (row,) = SHAPES[what].rows(lambda: [record])
        assert row["judge"] == "someone" and row.keys() == SHAPES[what].columns(Judged).keys()
    (pair,) = SHAPES[What.PAIRS].rows(lambda: [record])
    assert (pair["chosen_seconds"], pair["rejected_seconds"]) == (1.5, 0.0)
    assert {"judge", "chosen_seconds", "rejected_seconds"} <= set(
        parquet.schema(SHAPES[What.PAIRS].columns(Judged)).names
    )


@pytest.mark.parametrize("what", [What.MESSAGES, What.PAIRS, What.KTO, What.PROMPT_ONLY])
def test_a_trainer_s_shape_uses_no_name_of_the_trainer_for_something_else(what):
    about = {
        What.MESSAGES: {"messages"},
        What.PAIRS: {"prompt", "chosen", "rejected"},
        What.KTO: {"prompt", "completion", "label"},
        What.PROMPT_ONLY: {"prompt"},
    }[what]
    columns = SHAPES[what].columns(SHAPES[what].record)
    assert columns.keys() & TAKEN == about


def test_the_shapes_that_trainers_read(full, tmp_path):
    (row,), _parquet = rows_of(full[Purpose.SFT], What.MESSAGES, tmp_path)
    assert row["messages"] == [*CHAT, {"role": "assistant", "content": "I am a bot."}]
    (row,), _parquet = rows_of(full[Purpose.PPO], What.PROMPT_ONLY, tmp_path)
    assert row["prompt"] == CHAT
    (row,), _parquet = rows_of(full[Purpose.RM], What.PAIRS, tmp_path)
    assert (row["prompt"], row["chosen"], row["rejected"]) == (
        CHAT, [{"role": "assistant", "content": "I am a bot."}], [{"role": "assistant", "content": "No."}],
    )  # fmt: skip
    found, _parquet = rows_of(full[Purpose.RM], What.KTO, tmp_path)
    assert [(row["completion"][0]["content"], row["label"], row["policy"]) for row in found] == [
        ("No.", False, "two"), ("I am a bot.", True, "one"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({"rating": 7}, True),
        ({"rating": 5}, True),
        ({"rating": 4}, None),
        ({"rating": 3}, False),
        ({"rating": 1}, False),
        ({}, None),
        ({"rating": 7, "unacceptable": True}, False),
        ({"unacceptable": True}, False),
        ({"rating": 6, "flags": {"hallucination": True}}, False),
        ({"flags": {"harmful_advice": True}}, False),
        ({"rating": 6, "flags": {"hallucination": False, "encourages_harm": None}}, True),
        ({"rating": 6, "flags": {"expresses_opinion": True, "satisfies_constraint": False, "ours": True}}, True),
    ],
)
def test_what_is_plainly_good_or_bad(fields, label):
    assert shapes.desirable(RankedCompletion(text="t", policy="p", **fields)) is label


rankings = st.builds(
    lambda key, labeler, tiers, round: ComparisonRecord(
        **{**asked(key), "labeler": labeler},
        completions=tuple(RankedCompletion(text=f"t{n}", policy="p", tier=tier) for n, tier in enumerate(tiers)),
        round=round,
    ),
    st.sampled_from(["a", "b"]),
    st.sampled_from(["", "x"]),
    st.lists(st.integers(1, 2), min_size=2, max_size=3),
    st.sampled_from([None, 1]),
)


@given(st.lists(rankings, max_size=12))
def test_a_group_is_one_ranking(found):
    rows = list(SHAPES[What.PAIRS].rows(lambda: found))
    assert rows == list(SHAPES[What.PAIRS].rows(lambda: found)), "the same data, the same names"
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[row["group"]] = sizes.get(row["group"], 0) + 1
    pairs = [len(record.pairs()) for record in found if record.pairs()]
    assert list(sizes.values()) == pairs, "one group for each ranking that has pairs, in their order"


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
    assert [(row["prompt_key"], row["split"]) for row in exports.rows(snapshot, What.PROMPT_ONLY)] == found


@pytest.mark.parametrize("what", [what for what in What if what not in (What.PROMPTS, What.PROMPT_ONLY)])
def test_parquet_columns_that_are_empty_at_first_and_filled_later(database, tmp_path, monkeypatch, what):
    monkeypatch.setattr(parquet, "BATCH", 2)
    late = ranking("late", rating=7, flags={"fails_task": True}, shown_position=1)
    late = late.model_copy(update={"round": 3, "use_case": UseCase.CHAT, "probability": 0.9})
    wrote = DemonstrationRecord(**asked("w"), completion="c")
    snapshot = frozen(
        Purpose.RM,
        comparisons=[ranking("a", rating=1), ranking("b", rating=1), ranking("c", rating=1), late],
        demonstrations=[wrote, wrote, wrote, wrote.model_copy(update={"use_case": UseCase.CHAT})],
    )
    lines, read = rows_of(snapshot, what, tmp_path)
    for row in lines if what is What.COMPARISONS else ():
        for completion in row["completions"]:
            completion["flags"] = '{"fails_task":true}' if row["prompt_key"] == "late" else "{}"
    assert len(read) > 2 and read == lines


def test_an_export_without_rows_has_its_columns(database, tmp_path):
    tie = ranking("a").model_copy(
        update={"completions": tuple(RankedCompletion(text=text, policy="p", tier=1) for text in "ab")}
    )
    snapshot = frozen(Purpose.RM, comparisons=[tie], demonstrations=[])
    for what in (What.PAIRS, What.KTO, What.DEMONSTRATIONS):
        exports.save(snapshot, what, Format.PARQUET, tmp_path / "empty.parquet")
        table = pyarrow.parquet.read_table(tmp_path / "empty.parquet")
        assert table.num_rows == 0 and table.column_names == list(SHAPES[what].columns(SHAPES[what].record))


def test_an_export_without_rows_is_a_whole_file_of_its_format(database, tmp_path):
    snapshot = frozen(Purpose.RM, comparisons=[], demonstrations=[])
    for format, read in (
        (Format.JSONL, Path.read_bytes),
        (Format.JSONL_GZ, lambda path: gzip.decompress(path.read_bytes())),
    ):
        exports.save(snapshot, What.MESSAGES, format, tmp_path / format)
        assert read(tmp_path / format) == b""
    assert b"".join(exports.stream(snapshot, What.MESSAGES, Format.JSONL_GZ)) == (tmp_path / "jsonl.gz").read_bytes()
    assert (tmp_path / "jsonl.gz").stat().st_size > 0


def test_prompts_that_came_to_say_the_same_are_one_row_with_the_split_of_their_text(database):
    """As masked ones do: a held-out labeler ranked one of them, the train pool the other."""
    seen = ranking("one", Split.TRAIN, Pool.TRAIN).model_copy(update={"text_key": "text"})
    other = ranking("two", Split.VALIDATION, Pool.HELD_OUT)
    other = other.model_copy(update={"text_key": "text", "prompt": seen.prompt})
    snapshot = frozen(Purpose.RM, comparisons=[other, seen], demonstrations=[])
    for what in (What.PROMPTS, What.PROMPT_ONLY):
        assert [row["split"] for row in exports.rows(snapshot, what)] == ["train"]


def test_a_snapshot_gives_what_its_files_hold_and_names_it(full):
    assert exports.available(full[Purpose.PPO]) == [What.PROMPTS, What.PROMPT_ONLY]
    assert exports.available(full[Purpose.SFT]) == [
        What.DEMONSTRATIONS, What.PROMPTS, What.MESSAGES, What.PROMPT_ONLY,
    ]  # fmt: skip
    assert exports.available(full[Purpose.RM]) == list(What)
    with pytest.raises(NotFound, match="prompt_only"):
        exports.rows(full[Purpose.PPO], What.KTO)


# --- What trainers make of it ---


@pytest.fixture
def sets(full, tmp_path) -> dict[tuple[What, Format], object]:
    """Every trainer's export as `datasets` loads it, from both formats."""
    datasets = pytest.importorskip("datasets", reason="the package datasets is not installed (make bench installs it)")
    datasets.disable_progress_bars()
    loaded = {}
    for what in (What.MESSAGES, What.PAIRS, What.KTO, What.PROMPT_ONLY):
        for format, kind in ((Format.JSONL, "json"), (Format.PARQUET, "parquet")):
            exports.save(full[holder(what)], what, format, tmp_path / f"{what}.{format}")
            files = str(tmp_path / f"{what}.{format}")
            loaded[what, format] = datasets.load_dataset(kind, data_files=files, split="train", cache_dir=str(tmp_path))
    return loaded


def test_datasets_loads_every_trainer_s_shape(sets):
    for (what, format), found in sets.items():
        assert found.column_names == list(SHAPES[what].columns(SHAPES[what].record)), (what, format)
        assert len(found.filter(lambda row: row["split"] == "validation" and row["use_case"] == "chat")) == len(found)


def test_trl_takes_each_shape_for_what_it_is(sets):
    data_utils = pytest.importorskip("trl.data_utils", reason="trl is not installed (make bench installs it)")
    template = _Template()
    wanted = {
        What.MESSAGES: {"text"},
        What.PAIRS: {"prompt", "chosen", "rejected"},
        What.KTO: {"prompt", "completion", "label"},
        What.PROMPT_ONLY: {"prompt"},
    }
    for (what, _format), found in sets.items():
        row = found[0]
        assert data_utils.is_conversational(row), what
        made = data_utils.apply_chat_template(row, template)
        assert wanted[what] <= made.keys() and all(isinstance(made[name], str | bool) for name in wanted[what])
        assert "Who are you?" in made.get("prompt", made.get("text"))


class _Template:
    """A chat template as simple as can be, where TRL expects a tokenizer."""

    chat_template = None

    def apply_chat_template(self, messages, tokenize=False, **_given) -> str:
        return "".join(f"<{message['role']}>{message['content']}" for message in messages)
