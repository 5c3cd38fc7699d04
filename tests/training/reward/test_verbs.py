"""Reward models with adapters, ties and doubts, and cross-validation over labelers, through their verbs."""

import json
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch

from training import cross_validate, train_reward_model
from training.contract.events import last
from training.contract.recipes import load_config
from training.contract.records import COMPARISONS, ComparisonRecord, Message, Pool, RankedCompletion, read, write
from training.reward.model import load_reward_model, score_sequences
from training.reward.rankings import TIES, labeler_groups, read_rankings
from training.run.run_folder import RunFolder, Stopped
from training.text.policy import load_policy

SCORES = """
import json, sys
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification
base, folder, sequences = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
bare = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
bare.config.pad_token_id = plain.config.pad_token_id
adapted = PeftModel.from_pretrained(bare, folder + "/adapter").eval()
with torch.no_grad():
    print(json.dumps([[float(m(torch.tensor([s])).logits) for s in sequences] for m in (plain, adapted)]))
"""


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def config_of(verb, miniature, data, *settings):
    given = [f"data={data}", f"init_from={miniature / 'base'}", "max_prompt_tokens=256", "max_completion_tokens=64"]
    return load_config(verb, "miniature_" + verb.removeprefix("train_"), [*given, *settings])


def ranking(key, tiers, labeler="a", texts=("a.", "b.", "c."), **values):
    completions = tuple(RankedCompletion(text=t, policy="x", tier=n) for t, n in zip(texts, tiers, strict=True))
    prompt = (Message(role="user", text=key),)
    given = {"split": "train", "pool": Pool.TRAIN, **values}
    return ComparisonRecord(prompt_key=key, prompt=prompt, completions=completions, labeler=labeler, **given)


def text_of(prompt, place, tokenizer):
    return tokenizer.decode(prompt.completions[place], skip_special_tokens=True)


