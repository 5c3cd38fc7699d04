"""One update of PPO on real networks against loops over single, unpadded episodes in float64."""

import math

import pytest
import torch

from tests.training.ppo.test_updates import learning
from training.ppo.rollout import Episodes
from training.ppo.update import scores_of_endings, update

ONE_STEP = {"minibatch_size": 8, "max_gradient_norm": None, "pretraining_ratio": 0.5, "beta": 0.3}
LENGTHS = [1, 6, 3, 5, 6, 2, 4, 6]


def shortened(episodes: Episodes) -> Episodes:
    """Cut the episodes to lengths from one token to all."""
    keep = torch.arange(episodes.mask.shape[1]) < torch.tensor(LENGTHS)[:, None]
    episodes.mask &= keep
    completion = slice(-keep.shape[1], None)
    episodes.attention_mask[:, completion] *= keep
    for tensor in (episodes.logprobs, episodes.reference_logprobs, episodes.values):
        tensor *= keep
    episodes.finished[:] = torch.arange(8) % 3 > 0
    return episodes


def moved(miniature, reward_model, **values):
    """Make a float64 learner whose policy and critic have changed since its episodes were sampled."""
    learner, episodes, *rest = learning(miniature, reward_model, **{**ONE_STEP, **values})
    torch.manual_seed(5)
    learner.networks.averaged.double()
    for network in filter(None, (learner.networks.policy, learner.networks.critic)):
        network.double()
        for weight in network.parameters():
            weight.data += 0.02 * torch.randn_like(weight)
    episodes.reference_logprobs += 0.3 * torch.randn_like(episodes.reference_logprobs)
    return learner, shortened(episodes), *rest


def one_by_one(learner, episodes, pretraining, config) -> dict[str, torch.Tensor]:
    """Compute the losses of policy, critic and text and their reported numbers token by token, by definition."""
    forbidden = learner.networks.forbidden
    scores = scores_of_endings(episodes, config)
    tokens = []
    for row, length in enumerate(LENGTHS):
        start = episodes.input_ids.shape[1] - episodes.mask.shape[1]
        prompt = int(episodes.prompt_lengths[row])
        ids = episodes.input_ids[row, start - prompt : start + length]
        logits = learner.networks.policy(ids[None]).logits[0].double()
        logits[:, forbidden] = -math.inf
        new = logits.log_softmax(-1)
        seen = learner.networks.critic.body(ids[None]).last_hidden_state[0]
        value = [float(v) for v in episodes.values[row, :length]] + [0.0]
        kl = [float(episodes.logprobs[row, t] - episodes.reference_logprobs[row, t]) for t in range(length)]
        rewards = [-config.beta * nats for nats in kl]
        rewards[-1] += float(scores[row])
        delta = [rewards[t] + value[t + 1] - value[t] for t in range(length)]
        for t in range(length):
            advantage = sum(config.gae_lambda ** (s - t) * delta[s] for s in range(t, length))
            change = new[prompt + t - 1, ids[prompt + t]] - float(episodes.logprobs[row, t])
            now = learner.networks.critic.head(seen[prompt + t - 1])[0]
            tokens.append((advantage, change, now, value[t]))
    mean = sum(token[0] for token in tokens) / len(tokens)
    spread = math.sqrt(sum((token[0] - mean) ** 2 for token in tokens) / len(tokens) + 1e-8)
    names = ("policy_loss", "value_loss", "clip_fraction", "value_clip_fraction", "ratio", "approximate_kl")
    sums = dict.fromkeys(names, 0.0)
    for advantage, change, now, before in tokens:
        a, ratio = (advantage - mean) / spread, change.exp()
        plain, cut = -a * ratio, -a * ratio.clamp(1 - config.clip_ratio, 1 + config.clip_ratio)
        target, held = advantage + before, now.clamp(before - config.value_clip, before + config.value_clip)
        squares = (now - target) ** 2, (held - target) ** 2
        sums["policy_loss"] += torch.maximum(plain, cut)
        sums["value_loss"] += 0.5 * torch.maximum(*squares)
        sums["clip_fraction"] += float(cut > plain)
        sums["value_clip_fraction"] += float(squares[1] > squares[0])
        sums["ratio"] += ratio
        sums["approximate_kl"] += 0.5 * change**2
    found = {name: torch.as_tensor(value) / len(tokens) for name, value in sums.items()}
    if pretraining:
        nats, count = 0.0, 0
        for sequence in pretraining.sequences(config, learner.steps):
            logits = learner.networks.policy(torch.tensor([sequence])).logits[0].double()
            logits[:, forbidden] = -math.inf
            logprobs = logits.log_softmax(-1)
            nats = nats - sum(logprobs[i - 1, sequence[i]] for i in range(1, len(sequence)))
            count += len(sequence) - 1
        found["pretraining_loss"] = nats / count
    return found


