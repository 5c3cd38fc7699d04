"""Snapshots of a little world hold what slow code finds in the tables, and training reads of them what they promise."""

import json
from collections import Counter, defaultdict

import pytest

from app.database import reading, transaction
from app.snapshots import rules, tasks
from app.snapshots.left_out import WORDS
from app.snapshots.tables import Snapshot
from tests.app.snapshots.brute_force import BAD, Tables, fold, said, use
from tests.app.snapshots.world import World
from tests.loop import lines
from tests.training.conftest import byte_level_tokenizer
from training import evaluate, train_reward_model, train_sft
from training.contract.configs import EvaluateConfig, PPOConfig, RewardModelConfig, SFTConfig
from training.contract.events import Started
from training.contract.records import Flag, Message, Use
from training.ppo.data import read_prompts
from training.reward.rankings import SEEN, Rankings, read_rankings
from training.run.run_folder import RunFolder
from training.text.formatting import encode_completion, encode_prompt

EVERYTHING = {"rounds": [1, 2, 3], "collections": ["shop"], "train_on_evaluation": True, "also": ["simulated", "demo"]}
FILTERS = (
    ("rm", EVERYTHING),
    ("rm", {"collections": ["shop"]}),
    ("rm", {"rounds": [], "collections": ["shop"]}),
    ("rm", {**EVERYTHING, "splits": ["validation"]}),
    ("sft", {"collections": ["written"]}),
    ("sft", {"rounds": [2], "also": ["demo"]}),
    ("sft", {"splits": ["train", "test"]}),
    ("ppo", {}),
    ("ppo", {"collections": ["b", "written"]}),
    ("ppo", {"splits": ["train"]}),
)


def freeze(purpose: str, filter: dict) -> Snapshot:
    with transaction() as session:
        made = rules.create(session, purpose, filter)
    tasks.write(made.id)
    with reading() as session:
        found = session.get_one(Snapshot, made.id)
    assert found.manifest, found.error
    return found


def frozen_lines(snapshot: Snapshot) -> dict[str, list[dict]]:
    return {path.stem: lines(path) for path in rules.folder(snapshot).glob("*.jsonl")}


def in_order(found: list[dict]) -> list[str]:
    return sorted(json.dumps(line, sort_keys=True) for line in found)


def test_files_and_manifests_are_what_slow_code_finds_in_the_tables(people, tmp_path):
    World(people, tmp_path, seed=10)
    with reading() as session:
        tables = Tables(session)
    reasons, moved = set(), set()
    for purpose, filter in FILTERS:
        snapshot = freeze(purpose, filter)
        expected = tables.snapshot(purpose, filter)
        found = frozen_lines(snapshot)
        assert found.keys() == expected.files.keys()
        for file, made in expected.files.items():
            assert in_order(found[file]) == in_order(made), (purpose, filter, file)
        counts = {name: n for name, n in snapshot.manifest["counts"].items() if n or name in expected.files}
        assert counts == {name: n for name, n in expected.counts.items() if n or name in expected.files}
        assert snapshot.manifest["left_out"] == dict(expected.left_out)
        assert snapshot.manifest["uses"] == expected.uses
        reasons |= expected.left_out.keys()
        moved |= {name for name, n in expected.counts.items() if n and name.endswith("in_a_stricter_split")}
    # The world has every case.
    assert reasons == WORDS.keys()
    assert len(moved) == 4
    imported = [(row["labeler"], row["pool"]) for row in tables.snapshot("rm", FILTERS[2][1]).files["comparisons"]]
    assert {("", "train"), ("", "held-out")} <= set(imported) and len(set(imported)) == 4
    by_labeler = defaultdict(set)
    for row in [*tables.comparisons, *tables.demonstrations]:
        by_labeler[tables.names.get(row["labeler_id"])].add(row["pool"])
    assert len(by_labeler["mia"]) == len(by_labeler["tom"]) == 2, "who moved has answers of both pools"


def messages(found: list[dict]) -> tuple[Message, ...]:
    return tuple(Message(**one) for one in found)


class Data:
    """The lines of a snapshot as training's tokens."""

    def __init__(self, found: dict[str, list[dict]]):
        self.tokenizer = byte_level_tokenizer(["<s>", "</s>"], eos_token="</s>", bos_token="<s>", pad_token="<s>")
        self.tokenizer.chat_template = (
            "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
        )
        self.found = found

    def prompts(self, file: str, *uses: str) -> list[tuple[int, ...]]:
        """The prompts of the lines that are for one of these uses."""
        return sorted(self.prompt(line) for line in self.found[file] if use(line) in uses)

    def prompt(self, line: dict) -> tuple[int, ...]:
        return tuple(encode_prompt(self.tokenizer, messages(line["prompt"])))

    def demonstrations(self, *uses: str) -> list[tuple[int, ...]]:
        """Whole sequences."""
        return sorted(
            (*self.prompt(line), *encode_completion(self.tokenizer, line["completion"]))
            for line in self.found["demonstrations"]
            if use(line) in uses
        )

    def pairs(self, *uses: str, but: set[str] = frozenset()) -> Counter:
        """(prompt, chosen, rejected) of the rankings for these uses, of no text whose key is in `but`."""
        made = Counter()
        for line in self.found["comparisons"]:
            if use(line) in uses and line["text_key"] not in but:
                texts = [
                    (one["tier"], tuple(encode_completion(self.tokenizer, one["text"]))) for one in line["completions"]
                ]
                made.update(
                    (self.prompt(line), chosen, rejected)
                    for best, chosen in texts
                    for worst, rejected in texts
                    if best is not None and worst is not None and best < worst
                )
        return made