def test_adapters_and_head_are_saved_and_read_in_a_fresh_process(miniature, tmp_path):
    settings = ["lora_rank=2", "learning_rate=0.01", "epochs=4", "gradient_checkpointing=true"]
    with RunFolder(tmp_path / "run") as run_folder:
        train_reward_model.run(config_of("train_reward_model", miniature, miniature / "rm", *settings), run_folder)
    folder = tmp_path / "run" / "checkpoints" / "reward_model"
    model, tokenizer, _ = load_reward_model(folder)
    sequences = [tokenizer(text)["input_ids"] for text in ("list three animals.", "the cat.", "please")]
    ours = score_sequences(model, sequences, tokenizer.pad_token_id)
    assert ours.std() > 0.05  # it has learnt to tell them apart
    arguments = [str(miniature / "base"), str(folder), json.dumps(sequences)]
    done = subprocess.run(
        [sys.executable, "-c", SCORES, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    plain, adapted = json.loads(done.stdout)
    assert plain == pytest.approx(ours.tolist(), abs=1e-5)
    assert adapted == pytest.approx(plain, abs=1e-4)
    untrained, _ = load_policy(miniature / "base")
    embeddings = untrained.get_input_embeddings().weight
    assert torch.equal(model.get_input_embeddings().weight, embeddings)  # frozen
    state = torch.load(tmp_path / "run" / "state" / "state.pt", weights_only=True)
    assert all("lora" in name or "score" in name for name in state["model"])


def test_ties_are_left_out_or_kept_as_ties(miniature, tmp_path):
    write(tmp_path / COMPARISONS, [ranking("p", (1, 2, 2)), ranking("q", (1, 1, None))])
    _, tokenizer = load_policy(miniature / "base")
    for margin, pairs, left_out in ((0, [2, 0], 1 + 3), (0.5, [3, 1], 2)):
        counts = Counter()
        config = config_of("train_reward_model", miniature, tmp_path, f"tie_margin={margin}")
        train = read_rankings(config, tokenizer, counts).train
        assert [len(prompt.pairs) for prompt in train] == pairs and counts[TIES] == left_out
    (tie,) = (pair for pair, distance in zip(train[0].pairs, train[0].distances, strict=True) if distance == 0)
    assert {text_of(train[0], place, tokenizer) for place in tie[:2]} == {"b.", "c."} and tie[2:] == (1.0, 1.0)
    assert sorted(train[0].distances) == [0, 1, 1]


def test_neither_shown_order_nor_who_ranked_first_changes_what_is_added_up(miniature, tmp_path):
    texts = ("a.", "b.", "c.", "d.")
    one, other = ranking("p", (2, 1, 1, 3), "l1", texts=texts), ranking("p", (1, 2, 3, 4), "l2", texts=texts)
    shuffled = [
        record.model_copy(update={"completions": tuple(record.completions[place] for place in (2, 0, 3, 1))})
        for record in (other, one)
    ]
    _, tokenizer = load_policy(miniature / "base")
    config = config_of("train_reward_model", miniature, tmp_path)
    found = []
    for records in ([one, other], shuffled):
        write(tmp_path / COMPARISONS, records)
        found.append(read_rankings(config, tokenizer, Counter()).train)
    assert found[0] == found[1] and len(found[0][0].pairs) == 11


def test_a_judges_probability_becomes_the_target_and_a_persons_line_stays_as_it_was(miniature, tmp_path):
    doubtful = ranking("p", (2, 1), texts=("a.", "b."), probability=0.8)
    write(tmp_path / COMPARISONS, [doubtful])
    assert list(read(tmp_path / COMPARISONS, ComparisonRecord)) == [doubtful]
    _, tokenizer = load_policy(miniature / "base")
    (prompt,) = read_rankings(config_of("train_reward_model", miniature, tmp_path), tokenizer, Counter()).train
    (pair,) = prompt.pairs
    assert [text_of(prompt, place, tokenizer) for place in pair[:2]] == ["b.", "a."]
    assert pair[2:] == (0.8, pytest.approx(0.2))
    assert "probability" not in ranking("p", (2, 1), texts=("a.", "b.")).model_dump_json()


def test_groups_of_labelers_hold_about_equally_many_rankings():
    amounts = {"a": 9, "b": 7, "c": 5, "d": 4, "e": 3, "f": 2}
    records = [ranking(f"{labeler}{n}", (1, 2, 3), labeler) for labeler, count in amounts.items() for n in range(count)]
    groups = labeler_groups(records, 3)
    assert sorted(labeler for group in groups for labeler in group) == sorted(amounts)
    assert [sum(amounts[labeler] for labeler in group) for group in groups] == [11, 10, 9]
    with pytest.raises(
        ValueError, match=r"folds: the rankings are by 6 labeler.*, who make no 7 groups; take a lower number"
    ):
        labeler_groups(records, 7)


def test_a_group_that_is_held_out_teaches_nothing_and_judges(miniature, labelers_data):
    _, tokenizer = load_policy(miniature / "base")
    counts = Counter()
    records = [r for r in read(labelers_data / COMPARISONS, ComparisonRecord) if r.pool == Pool.TRAIN]
    config = config_of("train_reward_model", miniature, labelers_data, "folds=3", "fold=1")
    rankings = read_rankings(config, tokenizer, counts)
    held_out = labeler_groups(records, 3)[1]
    mine = [record for record in records if record.labeler not in held_out]
    assert len(rankings.train) == len({record.prompt_key for record in mine if record.split == "train"})
    assert len(rankings.validation) == len({record.prompt_key for record in mine if record.split != "train"})
    assert len(rankings.held_out_labelers) == len(
        {record.prompt_key for record in records if record.labeler in held_out}
        - {record.prompt_key for record in mine if record.split == "train"}
    )
    assert counts["rankings left out: by held-out labelers, who belong to no group"] == 1


def test_cross_validation_reports_mean_and_spread_and_goes_on_where_it_stopped(miniature, labelers_data, tmp_path):
    config = config_of("cross_validate", miniature, labelers_data, "folds=3", "seeds=1", "epochs=1")
    with RunFolder(tmp_path / "run") as run_folder:
        run_folder.stop_requested = True
        with pytest.raises(Stopped):
            cross_validate.run(config, run_folder)
    with RunFolder(tmp_path / "run") as run_folder:
        cross_validate.run(config, run_folder)
    folds = sorted((tmp_path / "run" / "folds").iterdir())
    assert [folder.name for folder in folds] == [f"seed-0-fold-{n}" for n in range(3)]
    starts = [json.loads(line) for line in (folds[0] / "events.jsonl").read_text().splitlines()]
    assert [event["resumed_from_step"] for event in starts if event["kind"] == "started"] == [0, 1]
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    for key in ("accuracy/validation", "accuracy/held_out_labelers"):
        values = torch.tensor([model[key] for model in report["models"]], dtype=torch.float64)
        assert report[key]["mean"] == pytest.approx(values.mean().item())
        assert report[key]["deviation"] == pytest.approx(values.std().item())
        assert report[key]["standard_error"] == pytest.approx(values.std().item() / 3**0.5)
        assert last(tmp_path / "run" / "events.jsonl").result[key] == report[key]["mean"]
        assert report[key]["low"] < report[key]["mean"] < report[key]["high"]
        part = key.removeprefix("accuracy/")
        asked = [set(json.loads((folder / "right.json").read_text())[part]) for folder in folds]
        assert report[key]["prompts"] == len(set.union(*asked)) > 10
        assert report[key]["high"] - report[key]["low"] > 0.1  # three groups of labelers are few
    assert not (folds[0] / "checkpoints").exists() or not any((folds[0] / "checkpoints").iterdir())


@pytest.mark.parametrize("prompts_differ", [True, False])
@pytest.mark.parametrize(("of_groups", "of_prompts"), [(0.0, 0.25), (0.06, 0.0), (0.05, 0.2)])
def test_the_interval_over_models_covers_how_far_groups_and_prompts_differ(of_groups, of_prompts, prompts_differ):
    """Five groups, two seeds each, on the same prompts or on others; the truth is 0.65."""
    rng = np.random.default_rng(4)
    missed = 0
    for _ in range(100):
        hard = {key: rng.normal(0, of_prompts) for key in range(60 if prompts_differ else 30)}
        accuracies, right = [], []
        for fold, apart in enumerate(rng.normal(0, of_groups, 5)):
            mine = [key for key in hard if not prompts_differ or key % 5 == fold]
            values = {
                f"{key}": (rng.random(6) < min(1, max(0, 0.65 + apart + hard[key]))).astype(float).tolist()
                for key in mine
            }
            for _seed in range(2):
                right.append(values)
                accuracies.append(float(np.mean([v for each in values.values() for v in each])))
        found = cross_validate.spread(accuracies, [fold for fold in range(5) for _ in range(2)], right)
        missed += not found["low"] <= 0.65 <= found["high"]
    assert missed <= 12  # at 5 of 100, more would occur about once in 500 times


def test_models_that_are_all_right_are_no_certainty():
    right = [{"p": [1.0] * 4, "q": [1.0]}] * 6
    found = cross_validate.spread([1.0] * 6, [0, 1, 2] * 2, right)
    assert (found["mean"], found["high"], found["standard_error"]) == (1.0, 1.0, 0.0)
    assert found["low"] < 0.3 and found["prompts"] == 2


def test_seeds_of_one_group_are_no_further_groups():
    right = [{"p": [1.0, 0.0] * 50}] * 4
    found = cross_validate.spread([0.6, 0.6, 0.7, 0.7], [0, 0, 1, 1], right)
    assert found["standard_error"] == pytest.approx(0.05)
