"""PPO's loop on an untrained miniature network: what it steps, saves and refuses; resuming to the same bits."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from training import events, rl_math
from training.policy import forbidden_token_ids, load_policy, selected_logprobs
from training.ppo_learner import Pretraining, endless, new_learner, update
from training.recipes import PPOConfig, make_config
from training.reward_model import load_reward_model, new_reward_model, save_reward_model
from training.rollout import roll_out
from training.run_folder import RunFolder
from training.train_ppo import alarms, clearly_better, run
from training.value_model import ValueModel

SMALL = {
    "recipe": "miniature_ppo_ptx", "iterations": 3, "batch_size": 8, "minibatch_size": 4, "max_completion_tokens": 6,
    "evaluation_episodes": 8, "policy_learning_rate": 3e-3, "sample_every_iterations": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def reward_model(miniature, tmp_path_factory) -> Path:
    """A random reward model that claims to be a good one."""
    return saved_reward_model(miniature, tmp_path_factory.mktemp("reward_model"), low=0.6)


def saved_reward_model(miniature: Path, folder: Path, low: float | None) -> Path:
    torch.manual_seed(2)
    model, tokenizer = new_reward_model(miniature / "base")
    model.config.score_offset = 0.25
    if low is not None:
        accuracy = {
            "accuracy/validation": low + 0.05,
            "accuracy/validation_low": low,
            "accuracy/validation_high": low + 0.1,
        }
        model.config.reward_metrics = accuracy
    save_reward_model(model, tokenizer, folder)
    return folder


def settings(miniature: Path, reward_model: Path, **values) -> dict:
    paths = {"data": miniature / "ppo", "init_from": miniature / "base", "reward_model": reward_model}
    return {**SMALL, **paths, **values}


def trained(folder: Path, miniature: Path, reward_model: Path, **values) -> list:
    """Run in this process; returns what was reported."""
    with RunFolder(folder) as run_folder:
        run(make_config("train_ppo", settings(miniature, reward_model, **values)), run_folder)
    return reported(folder)


def reported(folder: Path) -> list:
    path = folder / "events.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [events.parse(line) for line in lines if line.endswith("\n")]


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoints" / name / "model.safetensors")


def learning(miniature: Path, reward_model: Path, **values):
    """(learner, episodes, pretraining, tokenizer, config) ready for one update."""
    config = make_config("train_ppo", settings(miniature, reward_model, **values))
    reference, tokenizer = load_policy(miniature / "base")
    policy, _ = load_policy(miniature / "base")
    scorer, _, _ = load_reward_model(reward_model)
    learner = new_learner(policy, ValueModel(scorer), config)
    prompts = [[3, 10 + i, 20 + i] + [30] * (i % 4) for i in range(config.batch_size)]
    episodes = roll_out(
        prompts, policy, reference, scorer, learner.critic, tokenizer, config, torch.Generator().manual_seed(1)
    )
    text = Pretraining(["a cat sat on a mat.", "the dog ran.", "one two three four five."], tokenizer, 64)
    return learner, episodes, text if config.gamma else None, tokenizer, config


@pytest.mark.parametrize(("epochs", "batch", "minibatch"), [(1, 8, 8), (1, 8, 2), (3, 8, 4), (2, 4, 1)])
def test_optimizer_steps_are_iterations_times_epochs_times_minibatches(
    miniature, reward_model, tmp_path, epochs, batch, minibatch
):
    sizes = {"iterations": 2, "epochs": epochs, "batch_size": batch, "minibatch_size": minibatch}
    result = trained(tmp_path, miniature, reward_model, **sizes)[-1].result
    assert result["optimizer_steps"] == 2 * epochs * (batch // minibatch)
    state = torch.load(tmp_path / "state" / "state.pt", weights_only=True)["learner"]
    for optimizer in ("policy_optimizer", "value_optimizer"):
        steps = {float(moments["step"]) for moments in state[optimizer]["state"].values()}
        assert steps == {float(result["optimizer_steps"])}


@pytest.mark.parametrize("gamma", [0.0, 0.3])
def test_micro_batches_change_memory_and_not_the_weights(miniature, reward_model, gamma):
    ends = []
    for tokens in (1, 40, 100_000):
        learner, *rest = learning(miniature, reward_model, gamma=gamma, micro_batch_tokens=tokens)
        update(learner, *rest)
        ends.append((learner.policy.state_dict(), learner.critic.state_dict()))
    for networks in zip(*ends, strict=True):
        for name, weight in networks[0].items():
            for other in networks[1:]:
                # Adam turns a rounding error of a gradient near 0 into a share of its step, lr 3e-4 in this iteration.
                torch.testing.assert_close(other[name], weight, rtol=0, atol=2e-5)


def test_first_minibatch_has_ratio_one_and_kl_zero(miniature, reward_model):
    learner, episodes, pretraining, tokenizer, config = learning(miniature, reward_model)
    assert episodes.kl_nats.abs().max() < 1e-4
    numbers = update(learner, episodes, pretraining, tokenizer, config)
    assert numbers["first_minibatch_ratio"] == pytest.approx(1.0, abs=1e-5)


def test_pretraining_adds_gamma_times_its_mean_cross_entropy_gradient(miniature, reward_model):
    one_step = {"minibatch_size": 8, "max_gradient_norm": None, "pretraining_ratio": 0.25}
    gradients = {}
    for gamma in (0.0, 0.7):
        learner, *rest = learning(miniature, reward_model, gamma=gamma, **one_step)
        update(learner, *rest)
        gradients[gamma] = {name: weight.grad for name, weight in learner.policy.named_parameters()}
    _, _, pretraining, tokenizer, config = learning(miniature, reward_model, gamma=0.7, **one_step)
    policy, _ = load_policy(miniature / "base")
    forbidden = forbidden_token_ids(policy, tokenizer)
    total, count = 0.0, 0
    sequences = pretraining.sequences(config, step=0)
    assert len(sequences) == 2
    for ids in sequences:
        row = torch.tensor([ids])
        selected = torch.arange(len(ids))[None] > 0
        total = total - selected_logprobs(policy, row, selected, forbidden, torch.ones_like(row)).sum()
        count += len(ids) - 1
    (0.7 * total / count).backward()
    for name, weight in policy.named_parameters():
        torch.testing.assert_close(gradients[0.7][name] - gradients[0.0][name], weight.grad, rtol=1e-3, atol=1e-5)


def test_averaged_weights_keep_the_decays_share_of_the_start(miniature, reward_model):
    learner, *rest = learning(miniature, reward_model, ema_decay=0.75)
    start = {name: weight.clone() for name, weight in learner.policy.named_parameters()}
    update(learner, *rest)
    for name, average in learner.averaged.named_parameters():
        now = dict(learner.policy.named_parameters())[name]
        torch.testing.assert_close(average, 0.75 * start[name] + 0.25 * now)


def test_in_value_warm_up_only_the_critic_learns(miniature, reward_model):
    learner, *rest = learning(miniature, reward_model, value_warmup_iterations=1)
    policy, critic = ({n: w.clone() for n, w in m.state_dict().items()} for m in (learner.policy, learner.critic))
    update(learner, *rest)
    assert all(torch.equal(weight, policy[name]) for name, weight in learner.policy.state_dict().items())
    assert not all(torch.equal(weight, critic[name]) for name, weight in learner.critic.state_dict().items())
    update(learner, *rest)
    assert not all(torch.equal(weight, policy[name]) for name, weight in learner.policy.state_dict().items())


def test_beta_adapts_towards_the_kl_target(miniature, reward_model):
    learner, *rest = learning(miniature, reward_model, beta=0.05, kl_target_nats=1.0, kl_horizon=80)
    update(learner, *rest)
    assert learner.beta == pytest.approx(rl_math.adapted_kl_coefficient(0.05, 0.0, 1.0, 8, 80), abs=1e-6)


def test_ppo_climbs_its_score(miniature, reward_model, tmp_path):
    values = {"iterations": 20, "batch_size": 32, "minibatch_size": 16, "gamma": 0.0, "beta": 0.0}
    free = {"missing_eos_penalty": 0.0, "stop_at_kl_nats": None, "policy_learning_rate": 3e-2}
    happened = trained(tmp_path, miniature, reward_model, **values, **free)
    scores = [event.values["ppo/score"] for event in happened if event.kind == "metrics"]
    assert sum(scores[-4:]) / 4 > sum(scores[:4]) / 4 + 0.6


def test_a_run_reports_what_it_did_and_saves_both_networks_one_of_them_chosen(miniature, reward_model, tmp_path):
    happened = trained(tmp_path, miniature, reward_model)
    assert happened[0].kind == "started" and happened[-1].kind == "finished"
    metrics = [event for event in happened if event.kind == "metrics"]
    assert [event.step for event in metrics] == [1, 2, 3]
    names = {
        "score", "reward", "kl_nats", "entropy_nats", "completion_tokens", "eos_rate", "clip_fraction", "ratio",
        "explained_variance", "pretraining_loss", "policy_loss", "value_loss", "learning_rate", "beta",
    }  # fmt: skip
    assert {f"ppo/{name}" for name in names} <= set(metrics[0].values)
    assert metrics[0].values["ppo/kl_nats"] == pytest.approx(0, abs=1e-4)
    assert metrics[0].values["ppo/learning_rate"] == pytest.approx(3e-4)
    assert [event.step for event in happened if event.kind == "sample"] == [0] * 3 + [2] * 3
    saved = {event.role: event for event in happened if event.kind == "checkpoint"}
    assert set(saved) == {"policy", "policy_ema"}
    assert [event.path for event in saved.values() if event.chosen] == [happened[-1].result["checkpoint"]]
    for event in saved.values():
        model = AutoModelForCausalLM.from_pretrained(tmp_path / event.path)
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / event.path)
        assert model.generate(**tokenizer("name two", return_tensors="pt"), max_new_tokens=2).shape[0] == 1


def test_a_run_ends_once_its_kl_is_above_the_limit(miniature, reward_model, tmp_path):
    happened = trained(tmp_path, miniature, reward_model, iterations=30, stop_at_kl_nats=0.05, gamma=0.0)
    result = happened[-1].result
    assert result["stopped_by_kl"] and result["iterations"] < 30
    kl = [event.values["ppo/kl_nats"] for event in happened if event.kind == "metrics"]
    assert kl[-1] > 0.05 >= max(kl[:-1])


def test_the_reference_stays_the_sft_network_where_a_policy_is_gone_on_from(miniature, reward_model, tmp_path):
    trained(tmp_path / "one", miniature, reward_model, gamma=0.0, stop_at_kl_nats=None)
    last = tmp_path / "one" / "checkpoints" / "policy"
    happened = trained(tmp_path / "two", miniature, reward_model, continue_from=last, iterations=1)
    first = next(event for event in happened if event.kind == "metrics")
    assert abs(first.values["ppo/kl_nats"]) > 1e-3
    assert happened[-1].result["start"]["evaluation/kl_nats"] == pytest.approx(0, abs=1e-4)


def test_a_reward_model_no_better_than_a_coin_is_refused(miniature, tmp_path):
    weak = saved_reward_model(miniature, tmp_path / "weak", low=0.49)
    with pytest.raises(
        ValueError, match=r"reward_model: .*54.0% \(95 % interval 49.0% to 59.0%\).*allow_weak_reward_model"
    ):
        trained(tmp_path / "refused", miniature, weak)
    happened = trained(tmp_path / "allowed", miniature, weak, iterations=1, allow_weak_reward_model=True)
    assert any("not clear of a coin's 50 %" in event.message for event in happened if event.kind == "warning")
    unmeasured = saved_reward_model(miniature, tmp_path / "unmeasured", low=None)
    happened = trained(tmp_path / "run", miniature, unmeasured, iterations=1)
    assert any("never measured" in event.message for event in happened if event.kind == "warning")


def test_a_reward_model_with_another_vocabulary_is_refused(miniature, networks, tmp_path):
    model, tokenizer = new_reward_model(networks["qwen2"])
    save_reward_model(model, tokenizer, tmp_path / "other")
    with pytest.raises(ValueError, match=r"its vocabulary .* is not that of"):
        trained(tmp_path / "run", miniature, tmp_path / "other")


def test_missing_inputs_are_named(miniature, reward_model, tmp_path):
    with pytest.raises(ValueError, match=r"pretraining_text: .*nowhere\.txt is no file"):
        trained(tmp_path, miniature, reward_model, pretraining_text=tmp_path / "nowhere.txt")
    with pytest.raises(ValueError, match="minibatch_size: 8 episodes are not a multiple of 3"):
        make_config("train_ppo", settings(miniature, reward_model, minibatch_size=3))


def test_raw_weights_are_chosen_only_where_they_score_clearly_better():
    averaged = torch.tensor([0.0, 1.0, 2.0, 3.0])
    assert not clearly_better(averaged + torch.tensor([1.0, -0.9, 1.0, -0.9]), averaged)
    assert not clearly_better(averaged - 1, averaged)
    assert clearly_better(averaged + torch.tensor([1.0, 0.9, 1.1, -0.1]), averaged)


def test_endless_places_are_permutations_one_after_another():
    places = endless("x", 5, 0, 15)
    assert [sorted(places[start : start + 5]) for start in (0, 5, 10)] == [[0, 1, 2, 3, 4]] * 3
    assert [endless("x", 5, start, 4) for start in (0, 4, 8)] == [places[0:4], places[4:8], places[8:12]]
    assert endless("y", 5, 0, 15) != places


CALM = {"kl_nats": 2.0, "eos_rate": 0.9, "entropy_nats": 1.0, "completion_tokens": 8.0, "ratio": 1.0}


@pytest.mark.parametrize(
    ("alarm", "numbers"),
    [
        ("kl", {"kl_nats": 60.0}),
        ("eos", {"eos_rate": 0.0}),
        ("entropy", {"entropy_nats": 0.05}),
        ("short", {"completion_tokens": 1.5}),
        ("long", {"completion_tokens": 40.0}),
        ("ratio", {"ratio": 3.0}),
        ("mismatch", {"first_minibatch_ratio": 1.1}),
    ],
)
def test_each_failure_shape_has_its_alarm(alarm, numbers):
    assert alarms(CALM, CALM) == {}
    assert list(alarms({**CALM, **numbers}, CALM)) == [alarm]


def process(folder: Path, config: Path, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "training.train_ppo", str(config), "--run-folder", str(folder), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def wait_for_step(child: subprocess.Popen, folder: Path, step: int) -> None:
    while child.poll() is None:
        if any(event.kind == "progress" and event.step >= step for event in reported(folder)):
            return
        time.sleep(0.02)


def finish(child: subprocess.Popen) -> None:
    errors = child.communicate(timeout=120)[1]
    assert child.returncode == 0, errors.decode()


def numbers_by_step(folder: Path) -> dict[int, dict[str, float]]:
    """The last report of each iteration, without its wall time."""
    return {
        event.step: {name: value for name, value in event.values.items() if name != "ppo/seconds"}
        for event in reported(folder)
        if event.kind == "metrics"
    }


def test_a_run_killed_or_stopped_and_resumed_ends_with_the_same_bits(miniature, reward_model, tmp_path):
    values = settings(
        miniature, reward_model, iterations=14, save_every_iterations=2, kl_target_nats=0.5, epochs=2,
        value_warmup_iterations=1, stop_at_kl_nats=None,
    )  # fmt: skip
    config = tmp_path / "config.json"
    config.write_text(json.dumps(values, default=str))
    finish(process(tmp_path / "unbroken", config))
    broken = tmp_path / "broken"

    child = process(broken, config)
    wait_for_step(child, broken, random.randint(3, 5))
    child.kill()
    child.communicate()
    child = process(broken, config, "--resume")
    wait_for_step(child, broken, random.randint(7, 10))
    child.send_signal(signal.SIGTERM)
    child.communicate()
    assert child.returncode == 143
    stopped_at = torch.load(broken / "state" / "state.pt", weights_only=True)["learner"]["iteration"]
    finish(process(broken, config, "--resume"))

    starts = [event.resumed_from_step for event in reported(broken) if event.kind == "started"]
    assert starts[0] == 0 and starts[1] in (2, 4, 6) and starts[2] == stopped_at >= 7
    for name in ("policy", "policy_ema"):
        ours, theirs = weights(broken, name), weights(tmp_path / "unbroken", name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert numbers_by_step(broken) == numbers_by_step(tmp_path / "unbroken")
    assert numbers_by_step(broken)[14]["ppo/beta"] != numbers_by_step(broken)[1]["ppo/beta"]


def test_a_run_does_not_go_on_from_another_reference(miniature, reward_model, tmp_path):
    config = make_config("train_ppo", settings(miniature, reward_model, save_every_iterations=1))
    with RunFolder(tmp_path / "run") as run_folder:
        run(config, run_folder)
        state = run_folder.load_state()
        state["reference"] = "of another network"
        run_folder.save_state(state)
        with pytest.raises(ValueError, match="base: the network changed since the run began"):
            run(config, run_folder)


def test_recipes_are_the_papers():
    paper = PPOConfig()
    assert paper.iterations * paper.batch_size == 256_000
    assert paper.batch_size // paper.minibatch_size == 8 and paper.epochs == 1
    assert (paper.beta, paper.clip_ratio, paper.ema_decay, paper.temperature) == (0.02, 0.2, 0.992, 1.0)
    assert paper.minibatch_size * paper.pretraining_ratio == 512
