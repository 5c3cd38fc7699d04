"""What a batch of episodes teaches: rewards, advantages, and optimizer steps of critic and policy [InstructGPT C.4]."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from training.contract.configs import PPOConfig
from training.ppo import math as ppo_math
from training.ppo.data import Pretraining, generator_for
from training.ppo.learner import Learner
from training.ppo.networks import Networks
from training.ppo.rollout import Episodes, cut, logprobs_of
from training.ppo.value_model import ValueModel
from training.run import parallel
from training.run.optimization import clip_gradients, not_finite, precision
from training.text.packing import cross_entropy, pack

_OF_A_STEP = ("gradient_norm", "value_gradient_norm", "pretraining_loss")  # the rest are means over tokens


@dataclass
class Experience(Episodes):
    """Episodes and what is learnt from them."""

    advantages: Tensor  # (N, T)
    returns: Tensor  # (N, T), what the critic should have said; 0 without a critic


def update(
    learner: Learner, episodes: Episodes, pretraining: Pretraining | None, config: PPOConfig
) -> dict[str, float]:
    """Learn from one batch of episodes, to be discarded afterwards; return its numbers, means over all real tokens."""
    beta = learner.beta
    rewards = rewards_of(episodes, beta, config)
    experience = with_advantages(episodes, rewards, config)
    rate = _set_learning_rates(learner, config)
    means = _Means(experience, config)
    for rows in minibatches(len(episodes), learner.iteration, config):
        text = pretraining.sequences(config, learner.steps) if pretraining else []
        means.add(step(learner, experience, rows, text, config), rows)
    learner.networks.average(config.ema_decay)
    learner.beta = next_beta(beta, episodes, config)
    learner.iteration += 1
    return means.of_update(rewards) | {"beta": beta, "learning_rate": rate}


def rewards_of(episodes: Episodes, beta: float, config: PPOConfig) -> Tensor:
    """Return the reward per token (N, T) by Eq. 2: the score at the end, less beta times the log-ratio."""
    scores = scores_of_endings(episodes, config)
    return ppo_math.kl_rewards(episodes.logprobs, episodes.reference_logprobs, scores, episodes.mask, beta)


def scores_of_endings(episodes: Episodes, config: PPOConfig) -> Tensor:
    """Return the scores (N,); a completion that never ended has a fixed one, or a penalty taken off."""
    unfinished = ~episodes.finished
    if config.missing_eos_score is not None:
        return torch.where(unfinished, config.missing_eos_score, episodes.scores)
    return episodes.scores - config.missing_eos_penalty * unfinished


def with_advantages(episodes: Episodes, rewards: Tensor, config: PPOConfig) -> Experience:
    """Add whitened generalised advantages and the critic's targets, or leave-one-out advantages without a critic."""
    mask = episodes.mask
    if config.advantage == "rloo":
        advantages = ppo_math.leave_one_out(rewards, mask, config.samples_per_prompt)
        return Experience(**vars(episodes), advantages=advantages, returns=torch.zeros_like(advantages))
    advantages, returns = ppo_math.advantages(rewards, episodes.values, mask, config.discount, config.gae_lambda)
    return Experience(**vars(episodes), advantages=ppo_math.whiten(advantages, mask), returns=returns)


def minibatches(episodes: int, iteration: int, config: PPOConfig) -> Iterator[Tensor]:
    """Yield the rows of each minibatch; every epoch shuffles all `episodes` again."""
    generator = generator_for(config, iteration, "minibatches")
    for _ in range(config.epochs):
        yield from torch.randperm(episodes, generator=generator).split(config.minibatch_size)


def next_beta(beta: float, episodes: Episodes, config: PPOConfig) -> float:
    """Return the KL coefficient of the next iteration, the same unless it adapts to a target."""
    if config.kl_target_nats is None:
        return beta
    kl_nats = float(episodes.kl_nats.mean())
    return ppo_math.adapted_kl_coefficient(beta, kl_nats, config.kl_target_nats, len(episodes), config.kl_horizon)


def step(
    learner: Learner, experience: Experience, rows: Tensor, text: list[list[int]], config: PPOConfig
) -> dict[str, float]:
    """Take one optimizer step of critic and policy on a minibatch; micro-batches and pretraining only add gradient."""
    networks, policy_learns = learner.networks, learner.iteration >= config.value_warmup_iterations
    learner.zero_gradients()
    sums, largest_change = _Sums(), torch.zeros((), device=networks.policy.device)
    for part, share, tokens in _parts(experience, rows, networks, config):
        if networks.critic is not None:
            value = _value_gradient(networks.critic, part, share, tokens, config)
            sums.add(share, value_loss=value.loss, value_clip_fraction=value.clip_fraction)
        policy = _policy_gradient(networks, part, share, tokens, config, policy_learns)
        sums.add(share, policy_loss=policy.loss, clip_fraction=policy.clip_fraction)
        sums.add(share, ratio=policy.ratio, approximate_kl=policy.approximate_kl)
        largest_change = torch.maximum(largest_change, policy.largest_change)
    for share, loss in _text_gradients(networks, text, config) if text and policy_learns else ():
        sums.add(share, pretraining_loss=loss)
    norms = _apply_gradients(learner, policy_learns, sums, config)
    learner.steps += 1
    return {**sums.over_processes(), **norms, "largest_change": max(parallel.gather(float(largest_change)))}


def _parts(
    experience: Experience, rows: Tensor, networks: Networks, config: PPOConfig
) -> Iterator[tuple[Experience, float, float]]:
    """Yield this process's micro-batches, on the device, with their weight and the tokens of the whole minibatch."""
    tokens = float(experience.mask[rows].sum())
    groups = cut(experience, rows, config.micro_batch_tokens)
    lengths = experience.prompt_lengths + experience.lengths
    for index, share in parallel.assign([int(lengths[group].sum()) for group in groups], even=networks.sharded):
        yield experience.take(groups[index]).to(networks.policy.device), share, tokens


