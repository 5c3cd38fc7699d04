"""A run in several processes equals the run in one: losses, gradients, final weights, sharded or not, however cut.

The processes are spawned and have their own random state; after each run their hashes of the weights are compared.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.training.ppo.runs import saved_reward_model, settings
from tests.training.run.test_killed_runs import metrics, reported
from training.contract.recipes import make_config

TOLERANCE = 2e-4  # of weights that moved by some hundredths; sums are taken in another order


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return all checkpoints' weights."""
    return {
        f"{path.parent.name} {name}": tensor
        for path in (folder / "checkpoints").glob("*/model.safetensors")
        for name, tensor in load_file(path).items()
    }


def assert_same_run(one: Path, other: Path) -> None:
    """Assert the same numbers at every step and the same weights at the end."""
    expected, found = metrics(one), metrics(other)
    for values in (*expected.values(), *found.values()):
        values.pop("ppo/sqrt_kl", None)  # of a KL near 0 it is rounding alone
    for values in (expected[1], found[1]):
        values.pop("dpo/accuracy", None)  # the policy is still its reference: rounding alone orders the scores
    assert expected.keys() == found.keys() and len(expected) >= 3
    for step in expected:
        assert found[step] == pytest.approx(expected[step], rel=1e-3, abs=1e-4), step
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(theirs[name], ours[name], rtol=0, atol=TOLERANCE, msg=name)


ADAPTERS = {"lora_rank": 2, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def runs(workers, miniature, tmp_path_factory):
    """Return (verb, what is trained) -> (its keys, the folder of its run in one process)."""
    common = {"init_from": miniature / "base", "epochs": 1, "adam_epsilon": 1e-6, "batch_size": 7}
    keys = {
        "train_sft": {"recipe": "miniature_sft", "data": miniature / "sft", "pretraining_share": 0.2, **common},
        "train_reward_model": {"recipe": "miniature_reward_model", "data": miniature / "rm", **common},
        "train_dpo": {"recipe": "miniature_dpo", "data": miniature / "rm", **common},
    }
    folder = tmp_path_factory.mktemp("one_process")
    made = {}
    for verb, of_verb in keys.items():
        for trained, more in (("weights", {}), ("adapters", ADAPTERS)):
            values = {**of_verb, **more}
            made[verb, trained] = values, workers.run(verb, values, folder / verb / trained)
    return made


@pytest.mark.parametrize(("processes", "sharded"), [(2, False), (3, False), (2, True)])
@pytest.mark.parametrize("trained", ["weights", "adapters"])
@pytest.mark.parametrize("verb", ["train_sft", "train_reward_model", "train_dpo"])
def test_several_processes_compute_what_one_does(workers, runs, tmp_path, verb, trained, processes, sharded):
    keys, one = runs[verb, trained]
    cut = {"sharded": sharded, "micro_batch_tokens": 700}  # several micro-batches a step, unlike in one process
    assert_same_run(one, workers.run(verb, {**keys, **cut}, tmp_path / "run", processes))
    states = [torch.load(folder / "state" / "state.pt", weights_only=True) for folder in (one, tmp_path / "run")]
    assert states[0]["begun_from"] == states[1]["begun_from"]


@pytest.mark.parametrize("sharded", [False, True])
def test_two_processes_choose_the_epoch_that_one_does(workers, miniature, tmp_path, sharded):
    reward_model = saved_reward_model(miniature, tmp_path / "reward_model", low=None)
    keys = {
        "recipe": "miniature_sft", "data": miniature / "sft", "init_from": miniature / "base", "epochs": 4,
        "learning_rate": 2e-3, "adam_epsilon": 1e-6, "reward_model": reward_model, "completions_per_prompt": 2,
    }  # fmt: skip
    one = workers.run("train_sft", keys, tmp_path / "one")
    cut = {"sharded": sharded, "micro_batch_tokens": 700}
    two = workers.run("train_sft", {**keys, **cut}, tmp_path / "two", processes=2, stop_at=7)
    assert_same_run(one, workers.run("train_sft", {**keys, **cut}, two, processes=2))
    ours, theirs = (json.loads((folder / "report.json").read_text()) for folder in (one, two))
    assert ours["best_step_by"] == theirs["best_step_by"] and len(theirs["epochs"]) == 4
    for expected, found in zip(ours["epochs"], theirs["epochs"], strict=True):
        assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("kept", [{"lora_rank": 2}, {"bfloat16_weights": True}])
def test_a_reward_model_in_bfloat16_is_trained_sharded_stopped_and_resumed(workers, runs, tmp_path, kept):
    keys = {**runs["train_reward_model", "weights"][0], "gradient_checkpointing": True, "dtype": "bfloat16", **kept}
    one = workers.run("train_reward_model", keys, tmp_path / "one")
    two = workers.run("train_reward_model", {**keys, "sharded": True}, tmp_path / "two", processes=2, stop_at=2)
    workers.run("train_reward_model", {**keys, "sharded": True}, two, processes=2)
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
def test_adapters_train_and_are_merged_into_what_is_saved(runs, verb):
    keys, adapted = runs[verb, "adapters"]
    before = load_file(keys["init_from"] / "model.safetensors")
    after = {name.split()[1]: tensor for name, tensor in weights(adapted).items()}
    assert before.keys() == after.keys()
    assert torch.equal(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])
    change = after["model.layers.0.mlp.up_proj.weight"] - before["model.layers.0.mlp.up_proj.weight"]
    assert torch.linalg.matrix_rank(change, rtol=1e-3) == 2
    losses = [values[f"{verb[6:]}/loss"] for values in metrics(adapted).values()]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_a_sharded_run_is_resumed_by_any_number_of_processes(workers, runs, tmp_path, processes):
    keys, one = runs["train_reward_model", "weights"]
    folder = tmp_path / "run"
    workers.run("train_reward_model", {**keys, "sharded": True}, folder, processes=2, stop_at=2)
    state = torch.load(folder / "state" / "state.pt", weights_only=True)
    assert state["step"] == 2 and {f"reward_model {name}" for name in state["model"]} == weights(one).keys()
    assert_same_run(one, workers.run("train_reward_model", {**keys, "sharded": True}, folder, processes))


