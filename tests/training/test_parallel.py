"""A run in two processes is the run in one: losses, gradients and final weights, sharded or not, however it is cut."""

import importlib
import json
import multiprocessing
import os
import socket
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.ppo.runs import saved_reward_model, settings
from tests.training.test_killed_runs import StopsAt, metrics
from training import parallel
from training.recipes import make_config
from training.run_folder import Stopped

TOLERANCE = 2e-4  # of weights that moved by some hundredths; sums are taken in another order


def work(number: int, count: int, port: int, verb: str, keys: dict, folder: Path, stop_at: int) -> None:
    """One of the processes of a run, of which the last is asked to stop at a step."""
    os.environ |= {
        "RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    parallel.join()
    with StopsAt(folder) as run_folder:
        run_folder.step = stop_at if number == count - 1 else 0
        try:
            importlib.import_module(f"training.{verb}").run(make_config(verb, keys), run_folder)
        except Stopped:
            sys.exit(143)


def run(verb: str, keys: dict, folder: Path, processes: int = 1, stop_at: int = 0) -> Path:
    """A run in so many processes, all of which end alike; forks, as nothing has to be imported again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = multiprocessing.get_context("fork").Process
    children = [start(target=work, args=(i, processes, port, verb, keys, folder, stop_at)) for i in range(processes)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [143 if stop_at else 0] * processes
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All checkpoints' weights."""
    return {
        f"{path.parent.name} {name}": tensor
        for path in (folder / "checkpoints").glob("*/model.safetensors")
        for name, tensor in load_file(path).items()
    }


def assert_same_run(one: Path, other: Path) -> None:
    """The same numbers at every step, the same weights at the end."""
    expected, found = metrics(one), metrics(other)
    for values in (*expected.values(), *found.values()):
        values.pop("ppo/sqrt_kl", None)  # of a KL near 0 it is as large as rounding makes it
    for values in (expected[1], found[1]):
        values.pop("dpo/accuracy", None)  # the policy is its reference still: rounding alone orders the scores
    assert expected.keys() == found.keys() and len(expected) >= 3
    for step in expected:
        assert found[step] == pytest.approx(expected[step], rel=1e-3, abs=1e-4), step
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(theirs[name], ours[name], rtol=0, atol=TOLERANCE, msg=name)


@pytest.fixture(scope="module")
def runs(miniature, tmp_path_factory):
    """verb -> (its keys, the folder of its run in one process)."""
    common = {"init_from": miniature / "base", "epochs": 1, "adam_epsilon": 1e-6}
    keys = {
        "train_sft": {
            "recipe": "miniature_sft", "data": miniature / "sft", "batch_size": 7, "pretraining_share": 0.2, **common,
        },
        "train_reward_model": {"recipe": "miniature_reward_model", "data": miniature / "rm", "batch_size": 7, **common},
        "train_dpo": {"recipe": "miniature_dpo", "data": miniature / "rm", "batch_size": 7, **common},
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("one_process")
    return {verb: (values, run(verb, values, folder / verb)) for verb, values in keys.items()}


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("verb", ["train_sft", "train_reward_model", "train_dpo"])
def test_two_processes_compute_what_one_does(runs, tmp_path, verb, sharded):
    keys, one = runs[verb]
    cut = {"sharded": sharded, "micro_batch_tokens": 700}  # several micro-batches a step, unlike in one process
    assert_same_run(one, run(verb, {**keys, **cut}, tmp_path / "two", processes=2))


@pytest.mark.parametrize("sharded", [False, True])
def test_two_processes_choose_the_epoch_that_one_does(miniature, tmp_path, sharded):
    reward_model = saved_reward_model(miniature, tmp_path / "reward_model", low=None)
    keys = {
        "recipe": "miniature_sft", "data": miniature / "sft", "init_from": miniature / "base", "epochs": 4,
        "learning_rate": 2e-3, "adam_epsilon": 1e-6, "reward_model": reward_model, "completions_per_prompt": 2,
    }  # fmt: skip
    one = run("train_sft", keys, tmp_path / "one")
    cut = {"sharded": sharded, "micro_batch_tokens": 700}
    two = run("train_sft", {**keys, **cut}, tmp_path / "two", processes=2, stop_at=7)
    assert_same_run(one, run("train_sft", {**keys, **cut}, two, processes=2))
    ours, theirs = (json.loads((folder / "report.json").read_text()) for folder in (one, two))
    assert ours["best_step_by"] == theirs["best_step_by"] and len(theirs["epochs"]) == 4
    for expected, found in zip(ours["epochs"], theirs["epochs"], strict=True):
        assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("kept", [{"lora_rank": 2}, {"bfloat16_weights": True}])
def test_a_reward_model_in_bfloat16_is_trained_sharded_stopped_and_resumed(runs, tmp_path, kept):
    keys = {**runs["train_reward_model"][0], "gradient_checkpointing": True, "dtype": "bfloat16", **kept}
    one = run("train_reward_model", keys, tmp_path / "one")
    two = run("train_reward_model", {**keys, "sharded": True}, tmp_path / "two", processes=2, stop_at=2)
    run("train_reward_model", {**keys, "sharded": True}, two, processes=2)
    expected, found = metrics(one), metrics(two)
    for step in expected:  # bfloat16 has three digits
        assert found[step]["reward_model/loss"] == pytest.approx(expected[step]["reward_model/loss"], abs=0.02)
    assert weights(one).keys() == weights(two).keys()
    assert {tensor.dtype for tensor in weights(two).values()} == {
        torch.float32 if "lora_rank" in kept else torch.bfloat16
    }
    adapters = [path / "checkpoints/reward_model/adapter/adapter_model.safetensors" for path in (one, two)]
    assert all(path.exists() == ("lora_rank" in kept) for path in adapters)


@pytest.mark.parametrize("verb", ["train_sft", "train_dpo"])
def test_adapters_train_and_are_merged_into_what_is_saved(runs, tmp_path, verb):
    keys, _ = runs[verb]
    before = load_file(keys["init_from"] / "model.safetensors")
    adapted = run(verb, {**keys, "lora_rank": 2, "learning_rate": 1e-2}, tmp_path / "run")
    after = {name.split()[1]: tensor for name, tensor in weights(adapted).items()}
    assert before.keys() == after.keys()
    assert torch.equal(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])
    change = after["model.layers.0.mlp.up_proj.weight"] - before["model.layers.0.mlp.up_proj.weight"]
    assert torch.linalg.matrix_rank(change, rtol=1e-3) == 2
    losses = [values[f"{verb[6:]}/loss"] for values in metrics(adapted).values()]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_a_sharded_run_is_resumed_by_any_number_of_processes(runs, tmp_path, processes):
    keys, one = runs["train_reward_model"]
    folder = tmp_path / "run"
    run("train_reward_model", {**keys, "sharded": True}, folder, processes=2, stop_at=2)
    state = torch.load(folder / "state" / "state.pt", weights_only=True)
    assert state["step"] == 2 and {f"reward_model {name}" for name in state["model"]} == weights(one).keys()
    assert_same_run(one, run("train_reward_model", {**keys, "sharded": True}, folder, processes))


@pytest.fixture(scope="module")
def ppo(miniature, tmp_path_factory):
    """(keys, folder of the run in one process) of PPO-ptx with a critic, of some optimizer steps."""
    folder = tmp_path_factory.mktemp("ppo")
    reward_model = saved_reward_model(miniature, folder / "reward_model", low=0.6)
    keys = settings(
        miniature, reward_model, iterations=3, value_warmup_iterations=1, adam_epsilon=1e-4,
        policy_learning_rate=1e-3, stop_at_kl_nats=None, kl_target_nats=0.5,
    )  # fmt: skip
    return keys, run("train_ppo", keys, folder / "one")


@pytest.mark.parametrize("sharded", [False, True])
def test_two_processes_sample_and_learn_what_one_does(ppo, tmp_path, sharded):
    keys, one = ppo
    assert_same_run(one, run("train_ppo", {**keys, "sharded": sharded, "micro_batch_tokens": 100}, tmp_path, 2))


def test_with_adapters_ppo_has_its_reference_in_the_policy_itself(ppo, tmp_path):
    keys = {**ppo[0], "lora_rank": 2, "policy_learning_rate": 1e-2, "gradient_checkpointing": True}
    one = run("train_ppo", keys, tmp_path / "one")
    first = metrics(one)[1]
    assert first["ppo/kl_nats"] == pytest.approx(0, abs=1e-5) and first["ppo/first_minibatch_ratio"] == pytest.approx(1)
    assert abs(metrics(one)[3]["ppo/kl_nats"]) > 1e-6
    stopped = run("train_ppo", {**keys, "sharded": True}, tmp_path / "two", processes=2, stop_at=2)
    state = torch.load(stopped / "state" / "state.pt", weights_only=True)["learner"]
    for name in ("policy", "averaged", "critic"):
        assert state[name] and all("lora" in key or key.startswith("head.") for key in state[name]), name
    assert_same_run(one, run("train_ppo", {**keys, "sharded": True}, stopped, processes=2))
    before = load_file(keys["init_from"] / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    for name in ("policy", "policy_ema"):
        change = weights(one)[f"{name} model.layers.0.mlp.up_proj.weight"] - before
        assert torch.linalg.matrix_rank(change, rtol=1e-2) == 2, name
