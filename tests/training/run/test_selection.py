"""The epoch that SFT recommends, against networks caught at each epoch's end and judged one sequence at a time."""

import json
import math
import shutil
from statistics import fmean, stdev

import pytest
import torch
from safetensors.torch import load_file
from scipy import stats
from transformers import AutoModelForSequenceClassification

from tests.training.ppo.runs import saved_reward_model
from training import train_sft
from training.contract import events
from training.contract.recipes import make_config
from training.contract.records import DEMONSTRATIONS, DemonstrationRecord, Split, read, write
from training.run.run_folder import RunFolder
from training.text.formatting import encode_completion, encode_prompt
from training.text.policy import forbidden_token_ids, load_policy

EPOCHS, SAMPLES, TOKENS = 12, 3, 24
ROUNDING = 1e-6  # of a probability in single precision, summed over a vocabulary


class Watched(RunFolder):
    """A run folder that keeps each step's weights and the largest number of states at once."""

    def __init__(self, path):
        super().__init__(path)
        self.after, self.most = {}, 0

    def save_state(self, state, name="state"):
        super().save_state(state, name)
        if name == "state":
            self.after[state["step"]] = {key: weight.clone() for key, weight in state["model"].items()}
        self.most = max(self.most, len(list((self.path / "state").iterdir())))