@pytest.fixture(scope="module")
def ppo(workers, miniature, tmp_path_factory):
    """Return what is trained -> (keys, one-process run folder) of PPO-ptx with a critic, of some optimizer steps."""
    folder = tmp_path_factory.mktemp("ppo")
    reward_model = saved_reward_model(miniature, folder / "reward_model", low=0.6)
    keys = settings(
        miniature, reward_model, iterations=3, value_warmup_iterations=1, adam_epsilon=1e-4,
        policy_learning_rate=1e-3, stop_at_kl_nats=None, kl_target_nats=0.5,
    )  # fmt: skip
    adapted = {**keys, "lora_rank": 2, "policy_learning_rate": 1e-2, "gradient_checkpointing": True}
    return {
        name: (values, workers.run("train_ppo", values, folder / name))
        for name, values in {"weights": keys, "adapters": adapted}.items()
    }


@pytest.mark.parametrize(
    ("trained", "processes", "sharded"),
    [("weights", 2, False), ("weights", 2, True), ("adapters", 2, False), ("adapters", 3, False)],
)
def test_several_processes_sample_and_learn_what_one_does(workers, ppo, tmp_path, trained, processes, sharded):
    keys, one = ppo[trained]
    cut = {"sharded": sharded, "micro_batch_tokens": 100}
    assert_same_run(one, workers.run("train_ppo", {**keys, **cut}, tmp_path, processes))


