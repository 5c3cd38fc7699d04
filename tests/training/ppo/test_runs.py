"""PPO's loop on an untrained miniature network: what it saves, reports and refuses."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.training.ppo.runs import saved_reward_model, settings, trained
from training.contract.configs import PPOConfig
from training.contract.recipes import make_config
from training.contract.records import PROMPTS, PromptRecord, read
from training.reward.model import new_reward_model, save_reward_model
from training.train_ppo import clearly_better


@pytest.mark.parametrize("advantage", [{}, {"advantage": "rloo", "samples_per_prompt": 4}], ids=["gae", "rloo"])
def test_the_score_climbs(miniature, reward_model, tmp_path, advantage):
    values = {"iterations": 20, "batch_size": 32, "minibatch_size": 16, "gamma": 0.0, "beta": 0.0, **advantage}
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
    samples = [(event.step, event.source) for event in happened if event.kind == "sample"]
    ends = [(3, name) for name in ("start", "policy", "policy_ema") for _ in range(3)]
    assert samples == [(0, "")] * 3 + [(2, "")] * 3 + ends
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
    assert any("not clearly better than a coin toss" in event.message for event in happened if event.kind == "warning")
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
    for values, message in (
        ({"minibatch_size": 3}, "minibatch_size: 8 episodes are not a multiple of 3"),
        ({"samples_per_prompt": 3}, "samples_per_prompt: 8 episodes are not a multiple of 3"),
        ({"advantage": "rloo"}, "samples_per_prompt: advantage = rloo compares a prompt's episodes; set 2 or more"),
        ({"advantage": "rloo", "samples_per_prompt": 2, "value_warmup_iterations": 1}, "has no critic to warm up"),
    ):
        with pytest.raises(ValueError, match=message):
            make_config("train_ppo", settings(miniature, reward_model, **values))


def test_each_prompt_has_as_many_episodes_as_asked(miniature, reward_model, tmp_path):
    several = {"samples_per_prompt": 4, "sample_every_iterations": 1, "batch_size": 8, "minibatch_size": 8}
    happened = trained(tmp_path, miniature, reward_model, iterations=2, **several)
    samples = [event for event in happened if event.kind == "sample" and event.step < 2]
    assert len(samples) == len({(event.step, event.prompt) for event in samples}) == 4  # two prompts in each iteration


def test_raw_weights_are_chosen_only_where_they_score_clearly_better():
    averaged = torch.tensor([0.0, 1.0, 2.0, 3.0])
    assert not clearly_better(averaged + torch.tensor([1.0, -0.9, 1.0, -0.9]), averaged)
    assert not clearly_better(averaged - 1, averaged)
    assert clearly_better(averaged + torch.tensor([1.0, 0.9, 1.1, -0.1]), averaged)


def test_the_episodes_of_one_prompt_do_not_make_it_clearer_which_weights_are_better():
    scores = torch.tensor([1.0, -0.5, 0.8]).repeat(50)
    assert clearly_better(scores, torch.zeros(150))
    assert not clearly_better(scores, torch.zeros(150), ["a", "b", "c"] * 50)
    assert not clearly_better(torch.ones(50), torch.zeros(50), ["a"] * 50)
    assert clearly_better(torch.ones(50), torch.zeros(50), ["a", "b"] * 25)


def test_what_networks_are_chosen_by_has_its_interval_by_prompt(miniature, reward_model, tmp_path):
    happened = trained(tmp_path, miniature, reward_model, iterations=1, judge="miniature", evaluation_episodes=64)
    validation = {r.prompt for r in read(miniature / "ppo" / PROMPTS, PromptRecord) if r.split == "validation"}
    assert len(validation) == 2  # each is sampled 32 times
    for name in ("start", "policy", "policy_ema"):
        measured = {key.removeprefix("evaluation/"): value for key, value in happened[-1].result[name].items()}
        assert (measured["episodes"], measured["prompts"]) == (64, len(validation))
        for figure in ("score", "kl_nats", "eos_rate", "judge_utility", "judge_solved"):
            assert measured[f"{figure}_low"] <= measured[figure] <= measured[f"{figure}_high"], figure
        assert measured["judge_solved_high"] - measured["judge_solved_low"] > 0.7  # two prompts are two observations
    (saved,) = [event for event in happened if event.kind == "checkpoint" and event.chosen]
    assert "evaluation/score_low" in saved.metrics


def test_recipes_are_the_papers():
    paper = PPOConfig()
    assert paper.iterations * paper.batch_size == 256_000
    assert paper.batch_size // paper.minibatch_size == 8 and paper.epochs == 1
    assert (paper.beta, paper.clip_ratio, paper.ema_decay, paper.temperature) == (0.02, 0.2, 0.992, 1.0)
    assert paper.minibatch_size * paper.pretraining_ratio == 512
    updates = paper.iterations * paper.batch_size // paper.minibatch_size
    assert updates == 4_000 and updates * paper.minibatch_size * paper.pretraining_ratio == 2_048_000