def train(keys, folder):
    with Watched(folder) as run_folder:
        train_sft.run(make_config("train_sft", keys), run_folder)
    return run_folder, [events.parse(line) for line in (folder / "events.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def keys(miniature, tmp_path_factory):
    reward_model = saved_reward_model(miniature, tmp_path_factory.mktemp("selection") / "reward_model", low=None)
    return {
        "recipe": "miniature_sft", "data": miniature / "sft", "init_from": miniature / "base", "epochs": EPOCHS,
        "learning_rate": 2e-2, "final_share": 1.0, "reward_model": reward_model, "completions_per_prompt": SAMPLES,
        "max_completion_tokens": TOKENS, "save_every_seconds": 0,
    }  # fmt: skip


@pytest.fixture(scope="module")
def chosen(keys, tmp_path_factory):
    """Return (run folder, events) of a run that overfits: its loss is lowest early."""
    return train(keys, tmp_path_factory.mktemp("chosen"))


def draw(model, prompt, uniforms, forbidden, eos):
    """Sample a completion by inverse transform, token by token, from whole forward passes without a cache.

    Also return the smallest distance of a uniform to a token boundary: within rounding, either token is right.
    """
    ids, nearest = [], 1.0
    for uniform in uniforms.tolist():
        logits = model(torch.tensor([prompt + ids])).logits[0, -1].index_fill(0, forbidden, -math.inf)
        cumulative = logits.log_softmax(-1).double().exp().cumsum(0)
        cumulative /= cumulative[-1].item()
        ids.append(int((cumulative <= uniform).sum()))
        nearest = min(nearest, float((cumulative - uniform).abs().min()))
        if ids[-1] == eos:
            break
    return ids, nearest


@torch.no_grad()
def recounted(weights, keys):
    """Compute the validation split's loss, and the scores of its completions, by loops over single sequences.

    Scores are included only if no token was drawn within rounding of another one.
    """
    model, tokenizer = load_policy(keys["init_from"])
    model.load_state_dict(weights)
    judge = AutoModelForSequenceClassification.from_pretrained(keys["reward_model"]).eval()
    forbidden = forbidden_token_ids(model, tokenizer)
    records = [r for r in read(keys["data"] / DEMONSTRATIONS, DemonstrationRecord) if r.split == Split.VALIDATION]
    losses, prompts = [], []
    for record in records:
        prompt = encode_prompt(tokenizer, record.prompt)
        completion = encode_completion(tokenizer, record.completion)[:TOKENS]
        logits = model(torch.tensor([prompt + completion])).logits[0].index_fill(1, forbidden, -math.inf)
        logprobs = logits.log_softmax(-1)
        losses += [-float(logprobs[len(prompt) + i - 1, token]) for i, token in enumerate(completion)]
        if prompt not in prompts:
            prompts.append(prompt)
    generator = torch.Generator().manual_seed(0)
    uniforms = torch.rand(len(prompts) * SAMPLES, TOKENS, generator=generator, dtype=torch.float64)
    means, nearest = [], 1.0
    for place, prompt in enumerate(prompts):
        scores = []
        for row in uniforms[place * SAMPLES : (place + 1) * SAMPLES]:
            ids, distance = draw(model, prompt, row, forbidden, tokenizer.eos_token_id)
            nearest = min(nearest, distance)
            scores.append(float(judge(torch.tensor([prompt + ids])).logits[0, 0]) - judge.config.score_offset)
        means.append(fmean(scores))
    found = {"validation_loss_nats": fmean(losses)}
    if nearest > ROUNDING:
        found |= {"score": fmean(means), "score_se": stdev(means) / len(means) ** 0.5}
    return found


def test_every_epoch_is_measured_and_the_best_by_score_is_recommended(keys, chosen):
    run_folder, reported = chosen
    report = json.loads((run_folder.path / "report.json").read_text())
    rows = report["epochs"]
    assert [row["epoch"] for row in rows] == list(range(1, EPOCHS + 1))
    expected = {row["step"]: recounted(run_folder.after[row["step"]], keys) for row in rows}
    for row in rows:
        found = {key: row[key] for key in expected[row["step"]]}
        assert found == pytest.approx(expected[row["step"]], abs=1e-4), row["epoch"]
    assert sum("score" in one for one in expected.values()) > EPOCHS / 2
    scores = {row["step"]: expected[row["step"]].get("score", row["score"]) for row in rows}
    by_score = max(scores, key=scores.get)
    by_loss = min(expected, key=lambda step: expected[step]["validation_loss_nats"])
    assert by_score != by_loss and max(expected) not in (by_score, by_loss)  # else this run would show little
    assert report["best_step_by"] == {"score": by_score, "validation_loss_nats": by_loss}

    saved = {event.path: event for event in reported if event.kind == "checkpoint"}
    assert {path: (event.step, event.chosen) for path, event in saved.items()} == {
        "checkpoints/sft": (by_score, True),
        "checkpoints/sft_by_loss": (by_loss, False),
    }
    for path, event in saved.items():
        model, _ = load_policy(run_folder.path / path)
        for name, weight in model.state_dict().items():
            assert torch.equal(weight, run_folder.after[event.step][name]), name
        assert event.metrics["sft/score"] == pytest.approx(scores[event.step], abs=1e-4)
    assert reported[-1].result["checkpoint"] == "checkpoints/sft"
    assert reported[-1].result["best_epoch_by_score"] * len(run_folder.after) == by_score * EPOCHS


def test_each_epochs_numbers_and_samples_are_reported_with_it(chosen):
    run_folder, reported = chosen
    rows = {row["step"]: row for row in json.loads((run_folder.path / "report.json").read_text())["epochs"]}
    for event in reported:
        if event.kind == "metrics":
            told = {key: event.values.get(f"sft/{key}") for key in ("score", "score_se", "validation_loss_nats")}
            assert told == {key: rows.get(event.step, {}).get(key) for key in told}
            assert not {"sft/score_low", "sft/score_high"} & event.values.keys()  # they would become separate curves
    for row in rows.values():
        half = stats.t.ppf(0.975, row["score_prompts"] - 1) * row["score_se"]
        assert (row["score_low"], row["score_high"]) == pytest.approx((row["score"] - half, row["score"] + half))
    assert reported[-1].result["sft/score_low"] < reported[-1].result["sft/score"]
    samples = [event for event in reported if event.kind == "sample"]
    assert {event.step for event in samples} == set(rows) and all(event.score is not None for event in samples)


def test_no_more_than_the_best_weights_are_kept(chosen):
    run_folder, _ = chosen
    # The state to resume from and the one before, the epochs, the best by score and by loss, and one about to replace.
    assert run_folder.most <= 6
    assert [path.name for path in (run_folder.path / "state").iterdir()] == ["state.pt"]


def test_without_a_reward_model_the_last_network_is_kept_whatever_the_loss_says(keys, chosen, tmp_path):
    run_folder, reported = train({**keys, "reward_model": None}, tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    (saved,) = [event for event in reported if event.kind == "checkpoint"]
    last = max(run_folder.after)
    assert (saved.path, saved.step, saved.chosen) == ("checkpoints/sft", last, True)
    weights = load_file(tmp_path / "checkpoints" / "sft" / "model.safetensors")
    assert all(torch.equal(weight, run_folder.after[last][name]) for name, weight in weights.items())
    assert report["best_step_by"]["validation_loss_nats"] < last
    scored = json.loads((chosen[0].path / "report.json").read_text())["epochs"]
    losses = [row["validation_loss_nats"] for row in report["epochs"]]
    assert losses == [row["validation_loss_nats"] for row in scored]
    assert reported[-1].result["sft/validation_loss_nats"] == losses[-1]


def without_validation(keys, folder):
    records = [r for r in read(keys["data"] / DEMONSTRATIONS, DemonstrationRecord) if r.split == Split.TRAIN]
    folder.mkdir()
    write(folder / DEMONSTRATIONS, records)
    return {**keys, "data": folder}


def test_measuring_changes_no_step_and_no_draw_of_dropout(keys, tmp_path):
    keys = {**keys, "epochs": 2, "dropout": 0.2}
    alone = {**without_validation(keys, tmp_path / "data"), "reward_model": None}
    runs = {"scored": keys, "measured": {**keys, "reward_model": None}, "alone": alone}
    after = {name: train(each, tmp_path / name)[0].after for name, each in runs.items()}
    assert not (tmp_path / "alone" / "report.json").exists()
    for name in ("scored", "measured"):
        assert after[name].keys() == after["alone"].keys()
        for step, weights in after["alone"].items():
            assert all(torch.equal(weight, after[name][step][key]) for key, weight in weights.items()), (name, step)


def test_a_reward_model_that_cannot_judge_is_refused(keys, networks, miniature, tmp_path):
    stranger = tmp_path / "stranger"
    shutil.copytree(keys["reward_model"], stranger)
    _, tokenizer = load_policy(networks["qwen2"])
    tokenizer.save_pretrained(stranger)
    with pytest.raises(ValueError, match="has another vocabulary than"):
        train({**keys, "reward_model": stranger}, tmp_path / "run")
    with pytest.raises(ValueError, match="holds no reward model"):
        train({**keys, "reward_model": miniature / "base"}, tmp_path / "other run")
    with pytest.raises(ValueError, match="no demonstration of the validation split whose prompt"):
        train(without_validation(keys, tmp_path / "data"), tmp_path / "third run")