def test_with_adapters_ppo_has_its_reference_in_the_policy_itself(workers, ppo, tmp_path):
    keys, one = ppo["adapters"]
    first = metrics(one)[1]
    assert first["ppo/kl_nats"] == pytest.approx(0, abs=1e-5) and first["ppo/first_minibatch_ratio"] == pytest.approx(1)
    assert abs(metrics(one)[3]["ppo/kl_nats"]) > 1e-6
    stopped = workers.run("train_ppo", {**keys, "sharded": True}, tmp_path / "two", processes=2, stop_at=2)
    state = torch.load(stopped / "state" / "state.pt", weights_only=True)["learner"]
    for name in ("policy", "averaged", "critic"):
        assert state[name] and all("lora" in key or key.startswith("head.") for key in state[name]), name
    assert_same_run(one, workers.run("train_ppo", {**keys, "sharded": True}, stopped, processes=2))
    before = load_file(keys["init_from"] / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    for name in ("policy", "policy_ema"):
        change = weights(one)[f"{name} model.layers.0.mlp.up_proj.weight"] - before
        assert torch.linalg.matrix_rank(change, rtol=1e-2) == 2, name


def keys_of(verb: str, runs: dict, ppo: dict, trained: str) -> dict:
    return (ppo[trained] if verb == "train_ppo" else runs[verb, trained])[0]


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("verb", ["train_sft", "train_reward_model", "train_dpo", "train_ppo"])
def test_a_process_with_another_network_ends_the_run_before_it_trains(workers, runs, ppo, tmp_path, verb, sharded):
    keys = {**keys_of(verb, runs, ppo, "weights"), "sharded": sharded}
    other = shutil.copytree(keys["init_from"], tmp_path / "other")
    tensors = load_file(other / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"][0, 0] += 1e-6
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    assert_refused("at the start", workers.outcomes(verb, keys, tmp_path / "run", [{}, {"init_from": other}]))
    assert not metrics(tmp_path / "run") and not list((tmp_path / "run" / "state").iterdir())


@pytest.mark.parametrize(
    ("verb", "sharded"), [("train_reward_model", False), ("train_ppo", False), ("train_ppo", True)]
)
def test_adapters_of_another_seed_end_the_run_before_it_trains(workers, runs, ppo, tmp_path, verb, sharded):
    keys = {**keys_of(verb, runs, ppo, "adapters"), "sharded": sharded}
    assert_refused("at the start", workers.outcomes(verb, keys, tmp_path, [{}, {"seed": 1}]))
    assert not metrics(tmp_path) and not list((tmp_path / "state").iterdir())


@pytest.mark.parametrize(("verb", "key"), [("train_sft", "learning_rate"), ("train_ppo", "value_learning_rate")])
def test_networks_that_drift_apart_are_not_saved(workers, runs, ppo, tmp_path, verb, key):
    keys = keys_of(verb, runs, ppo, "weights")
    assert_refused("at the end", workers.outcomes(verb, keys, tmp_path, [{}, {key: 2e-3}]))
    assert not list((tmp_path / "checkpoints").iterdir())


def assert_refused(when: str, outcomes: list) -> None:
    for outcome in outcomes:
        assert f"the processes hold different networks {when}; a random number was drawn" in outcome.error


def test_under_torchrun_adapters_of_ppo_end_where_one_process_does_though_killed(workers, ppo, tmp_path):
    keys, _ = ppo["adapters"]
    keys = {**keys, "iterations": 8, "save_every_iterations": 1}
    folder = tmp_path / "two"
    (tmp_path / "config.json").write_text(make_config("train_ppo", keys).model_dump_json())
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "training.train_ppo", tmp_path / "config.json", "--run-folder", folder]
    process = subprocess.Popen(command)
    while process.poll() is None and not (folder / "state" / "state.pt").exists():
        time.sleep(0.01)
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        if str(folder).encode() in path.read_bytes().split(b"\0"):
            os.kill(int(path.parent.name), signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    subprocess.run([*command, "--resume"], check=True)
    starts = [event.resumed_from_step for event in reported(folder) if event.kind == "started"]
    assert len(starts) == 2 and 0 < starts[1] < 8
    assert_same_run(workers.run("train_ppo", keys, tmp_path / "one"), folder)
