"""A run's bits follow from its config, in any process, after kill -9 at a random step and a stop at another.

Every run is in a spawned process with its own random state.
"""

import random
import shutil
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.training.ppo.runs import saved_reward_model, settings
from tests.training.processes import Job, Workers
from training.contract import events
from training.contract.recipes import make_config
from training.contract.records import SAMPLED_COMPLETIONS

ADAPTIVE = {"iterations": 16, "save_every_iterations": 3, "epochs": 2, "kl_target_nats": 0.5, "stop_at_kl_nats": None}
RLOO = {"advantage": "rloo", "samples_per_prompt": 4}


def configs(miniature: Path, folder: Path) -> dict[str, tuple[str, dict]]:
    """Return name -> (verb, keys), each of some twenty steps, with everything random that can be."""
    reward_model = saved_reward_model(miniature, folder / "reward_model", low=0.6)
    often = {"init_from": miniature / "base", "save_every_seconds": 0}
    sft = {"recipe": "miniature_sft", "data": miniature / "sft", "epochs": 4, "batch_size": 5, "dropout": 0.1}
    rm = {"recipe": "miniature_reward_model", "data": miniature / "rm", "epochs": 3}
    return {
        "sft": ("train_sft", {**sft, "pretraining_share": 0.2, **often}),
        "sft, by score": ("train_sft", {**sft, "reward_model": reward_model, "completions_per_prompt": 2, **often}),
        "reward model": ("train_reward_model", {**rm, **often}),
        "dpo": ("train_dpo", {**rm, "recipe": "miniature_dpo", "batch_size": 4, **often}),
        "ppo": ("train_ppo", settings(miniature, reward_model, value_warmup_iterations=1, **ADAPTIVE)),
        "ppo, adapters": (
            "train_ppo",
            settings(miniature, reward_model, value_warmup_iterations=1, lora_rank=2, **ADAPTIVE),
        ),
        "rloo": ("train_ppo", settings(miniature, reward_model, **ADAPTIVE, **RLOO)),
    }


def kill_at(step: int, workers: Workers, job: Job) -> None:
    """Start the run, and kill -9 once it reports the step."""
    worker = workers.start(job)
    while not worker.pipe.poll() and not any(e.kind == "progress" and e.step >= step for e in reported(job.folder)):
        time.sleep(0.005)
    workers.kill(worker)


def reported(folder: Path) -> list:
    path = folder / "events.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [events.parse(line) for line in lines if line.endswith("\n")]


def metrics(folder: Path) -> dict[int, dict[str, float]]:
    """Return what each step last reported, without its wall time."""
    return {
        event.step: {name: value for name, value in event.values.items() if name != "ppo/seconds"}
        for event in reported(folder)
        if event.kind == "metrics"
    }


def same_bits(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_bits(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same_bits, one, other))
    return one == other


@pytest.mark.parametrize("name", ["sft", "sft, by score", "reward model", "dpo", "ppo", "ppo, adapters", "rloo"])
def test_a_run_killed_at_a_random_step_and_resumed_ends_with_the_same_bits(name, workers, miniature, tmp_path):
    verb, keys = configs(miniature, tmp_path)[name]
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    killed, stopped = random.randint(2, 6), random.randint(8, 12)
    never_broken = workers.start(Job(verb, keys, unbroken))
    kill_at(killed, workers, Job(verb, keys, broken))
    assert workers.finish(never_broken).code == 0
    stops = workers.start(Job(verb, keys, broken, stop_at=stopped))
    workers.hire()  # a process that has run nothing yet resumes it
    assert workers.finish(stops).code == 143
    workers.run(verb, keys, broken)

    starts = [event.resumed_from_step for event in reported(broken) if event.kind == "started"]
    assert starts[0] == 0 and starts[2] >= stopped, (killed, starts)
    if verb != "train_ppo":  # PPO's state is three iterations apart: it may have been killed before its first
        assert starts[1] >= killed - 1
    # Weights, both optimizers' moments, averaged weights, random state, place in the data, KL coefficient, hashes.
    ours, theirs = (torch.load(folder / "state" / "state.pt", weights_only=True) for folder in (broken, unbroken))
    assert same_bits(ours, theirs)
    assert metrics(broken) == metrics(unbroken)
    for path in (*unbroken.glob("report.json"), *(unbroken / "checkpoints").rglob("*.safetensors")):
        assert (broken / path.relative_to(unbroken)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("name", "key", "more"),
    [
        ("sft", "init_from", {"lora_rank": 2}),
        ("reward model", "init_from", {}),
        ("dpo", "init_from", {}),
        ("ppo", "init_from", {}),
        ("ppo", "continue_from", {"lora_rank": 2}),
    ],
)
def test_a_run_does_not_go_on_from_another_network(name, key, more, workers, miniature, tmp_path):
    """The state of an adapted network has only its adapters; the reference of DPO and PPO is the initial network."""
    verb, keys = configs(miniature, tmp_path)[name]
    keys = {**keys, **more, key: shutil.copytree(miniature / "base", tmp_path / "network")}
    workers.run(verb, keys, tmp_path / "run", stop_at=3)
    weights = load_file(tmp_path / "network" / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] += 0.01
    save_file(weights, tmp_path / "network" / "model.safetensors", {"format": "pt"})
    (outcome,) = workers.outcomes(verb, keys, tmp_path / "run", [{}])
    assert "network: the network changed since the run began; start a new run" in outcome.error


