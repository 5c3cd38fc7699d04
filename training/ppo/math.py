"""The formulas of PPO as pure functions: B episodes, T completion tokens, `mask` (B, T) True on real tokens."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


def last_token(mask: Tensor) -> Tensor:
    """Return the index (B,) of each row's last real token; rows are filled from the left and hold at least one."""
    return mask.sum(dim=1) - 1


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of x (B, T) over the real tokens of the whole batch."""
    return x[mask].mean()


def kl_rewards(logprobs: Tensor, reference_logprobs: Tensor, scores: Tensor, mask: Tensor, beta: float) -> Tensor:
    """Return the reward per token (B, T): -beta * (log pi - log pi_ref), plus the score (B,) at the last real token.

    This is the k1 estimator of Eq. 2 [InstructGPT 3.5]. It may be negative on a token, and clamping would bias it.
    """
    rewards = torch.where(mask, -beta * (logprobs - reference_logprobs), 0.0)
    return rewards.scatter_add(1, last_token(mask)[:, None], scores[:, None].to(rewards.dtype))


def advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, discount: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """Return generalised advantages and returns, each (B, T); values[:, t] is V before token t, V after the end is 0.

    delta_t = r_t + discount * V_{t+1} - V_t;  A_t = delta_t + discount * gae_lambda * A_{t+1};  return_t = A_t + V_t.
    """
    values = torch.where(mask, values, 0.0)
    rewards = torch.where(mask, rewards, 0.0)
    after = torch.zeros_like(values[:, 0])
    advantage, columns = after, []
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + discount * after - values[:, t]
        advantage = delta + discount * gae_lambda * advantage
        columns.append(advantage)
        after = values[:, t]
    result = torch.stack(columns[::-1], dim=1)
    return result, torch.where(mask, result + values, 0.0)


def leave_one_out(rewards: Tensor, mask: Tensor, samples: int) -> Tensor:
    """Return advantages (B, T) without a critic: an episode's reward minus the mean of its prompt's others, per token.

    The `samples` episodes of a prompt are adjacent. An episode's baseline does not depend on its own tokens, so the
    gradient stays that of REINFORCE [Ahmadian 2024, Eq. 6].
    """
    total = torch.where(mask, rewards, 0.0).sum(dim=1).view(-1, samples)
    others = (total.sum(dim=1, keepdim=True) - total) / (samples - 1)
    return torch.where(mask, (total - others).view(-1, 1), 0.0)


def whiten(x: Tensor, mask: Tensor, shift_mean: bool = True) -> Tensor:
    """Scale x (B, T) to (biased) variance 1 and, if shift_mean, mean 0 on real tokens; 0 elsewhere [Ziegler 2019]."""
    mean = masked_mean(x, mask)
    variance = masked_mean((x - mean).square(), mask)
    scaled = (x - mean) * torch.rsqrt(variance + 1e-8)
    return torch.where(mask, scaled if shift_mean else scaled + mean, 0.0)


class PolicyLoss(NamedTuple):
    """The loss to minimise, and diagnostics of the step; each is a share of the minibatch's token mean."""

    loss: Tensor
    clip_fraction: Tensor
    ratio: Tensor
    approximate_kl: Tensor  # 0.5 * (new - old)^2, nats
    largest_change: Tensor  # max |new - old| of a token, nats; not a share


def policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    clip_ratio: float,
    normaliser: float,
) -> PolicyLoss:
    """Compute the clipped surrogate: sum over real tokens of max(-A r, -A clip(r, 1 +- clip_ratio)) / normaliser.

    `normaliser` is the number of real tokens in the whole minibatch, so the losses of its micro-batches add up to its
    own, however it is split.
    """
    change = torch.where(mask, logprobs - old_logprobs, 0.0)
    ratio = change.exp()
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip_ratio, 1 + clip_ratio)
    share = mask.to(logprobs.dtype) / normaliser
    with torch.no_grad():
        clip_fraction = ((clipped > unclipped) * share).sum()
        mean_ratio = (ratio * share).sum()
        approximate_kl = (0.5 * change.square() * share).sum()
        largest_change = change.abs().max()
    loss = (torch.maximum(unclipped, clipped) * share).sum()
    return PolicyLoss(loss, clip_fraction, mean_ratio, approximate_kl, largest_change)


class ValueLoss(NamedTuple):
    """The loss to minimise, and the share of tokens whose value was clipped."""

    loss: Tensor
    clip_fraction: Tensor


def value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip: float, normaliser: float
) -> ValueLoss:
    """Compute the clipped regression loss of the critic.

    Sum over real tokens of 0.5 * max((v - R)^2, (clip(v, v_old +- clip) - R)^2) / normaliser.
    """
    clipped_values = torch.clamp(values, old_values - clip, old_values + clip)
    plain, clipped = (values - returns).square(), (clipped_values - returns).square()
    share = mask.to(values.dtype) / normaliser
    with torch.no_grad():
        clip_fraction = ((clipped > plain) * share).sum()
    return ValueLoss(0.5 * (torch.maximum(plain, clipped) * share).sum(), clip_fraction)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float:
    """Return 1 - var(returns - values) / var(returns) over real tokens; 1 is a perfect critic, 0 a constant one."""
    variance = returns[mask].var(unbiased=False)
    return float(1 - (returns - values)[mask].var(unbiased=False) / variance) if variance > 0 else 0.0


def best_of_kl_nats(n: int) -> float:
    """Return the upper bound of the best-of-n policy's KL (nats): log n - (n - 1) / n [Stiennon 2020]."""
    return math.log(n) - (n - 1) / n


def best_of_weights(samples: int, n: int) -> list[float]:
    """Return how often each of `samples`, from worst to best, is the best of n of them drawn without replacement.

    This estimates the mean of any quantity over best-of-n without bias from one set of samples [Nakano 2021, C.2].
    """
    return [math.comb(rank, n - 1) / math.comb(samples, n) for rank in range(samples)]


def warm_up(iteration: int, iterations: int) -> float:
    """Return the learning rate's factor: linear from 1/10 at iteration 0 to 1 at the last of warm-up, then constant."""
    return 1.0 if iteration >= iterations - 1 else 0.1 + 0.9 * iteration / (iterations - 1)


def adapted_kl_coefficient(beta: float, kl_nats: float, target_nats: float, episodes: int, horizon: float) -> float:
    """Return the next beta of the proportional controller, whose error is clipped to +-20 % [Ziegler 2019, 2.2]."""
    error = min(max(kl_nats / target_nats - 1, -0.2), 0.2)
    return beta * (1 + error * episodes / horizon)