@pytest.mark.parametrize("micro_batch_tokens", [1, 100_000])
def test_without_a_critic_the_gradient_is_reinforces_with_a_leave_one_out_baseline(
    miniature, reward_model, micro_batch_tokens
):
    values = {"advantage": "rloo", "samples_per_prompt": 4, "gamma": 0.0, "micro_batch_tokens": micro_batch_tokens}
    learner, episodes, _, config = moved(miniature, reward_model, **values)
    forbidden = learner.networks.forbidden
    start = episodes.input_ids.shape[1] - episodes.mask.shape[1]
    rewards, texts = [], []
    for row, length in enumerate(LENGTHS):
        prompt = int(episodes.prompt_lengths[row])
        ids = episodes.input_ids[row, start - prompt : start + length]
        logits = learner.networks.policy(ids[None]).logits[0].double()
        logits[:, forbidden] = -math.inf
        logprobs = logits.log_softmax(-1)
        texts.append([logprobs[prompt + t - 1, ids[prompt + t]] for t in range(length)])
        episodes.logprobs[row, :length] = torch.stack(texts[-1]).detach()  # this policy's own: no step was taken yet
        nats = sum(float(episodes.logprobs[row, t] - episodes.reference_logprobs[row, t]) for t in range(length))
        rewards.append(float(scores_of_endings(episodes, config)[row]) - config.beta * nats)
    loss = 0.0
    for row, text in enumerate(texts):
        others = [rewards[i] for i in range(row // 4 * 4, row // 4 * 4 + 4) if i != row]
        loss = loss - (rewards[row] - sum(others) / 3) * sum(text)
    (loss / sum(LENGTHS)).backward()
    theirs = gradients(learner.networks.policy).clone()
    numbers = update(learner, episodes, None, config)
    ours = gradients(learner.networks.policy)
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-5
    assert numbers["reward"] == pytest.approx(sum(rewards) / 8, rel=1e-5)
    assert not {"value_loss", "explained_variance", "value_gradient_norm"} & set(numbers)


def gradients(network) -> torch.Tensor:
    return torch.cat([weight.grad.flatten() for weight in network.parameters()])


@pytest.mark.parametrize("micro_batch_tokens", [1, 30, 100_000])
@pytest.mark.parametrize("gamma", [0.0, 0.7])
def test_gradients_are_those_of_one_episode_after_another(miniature, reward_model, gamma, micro_batch_tokens):
    learner, *rest = moved(miniature, reward_model, gamma=gamma, micro_batch_tokens=micro_batch_tokens)
    expected = one_by_one(learner, *rest)
    (expected["policy_loss"] + gamma * expected.get("pretraining_loss", 0.0) + expected["value_loss"]).backward()
    theirs = [gradients(network).clone() for network in (learner.networks.policy, learner.networks.critic)]
    numbers = update(learner, *rest)
    # Log-probs and values are float32 even of a float64 network.
    for ours, wanted in zip(map(gradients, (learner.networks.policy, learner.networks.critic)), theirs, strict=True):
        assert float((ours - wanted).norm() / wanted.norm()) < 1e-6
    for name, value in expected.items():
        assert numbers[name] == pytest.approx(value.item(), rel=1e-5), name
    assert 0 < numbers["clip_fraction"] < 1 and 0 < numbers["value_clip_fraction"] < 1


def test_what_is_reported_is_the_mean_over_real_tokens_however_the_minibatches_fall(miniature, reward_model):
    still = {"policy_learning_rate": 1e-30, "value_learning_rate": 1e-30, "minibatch_size": 2, "epochs": 2}
    learner, *rest = moved(miniature, reward_model, gamma=0.0, **still)
    expected = one_by_one(learner, *rest)
    numbers = update(learner, *rest)
    for name, value in expected.items():
        assert numbers[name] == pytest.approx(value.item(), rel=1e-5), name


def test_no_gradient_is_left_over_from_the_step_before(miniature, reward_model):
    """Two steps of one update end with the gradient of only the second minibatch."""
    still = {"policy_learning_rate": 1e-30, "value_learning_rate": 1e-30, "gamma": 0.0}
    ends = []
    for epochs in (1, 3):
        learner, *rest = moved(miniature, reward_model, epochs=epochs, **still)
        update(learner, *rest)
        ends.append((gradients(learner.networks.policy), gradients(learner.networks.critic)))
    for once, thrice in zip(*ends, strict=True):
        assert float((thrice - once).norm() / once.norm()) < 1e-6