def test_what_ppo_resumes_from_holds_all_that_changes_while_it_runs(workers, miniature, tmp_path):
    verb, keys = configs(miniature, tmp_path)["ppo"]
    workers.run(verb, {**keys, "iterations": 4}, tmp_path / "run")
    state = torch.load(tmp_path / "run" / "state" / "state.pt", weights_only=True)
    assert {"learner", "reference", "reward_model"} == set(state)
    learner = state["learner"]
    assert {"policy", "averaged", "critic", "policy_optimizer", "value_optimizer"} < set(learner)
    assert learner["iteration"] == 4 and learner["beta"] != make_config(verb, keys).beta
    for optimizer in ("policy_optimizer", "value_optimizer"):
        assert all(moments["exp_avg"].any() for moments in learner[optimizer]["state"].values())
    assert len(state["reference"]) == len(state["reward_model"]) == 64


@pytest.mark.parametrize("name", ["base", "sft, adapters", "reward model", "dpo", "ppo, adapters", "samples", "folds"])
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(name, workers, miniature, labelers_data, tmp_path):
    """Whatever is drawn without the seed, or follows the order of a set, differs between processes."""
    known = configs(miniature, tmp_path)
    small = {"corpus_words": 2000, "vocab_size": 320, "hidden_size": 32, "intermediate_size": 64, "layers": 1}
    known["base"] = ("train_base", {"recipe": "miniature_base", "heads": 2, **small})
    known["sft, adapters"] = ("train_sft", {**known["sft"][1], "lora_rank": 2})
    paths = {"init_from": miniature / "base", "data": miniature / "ppo"}
    known["samples"] = ("sample_completions", {"recipe": "miniature_sample", "completions_per_prompt": 3, **paths})
    folds = {"recipe": "miniature_cross_validate", "folds": 2, "seeds": 1, "epochs": 1}
    known["folds"] = ("cross_validate", {**folds, **paths, "data": labelers_data})
    verb, keys = known[name]
    keys = {**keys, **{key: value for key, value in {"epochs": 1, "iterations": 3}.items() if key in keys}}
    results = []
    for seeds in ((0, 0), (1,)):
        jobs = [Job(verb, {**keys, "seed": seed}, tmp_path / f"{seed} {i}") for i, seed in enumerate(seeds)]
        for job, worker in [(job, workers.start(job)) for job in jobs]:
            outcome = workers.finish(worker)
            assert outcome.code == 0, outcome.error
            results.append(written(job.folder))
    assert results[0] == results[1] and results[0]
    assert results[0] != results[2]


def written(folder: Path) -> dict[str, bytes]:
    """Return what a run writes: all weights, completions and reports."""
    paths = [folder / SAMPLED_COMPLETIONS, *folder.rglob("report.json"), *folder.rglob("checkpoints/**/*.safetensors")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.exists()}
