"""A run that cannot learn reports the actual cause."""

import math
import shutil
from importlib import import_module
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.training.ppo.runs import saved_reward_model, settings
from training.contract import events
from training.contract.configs import SFTConfig
from training.contract.recipes import make_config
from training.run.optimization import optimize
from training.run.run_folder import RunFolder
from training.text.packing import MicroBatch

RECIPES = {
    "train_sft": ("miniature_sft", "sft"),
    "train_reward_model": ("miniature_reward_model", "rm"),
    "train_dpo": ("miniature_dpo", "rm"),
}


def config(verb: str, miniature: Path, **keys):
    recipe, data = RECIPES[verb]
    return make_config(
        verb, {"recipe": recipe, "data": miniature / data, "init_from": miniature / "base", "epochs": 1, **keys}
    )


def run(verb: str, keys, folder: Path) -> list:
    with RunFolder(folder) as run_folder:
        import_module(f"training.{verb}").run(keys, run_folder)
    return list(events.read(folder / "events.jsonl"))


def overflowing(network: Path, place: Path) -> Path:
    """Copy the network with finite weights whose products are not finite."""
    shutil.copytree(network, place)
    weights = load_file(place / "model.safetensors")
    for name in ("up_proj", "down_proj"):
        weights[f"model.layers.0.mlp.{name}.weight"] *= 1e25
    save_file(weights, place / "model.safetensors", {"format": "pt"})
    return place


@pytest.mark.parametrize("verb", RECIPES)
def test_where_all_is_too_long_the_refusal_counts_it_and_names_the_key(verb, miniature, tmp_path):
    with pytest.raises(ValueError) as refusal:
        run(verb, config(verb, miniature, max_prompt_tokens=1), tmp_path)
    said = str(refusal.value)
    assert "left to learn from: " in said or "has no pair to learn from (" in said
    lines = sum(len(file.read_text().splitlines()) for file in (miniature / RECIPES[verb][1]).glob("*.jsonl"))
    count = int(said.split(" prompts left out: longer than max_prompt_tokens")[0].rpartition(" ")[2])
    assert 0 < count <= lines
    assert said.endswith("; raise max_prompt_tokens = 1")


def test_ppo_says_the_same(miniature, tmp_path):
    reward_model = saved_reward_model(miniature, tmp_path / "reward_model", low=0.6)
    keys = make_config("train_ppo", settings(miniature, reward_model, max_prompt_tokens=1))
    with pytest.raises(ValueError, match=r"the train split left to learn from: \d+ prompts left out: .*; raise max"):
        run("train_ppo", keys, tmp_path / "run")


@pytest.mark.parametrize("verb", RECIPES)
def test_an_output_that_overflows_is_not_laid_on_anything_else(verb, miniature, tmp_path):
    network = overflowing(miniature / "base", tmp_path / "network")
    with pytest.raises(
        ValueError, match=rf"^{network}: the network's own output is not finite, although its weights are"
    ):
        run(verb, config(verb, miniature, init_from=network), tmp_path / "run")


@pytest.mark.parametrize(
    ("factor", "what"),
    [(math.nan, "own output is not finite"), (math.inf, "own output"), (0.0, "gradient is")],
)
def test_what_is_not_finite_before_any_update_is_not_laid_on_the_learning_rate(factor, what, tmp_path):
    """Either the loss itself is not finite or the gradient alone, as that of a square root at 0."""
    model = torch.nn.Linear(1, 1)

    def batches(step: int) -> list[MicroBatch]:
        return [MicroBatch(1, lambda: ((model.weight.sum().abs() * factor) ** 0.5, {}))]

    with RunFolder(tmp_path) as run_folder, pytest.raises(ValueError) as refusal:
        optimize(run_folder, SFTConfig(), model, 3, batches, "sft", {})
    said = str(refusal.value)
    assert said.startswith(f"step 0: the network's {what}") and "before any update" in said
    assert "lower learning_rate" not in said


def test_a_learning_rate_that_is_too_large_is_still_what_is_named(miniature, tmp_path):
    keys = config("train_sft", miniature, learning_rate=1e30, max_gradient_norm=None, epochs=3)
    with pytest.raises(ValueError, match=r"step [1-9]\d*: the gradient is not finite; lower learning_rate = 1e\+30"):
        run("train_sft", keys, tmp_path)


@pytest.mark.parametrize("which", ["init_from", "reward_model"])
def test_ppo_names_the_network_that_is_broken(which, miniature, tmp_path):
    reward_model = saved_reward_model(miniature, tmp_path / "reward_model", low=0.6)
    paths = {"init_from": miniature / "base", "reward_model": reward_model}
    broken = overflowing(paths[which], tmp_path / "broken")
    keys = make_config("train_ppo", {**settings(miniature, reward_model), which: broken})
    with pytest.raises(ValueError) as refusal:
        run("train_ppo", keys, tmp_path / "run")
    said = str(refusal.value)
    assert "not finite" in said and "learning_rate" not in said, said
    assert said.startswith(str(broken))


@pytest.mark.parametrize("verb", ["train_reward_model", "train_dpo"])
def test_a_group_that_micro_batch_tokens_does_not_bound_is_told_before_it_is_computed(verb, miniature, tmp_path):
    reported = run(verb, config(verb, miniature, micro_batch_tokens=16), tmp_path / "small")
    (told,) = [event.message for event in reported if event.kind == "warning" and "micro_batch_tokens" in event.message]
    assert told.startswith("micro_batch_tokens: 16 does not bound a prompt with its completions")
    assert int(told.split("the largest has ")[1].split(" tokens")[0]) > 16
    kinds = [event.kind for event in reported]
    assert kinds.index("warning") < kinds.index("metrics")
    reported = run(verb, config(verb, miniature), tmp_path / "large")
    assert not [event for event in reported if event.kind == "warning" and "micro_batch_tokens" in event.message]