def _value_gradient(
    critic: ValueModel, part: Experience, share: float, tokens: float, config: PPOConfig
) -> ppo_math.ValueLoss:
    with precision(config.dtype):
        values = critic(part.input_ids, part.attention_mask, part.mask.shape[1])
    value = ppo_math.value_loss(values, part.values, part.returns, part.mask, config.value_clip, tokens)
    (share * value.loss).backward()
    return value


def _policy_gradient(
    networks: Networks, part: Experience, share: float, tokens: float, config: PPOConfig, policy_learns: bool
) -> ppo_math.PolicyLoss:
    with precision(config.dtype), torch.set_grad_enabled(policy_learns):
        logprobs = logprobs_of(networks.policy, part, networks.forbidden, config)
    policy = ppo_math.policy_loss(logprobs, part.logprobs, part.advantages, part.mask, config.clip_ratio, tokens)
    if policy_learns:
        (share * policy.loss).backward()
    return policy


def _text_gradients(networks: Networks, text: list[list[int]], config: PPOConfig) -> Iterator[tuple[float, Tensor]]:
    """Add gamma times the gradient of the text's mean cross-entropy; yield each micro-batch's weight and loss."""
    lengths = [len(sequence) for sequence in text]
    rows = pack(lengths, parallel.fair_limit(config.row_tokens, sum(lengths)))
    masks, pad_id = [[True] * length for length in lengths], networks.tokenizer.pad_token_id
    batches = cross_entropy(networks.policy, rows, text, masks, networks.forbidden, pad_id, config.micro_batch_tokens)
    for index, share in parallel.assign([batch.tokens for batch in batches], even=networks.sharded):
        with precision(config.dtype):
            loss = batches[index].compute()
        (share * config.gamma * loss).backward()
        yield share, loss


def _apply_gradients(learner: Learner, policy_learns: bool, sums: "_Sums", config: PPOConfig) -> dict[str, float]:
    """Clip the gradients, check them before either network changes, and let the optimizers step; return their norms."""
    learning: dict[str, tuple[torch.nn.Module, torch.optim.Optimizer]] = {}
    if learner.value_optimizer and learner.networks.critic:
        learning["value_gradient_norm"] = learner.networks.critic, learner.value_optimizer
    if policy_learns:
        learning["gradient_norm"] = learner.networks.policy, learner.policy_optimizer
    norms = {}
    for name, (network, _) in learning.items():
        parallel.sum_gradients(network.parameters())
        norms[name] = clip_gradients(network.parameters(), config.max_gradient_norm)
    if not all(map(math.isfinite, norms.values())):
        if learner.steps == 0:  # no update was made yet, so no learning rate is to blame
            losses = [value for name, value in sums.over_processes().items() if name.endswith("loss")]
            raise ValueError(f"iteration 1: {not_finite(sum(losses))}")
        raise ValueError(
            f"iteration {learner.iteration + 1}: a gradient is not finite; lower policy_learning_rate = "
            f"{config.policy_learning_rate} or value_learning_rate = {config.value_learning_rate}"
        )
    for _, optimizer in learning.values():
        optimizer.step()
    return norms


def _set_learning_rates(learner: Learner, config: PPOConfig) -> float:
    """Set the rates of this iteration, each in warm-up since its network began to learn; return the policy's."""
    policy_iteration = max(0, learner.iteration - config.value_warmup_iterations)
    rate = config.policy_learning_rate * ppo_math.warm_up(policy_iteration, config.warmup_iterations)
    value_rate = config.value_learning_rate * ppo_math.warm_up(learner.iteration, config.warmup_iterations)
    for optimizer, each in ((learner.policy_optimizer, rate), (learner.value_optimizer, value_rate)):
        for group in optimizer.param_groups if optimizer else ():
            group["lr"] = each
    return rate


class _Sums(dict[str, Tensor]):
    """A step's numbers, each summed over its micro-batches."""

    def add(self, share: float, **numbers: Tensor) -> None:
        for name, value in numbers.items():
            self[name] = self.get(name, 0.0) + share * value.detach()

    def over_processes(self) -> dict[str, float]:
        return parallel.add_up({name: float(value) for name, value in self.items()})


class _Means:
    """An update's numbers: what belongs to a step is averaged over steps, everything else over real tokens."""

    def __init__(self, experience: Experience, config: PPOConfig) -> None:
        self._experience, self._config = experience, config
        self._steps = config.epochs * len(experience) // config.minibatch_size
        self._means: dict[str, float] = {}
        self._first: dict[str, float] = {}

    def add(self, numbers: dict[str, float], rows: Tensor) -> None:
        mask = self._experience.mask
        of_tokens = float(mask[rows].sum() / mask.sum()) / self._config.epochs
        for name, value in numbers.items():
            share = 1 / self._steps if name in _OF_A_STEP else of_tokens
            self._means[name] = self._means.get(name, 0.0) + value * share
        self._first = self._first or numbers

    def of_update(self, rewards: Tensor) -> dict[str, float]:
        numbers = {
            **self._means,
            "reward": float(rewards.sum(dim=1).mean()),
            "first_minibatch_ratio": self._first["ratio"],
            "sampler_difference_nats": self._first["largest_change"],  # before any step the change is rounding alone
        }
        del numbers["largest_change"]
        if self._config.advantage == "gae":
            seen = self._experience
            numbers["explained_variance"] = ppo_math.explained_variance(seen.values, seen.returns, seen.mask)
        return numbers