def pairs_of(ranked: list) -> Counter:
    return Counter(
        (tuple(one.prompt), tuple(one.completions[pair.chosen]), tuple(one.completions[pair.rejected]))
        for one in ranked
        for pair in one.pairs
    )


def config(kind: type, snapshot: Snapshot, **more) -> object:
    return kind(data=rules.folder(snapshot), max_prompt_tokens=4000, max_completion_tokens=4000, **more)


@pytest.fixture
def run_folder(tmp_path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def test_what_training_reads_is_what_the_manifest_promises(people, tmp_path, run_folder):
    World(people, tmp_path, seed=3)
    run_folder.report(Started(verb="train"))
    rm, sft, ppo = (freeze(*FILTERS[number]) for number in (0, 4, 7))
    data = Data(frozen_lines(rm))
    counts: Counter[str] = Counter()
    read: Rankings = read_rankings(config(RewardModelConfig, rm), data.tokenizer, counts, run_folder)
    trained_on = {line["text_key"] for line in data.found["comparisons"] if use(line) == "train"}
    assert pairs_of(read.train) == data.pairs("train") != Counter()
    assert pairs_of(read.validation) == data.pairs("validation", "test") != Counter()
    assert pairs_of(read.held_out_labelers) == data.pairs("held_out", but=trained_on) != Counter()
    held_out = [line for line in data.found["comparisons"] if use(line) == "held_out"]
    assert counts[SEEN] == sum(line["text_key"] in trained_on for line in held_out) > 0
    keys = {line["prompt_key"] for line in data.found["comparisons"] if use(line) == "train"}
    in_other_words = [one for one in held_out if one["text_key"] in trained_on and one["prompt_key"] not in keys]
    assert in_other_words, "the world has held-out rankings of a text that is trained on under another prompt"
    zero = train_reward_model._demonstrations(config(RewardModelConfig, rm), data.tokenizer, Counter(), run_folder)
    assert sorted(map(tuple, zero)) == data.demonstrations("train")

    data = Data(frozen_lines(sft))
    texts = train_sft.read_demonstrations(config(SFTConfig, sft), data.tokenizer, run_folder)
    for name in (Use.TRAIN, Use.VALIDATION, Use.TEST):
        found = sorted(tuple(texts.sequences[place]) for place in texts.members[name])
        assert found == data.demonstrations(name)
    assert data.demonstrations("train") and not texts.members[Use.HELD_OUT]
    assert sorted(texts.prompts) == sorted(set(data.prompts("demonstrations", "validation")))
    assert texts.counts["demonstrations left out: by held-out labelers"] == len(data.demonstrations("held_out")) > 0

    data = Data(frozen_lines(ppo))
    validation = data.prompts("prompts", "validation")
    trained, scored = read_prompts(
        config(PPOConfig, ppo, evaluation_episodes=len(validation)), data.tokenizer, run_folder
    )
    assert sorted(tuple(one.ids) for one in trained) == data.prompts("prompts", "train") != []
    assert sorted(tuple(one.ids) for one in scored) == validation != []
    for split in ("train", "validation", "test"):
        asked = evaluate._prompts(config(EvaluateConfig, ppo, split=split, prompts=100), run_folder)
        assert sorted(tuple(encode_prompt(data.tokenizer, one)) for one in asked) == data.prompts("prompts", split)

    events = [event for event in lines(run_folder.path / "events.jsonl") if event["kind"] == "data"]
    reported = [(event["file"], event["uses"]) for event in events]
    promised = [(f"{file}.jsonl", uses) for one in (rm, sft, ppo) for file, uses in one.manifest["uses"].items()]
    assert [one for one in promised if one not in reported] == [] and len(reported) == len(promised) + 3


def test_the_flags_that_make_a_completion_bad_are_flags():
    assert set(Flag) > BAD


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("seed", range(3, 7))
def test_no_text_trains_here_and_measures_there_and_no_held_out_labeler_s_words_train(people, tmp_path, seed):
    World(people, tmp_path, seed)
    uses = defaultdict(set)
    for purpose, filter in (FILTERS[0], FILTERS[3], FILTERS[4], FILTERS[7]):
        for line in (line for found in frozen_lines(freeze(purpose, filter)).values() for line in found):
            uses[fold(said(line["prompt"]))].add(use(line))
            if use(line) == "train":
                written = [*(one["text"] for one in line["prompt"]), line.get("completion", "")]
                assert not [text for text in written if "in held-out, number" in text]
    with reading() as session:
        tables = Tables(session)
    alive = {id: fold(row["said"]) for id, row in tables.prompts.items() if row["withdrawn_at"] is None}
    for one, other in ((one, other) for one, other in tables.near if {one, other} <= alive.keys()):
        uses[alive[one]] |= uses[alive[other]]
    for text, found in uses.items():
        assert not ("train" in found and found & {"validation", "test"}), text
    assert {"train", "test", "held_out"} <= {name for found in uses.values() for name in found}
