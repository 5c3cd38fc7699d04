"""PPO's updates: how many there are, what they change, and what each part of the loss adds."""

from pathlib import Path

import pytest
import torch

from tests.training.ppo.runs import settings, trained
from training.contract.recipes import make_config
from training.ppo import math as ppo_math
from training.ppo.data import Pretraining, endless_shuffle
from training.ppo.learner import new_learner
from training.ppo.networks import Networks
from training.ppo.rollout import roll_out
from training.ppo.update import update
from training.ppo.value_model import ValueModel
from training.reward.model import load_reward_model
from training.text.logprobs import selected_logprobs
from training.text.policy import forbidden_token_ids, load_policy


def learning(miniature: Path, reward_model: Path, **values):
    """Return (learner, episodes, pretraining, config), ready for one update."""
    config = make_config("train_ppo", settings(miniature, reward_model, **values))
    reference, tokenizer = load_policy(miniature / "base")
    policy, _ = load_policy(miniature / "base")
    scorer, _, _ = load_reward_model(reward_model)
    critic = ValueModel(scorer) if config.advantage == "gae" else None
    networks = Networks(policy, reference, scorer, critic, tokenizer)
    places = [i // config.samples_per_prompt for i in range(config.batch_size)]
    prompts = [[3, 10 + i, 20 + i] + [30] * (i % 4) for i in places]
    episodes = roll_out(prompts, networks, config, torch.Generator().manual_seed(1))
    text = Pretraining(["a cat sat on a mat.", "the dog ran.", "one two three four five."], tokenizer, 64)
    return new_learner(networks, config), episodes, text if config.gamma else None, config


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
        ends.append((learner.networks.policy.state_dict(), learner.networks.critic.state_dict()))
    for networks in zip(*ends, strict=True):
        for name, weight in networks[0].items():
            for other in networks[1:]:
                # Adam turns a rounding error of a gradient near 0 into a share of its step, lr 3e-4 in this iteration.
                torch.testing.assert_close(other[name], weight, rtol=0, atol=2e-5)


def test_first_minibatch_has_ratio_one_and_kl_zero(miniature, reward_model):
    learner, episodes, *rest = learning(miniature, reward_model)
    assert episodes.kl_nats.abs().max() < 1e-4
    numbers = update(learner, episodes, *rest)
    assert numbers["first_minibatch_ratio"] == pytest.approx(1.0, abs=1e-5)
    assert numbers["sampler_difference_nats"] < 1e-5
    episodes.logprobs[0, 0] += 0.5  # a sampler that is off by half a nat at one token
    assert update(learner, episodes, *rest)["sampler_difference_nats"] > 0.4


def test_where_one_minibatch_is_the_batch_nothing_is_clipped_and_the_loss_is_minus_the_mean_whitened_advantage(
    miniature, reward_model
):
    numbers = update(*learning(miniature, reward_model, minibatch_size=8))
    for name in ("approximate_kl", "clip_fraction", "value_clip_fraction", "policy_loss"):
        assert numbers[name] == pytest.approx(0, abs=1e-6), name


def test_pretraining_adds_gamma_times_its_mean_cross_entropy_gradient(miniature, reward_model):
    one_step = {"minibatch_size": 8, "max_gradient_norm": None, "pretraining_ratio": 0.25}
    gradients = {}
    for gamma in (0.0, 0.7):
        learner, *rest = learning(miniature, reward_model, gamma=gamma, **one_step)
        update(learner, *rest)
        gradients[gamma] = {name: weight.grad for name, weight in learner.networks.policy.named_parameters()}
    _, _, pretraining, config = learning(miniature, reward_model, gamma=0.7, **one_step)
    policy, tokenizer = load_policy(miniature / "base")
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
    start = {name: weight.clone() for name, weight in learner.networks.policy.named_parameters()}
    update(learner, *rest)
    for name, average in learner.networks.averaged.named_parameters():
        now = dict(learner.networks.policy.named_parameters())[name]
        torch.testing.assert_close(average, 0.75 * start[name] + 0.25 * now)


def test_after_n_updates_the_averages_hold_decay_to_the_n_of_the_start(miniature, reward_model):
    learner, *rest = learning(miniature, reward_model, policy_learning_rate=1e-30, gamma=0.0)
    start = learner.networks.policy.get_input_embeddings().weight.clone()
    learner.networks.policy.get_input_embeddings().weight.data += 1
    for _ in range(5):
        update(learner, *rest)
    left = start + 1 - learner.networks.averaged.get_input_embeddings().weight
    assert rest[-1].ema_decay == 0.97
    torch.testing.assert_close(left, torch.full_like(left, 0.97**5), rtol=1e-4, atol=1e-5)
    assert pytest.approx(0.018, abs=1e-4) == 0.992**500  # of the paper's run


def test_in_value_warm_up_only_the_critic_learns(miniature, reward_model):
    learner, *rest = learning(miniature, reward_model, value_warmup_iterations=1)
    networks = (learner.networks.policy, learner.networks.critic)
    policy, critic = ({n: w.clone() for n, w in network.state_dict().items()} for network in networks)
    update(learner, *rest)
    assert all(torch.equal(weight, policy[name]) for name, weight in networks[0].state_dict().items())
    assert not all(torch.equal(weight, critic[name]) for name, weight in networks[1].state_dict().items())
    update(learner, *rest)
    assert not all(torch.equal(weight, policy[name]) for name, weight in networks[0].state_dict().items())


def test_beta_adapts_towards_the_kl_target(miniature, reward_model):
    learner, *rest = learning(miniature, reward_model, beta=0.05, kl_target_nats=1.0, kl_horizon=80)
    update(learner, *rest)
    assert learner.beta == pytest.approx(ppo_math.adapted_kl_coefficient(0.05, 0.0, 1.0, 8, 80), abs=1e-6)


def test_endless_places_are_permutations_one_after_another():
    places = endless_shuffle("x", 5, 0, 15)
    assert [sorted(places[start : start + 5]) for start in (0, 5, 10)] == [[0, 1, 2, 3, 4]] * 3
    assert [endless_shuffle("x", 5, start, 4) for start in (0, 4, 8)] == [places[0:4], places[4:8], places[8:12]]
    assert endless_shuffle("y", 5, 0, 15) != places
