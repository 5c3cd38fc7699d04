"""Recipes are complete, unknown keys are refused by name, and the paper's numbers are the paper's."""

import json
import math

import pytest
import torch

from training.contract.recipes import CONFIGS, RECIPES, load_config
from training.run.optimization import adam, learning_rate

INPUTS = ["data=/data", "init_from=/sft", "reward_model=/rm", 'policies={"sft": "/sft"}']


def inputs(config_class):
    return [pair for pair in INPUTS if pair.partition("=")[0] in config_class.required]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_complete_but_for_its_inputs(name):
    recipe = RECIPES[name]
    config = load_config(recipe.verb, name, inputs(CONFIGS[recipe.verb]))
    assert config.recipe == name
    given = set(config.required)
    assert config.model_dump(exclude=given) == recipe.model_dump(exclude=given)


@pytest.mark.parametrize("name", RECIPES)
def test_a_written_config_is_read_back_the_same(name, tmp_path):
    verb = RECIPES[name].verb
    config = load_config(verb, name, [*inputs(CONFIGS[verb]), "seed=7"])
    path = tmp_path / "config.json"
    path.write_text(config.model_dump_json())
    assert load_config(verb, path) == config


def test_keys_stand_over_their_recipe(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"recipe": "miniature_sft", "epochs": 3, "data": "/data", "init_from": "/base"}))
    config = load_config("train_sft", path, ["batch_size=4"])
    recipe = RECIPES["miniature_sft"]
    assert (config.epochs, config.batch_size, config.learning_rate) == (3, 4, recipe.learning_rate)


@pytest.mark.parametrize(
    ("verb", "config", "overrides", "message"),
    [
        (
            "train_sft",
            "miniature_sft",
            ["batchsize=3"],
            "batchsize: train_sft has no such key; the nearest is batch_size",
        ),
        ("train_sft", "miniature_sft", ["data=/d"], "init_from: train_sft needs it"),
        ("train_sft", "miniature_base", [], "train_sft has no recipe 'miniature_base'; it knows miniature_sft"),
        ("train_sft", "no_such_thing", [], "neither a JSON file nor a recipe; train_sft knows miniature_sft"),
        ("train_sft", "miniature_sft", [*INPUTS[:2], "epochs=none"], "epochs = 'none'"),
        ("train_sft", "miniature_sft", [*INPUTS[:2], "dropout=1.5"], "dropout = 1.5"),
        ("train_sft", "miniature_sft", ["epochs"], "write it as key=value"),
        ("train_base", "miniature_base", ["learning_rate=-1"], "learning_rate = -1"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(verb, config, overrides, message):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        load_config(verb, config, overrides)
    assert message in str(error.value)


def test_a_file_that_is_no_config_is_refused(tmp_path):
    path = tmp_path / "config.json"
    for text, message in (("{", "not JSON"), ("[1]", "one JSON object, not list")):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            load_config("train_base", path)


def test_a_member_of_a_mapping_is_set_by_its_dotted_key():
    config = load_config("evaluate", "miniature_evaluate", ["policies.sft=/a", "policies.ppo=/b"])
    assert {name: str(path) for name, path in config.policies.items()} == {"sft": "/a", "ppo": "/b"}


def test_the_papers_numbers():
    sft, for_ppo, rm = (RECIPES[f"instructgpt_{name}"] for name in ("sft", "sft_for_ppo", "reward_model"))
    assert (sft.epochs, sft.batch_size, sft.dropout, sft.learning_rate) == (16, 32, 0.2, 9.65e-6)
    assert (for_ppo.epochs, for_ppo.pretraining_share) == (2, 0.1)
    assert (rm.epochs, rm.batch_size, rm.learning_rate) == (1, 64, 9e-6)
    assert {c.adam_b2 for c in (sft, for_ppo, rm)} == {0.95} and {c.final_share for c in (sft, for_ppo, rm)} == {0.1}
    ptx = RECIPES["instructgpt_ppo_ptx"]
    assert (ptx.beta, ptx.gamma, ptx.batch_size, ptx.minibatch_size, ptx.iterations) == (0.02, 27.8, 512, 64, 500)
    # 12,725 demonstrations, 16 epochs, 32 a step; 33,207 prompts, 64 a step
    assert round(12_725 * sft.epochs / sft.batch_size) == 6362
    assert math.ceil(33_207 / rm.batch_size) == 519


def test_the_learning_rate_falls_by_cosine_to_a_tenth():
    config = RECIPES["instructgpt_sft"]
    rates = [learning_rate(config, step, 101) / config.learning_rate for step in range(101)]
    assert (rates[0], rates[50], rates[100]) == pytest.approx((1.0, 0.55, 0.1))
    assert rates == sorted(rates, reverse=True)


def test_warm_up_starts_at_a_tenth_of_the_peak():
    config = RECIPES["miniature_base"]
    rates = [learning_rate(config, step, 1000) / config.learning_rate for step in range(1000)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0) and rates.index(max(rates)) == config.warmup_steps
    assert rates[-1] == pytest.approx(config.final_share)


def test_weight_decay_is_for_matrices_alone():
    matrix, vector = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))
    optimizer = adam(RECIPES["miniature_base"], [matrix, vector])
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays == {id(matrix): RECIPES["miniature_base"].weight_decay, id(vector): 0.0}
    assert optimizer.defaults["betas"] == (0.9, 0.95)
