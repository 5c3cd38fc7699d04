"""PPO's learner: policy, critic, averaged weights and their optimizers; one update; the state to resume from.

With leave-one-out advantages the critic is None, and a step is one of REINFORCE.
"""

import hashlib
import math
import random
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from training.contract.configs import PPOConfig
from training.ppo import math as ppo_math
from training.ppo.rollout import Episodes, cut, logprobs_of, scores_to_reward
from training.ppo.value_model import ValueModel
from training.run import parallel
from training.run.optimization import clip_gradients, not_finite, precision, trained_state
from training.text.formatting import encode_document
from training.text.packing import cross_entropy, pack, pieces
from training.text.policy import forbidden_token_ids


@dataclass
class Learner:
    """Everything that changes while PPO runs."""

    policy: Any
    averaged: Any  # exponential moving average of the policy's weights
    critic: ValueModel | None
    policy_optimizer: torch.optim.Optimizer
    value_optimizer: torch.optim.Optimizer | None
    beta: float
    iteration: int = 0  # iterations done; the position in the prompts follows from it
    steps: int = 0  # optimizer steps done; the position in the pretraining text follows from it
    first: dict[str, float] = field(default_factory=dict)  # the first iteration's numbers, for the alarms
    warned: list[str] = field(default_factory=list)
    restores: list[Callable[[], None]] = field(default_factory=list)  # functions that reassemble sharded networks


_NETWORKS = ("policy", "averaged", "critic")
_OPTIMIZERS = ("policy_optimizer", "value_optimizer")
_NUMBERS = ("beta", "iteration", "steps", "first", "warned")


def new_learner(
    policy: Any,
    critic: ValueModel | None,
    config: PPOConfig,
    averaged: Any = None,
    state: dict[str, Any] | None = None,
    frozen: Sequence[Any] = (),
) -> Learner:
    """Create a learner at iteration 0, or at a `state` by `learner_state`; `policy` and `critic` are trained in place.

    If the config asks for it, all networks are sharded over the processes, including the `frozen` ones.
    """
    networks = {"policy": policy, "averaged": averaged or deepcopy(policy), "critic": critic}
    networks["averaged"].requires_grad_(False)
    for name in _NETWORKS:
        if state and name in state:
            networks[name].load_state_dict(state[name], strict=False)  # frozen weights are not in it
    sharded = [*filter(None, networks.values()), *frozen] if config.sharded and parallel.count() > 1 else []
    restores = [parallel.shard(network) for network in sharded]

    def adam(network: Any, learning_rate: float) -> torch.optim.Optimizer:
        weights = [weights for weights in network.parameters() if weights.requires_grad]
        return torch.optim.Adam(
            weights, lr=learning_rate, betas=(0.9, config.adam_b2), eps=config.adam_epsilon, fused=True
        )

    learner = Learner(
        **networks,
        policy_optimizer=adam(policy, config.policy_learning_rate),
        value_optimizer=adam(critic, config.value_learning_rate) if critic else None,
        beta=config.beta,
        restores=restores,
    )
    if state:
        for name in _OPTIMIZERS:
            if name in state:
                parallel.load_optimizer(getattr(learner, name), state[name])
        for name in _NUMBERS:
            setattr(learner, name, state[name])
    return learner


def learner_state(learner: Learner) -> dict[str, Any]:
    """Return tensors and plain values from which `new_learner` resumes exactly."""
    states = {name: getattr(learner, name).state_dict() for name in _OPTIMIZERS if getattr(learner, name)}
    for name in _NETWORKS:
        if network := getattr(learner, name):
            states[name] = trained_state(network, learner.policy if name == "averaged" else None)
    return parallel.whole(states) | {name: getattr(learner, name) for name in _NUMBERS}


def generator_for(config: PPOConfig, iteration: int, use: str) -> torch.Generator:
    """Return the random generator of one use in one iteration; a function of both, it needs no saved state."""
    digest = hashlib.sha256(f"{config.seed} {iteration} {use}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def endless(seed: str, count: int, start: int, size: int) -> list[int]:
    """Return indices start .. start + size - 1 of an infinite stream of shuffles of range(count), one per epoch."""
    found: list[int] = []
    while len(found) < size:
        epoch, place = divmod(start + len(found), count)
        found += _permutation(seed, epoch, count)[place : place + size - len(found)]
    return found


@lru_cache(maxsize=4)
def _permutation(seed: str, epoch: int, count: int) -> list[int]:
    return random.Random(f"{seed} {epoch}").sample(range(count), count)


@dataclass
class Pretraining:
    """The text whose gradient PPO-ptx mixes in."""

    documents: list[str]
    tokenizer: Any
    max_tokens: int  # of one piece, limited by the row and by the network's positions

    def sequences(self, config: PPOConfig, step: int) -> list[list[int]]:
        """Return token ids of the documents that optimizer step number `step` learns from."""
        size = max(1, round(config.minibatch_size * config.pretraining_ratio))
        places = endless(f"{config.seed} pretraining", len(self.documents), step * size, size)
        return [
            piece
            for place in places
            for piece in pieces(encode_document(self.tokenizer, self.documents[place]), self.max_tokens)
        ]


_OF_A_STEP = ("gradient_norm", "value_gradient_norm", "pretraining_loss")  # the rest are means over tokens


def update(
    learner: Learner, episodes: Episodes, pretraining: Pretraining | None, tokenizer: Any, config: PPOConfig
) -> dict[str, float]:
    """Learn from one batch of episodes, to be discarded afterwards; returns its numbers, means over all real tokens."""
    rewards = ppo_math.kl_rewards(
        episodes.logprobs,
        episodes.reference_logprobs,
        scores_to_reward(episodes, config),
        episodes.mask,
        learner.beta,
    )
    if learner.critic is None:
        advantages, returns = ppo_math.leave_one_out(rewards, episodes.mask, config.samples_per_prompt), None
    else:
        raw, returns = ppo_math.advantages(rewards, episodes.values, episodes.mask, config.discount, config.gae_lambda)
        advantages = ppo_math.whiten(raw, episodes.mask)
    policy_learns = learner.iteration >= config.value_warmup_iterations
    _set_rate(
        learner.policy_optimizer,
        config.policy_learning_rate
        * ppo_math.warm_up(max(0, learner.iteration - config.value_warmup_iterations), config.warmup_iterations),
    )
    if learner.value_optimizer:
        rate = config.value_learning_rate * ppo_math.warm_up(learner.iteration, config.warmup_iterations)
        _set_rate(learner.value_optimizer, rate)
    generator = generator_for(config, learner.iteration, "minibatches")
    steps = config.epochs * len(episodes) // config.minibatch_size
    means: dict[str, float] = {}
    first: dict[str, float] = {}
    for _ in range(config.epochs):
        for rows in torch.randperm(len(episodes), generator=generator).split(config.minibatch_size):
            sequences = pretraining.sequences(config, learner.steps) if pretraining else []
            numbers = _step(learner, episodes, rows, advantages, returns, sequences, tokenizer, config, policy_learns)
            share = float(episodes.mask[rows].sum() / episodes.mask.sum()) / config.epochs
            for name, value in numbers.items():
                means[name] = means.get(name, 0.0) + value * (1 / steps if name in _OF_A_STEP else share)
            first = first or numbers
            learner.steps += 1
    with torch.no_grad():
        for average, weight in zip(learner.averaged.parameters(), learner.policy.parameters(), strict=True):
            if weight.requires_grad:
                average.lerp_(weight, 1 - config.ema_decay)
    del means["logprob_difference_nats"]
    numbers = means | {
        "reward": float(rewards.sum(dim=1).mean()),
        "first_minibatch_ratio": first["ratio"],
        "sampler_difference_nats": first["logprob_difference_nats"],  # before the first step: rounding alone
        "beta": learner.beta,
        "learning_rate": learner.policy_optimizer.param_groups[0]["lr"],
    }
    if learner.critic:
        numbers["explained_variance"] = ppo_math.explained_variance(episodes.values, returns, episodes.mask)
    if config.kl_target_nats is not None:
        learner.beta = ppo_math.adapted_kl_coefficient(
            learner.beta, float(episodes.kl_nats.mean()), config.kl_target_nats, len(episodes), config.kl_horizon
        )
    learner.iteration += 1
    return numbers


def _step(
    learner: Learner,
    episodes: Episodes,
    rows: Tensor,
    advantages: Tensor,
    returns: Tensor | None,
    pretraining_sequences: list[list[int]],
    tokenizer: Any,
    config: PPOConfig,
    policy_learns: bool,
) -> dict[str, float]:
    """Take one optimizer step of critic and policy on a minibatch; micro-batches and pretraining only add gradient."""
    learner.policy_optimizer.zero_grad(set_to_none=True)
    if learner.value_optimizer:
        learner.value_optimizer.zero_grad(set_to_none=True)
    device = learner.policy.device
    forbidden = forbidden_token_ids(learner.policy, tokenizer)
    tokens = float(episodes.mask[rows].sum())
    sums: dict[str, Tensor] = {}
    difference = torch.zeros((), device=device)

    def add(share: float, **numbers: Tensor) -> None:
        for name, value in numbers.items():
            sums[name] = sums.get(name, 0.0) + share * value.detach()

    groups = cut(episodes, rows, config.micro_batch_tokens)
    lengths = episodes.prompt_lengths + episodes.lengths
    for index, share in parallel.deal([int(lengths[group].sum()) for group in groups], even=bool(learner.restores)):
        group = groups[index]
        part = episodes.take(group).to(device)
        width = part.mask.shape[1]
        if learner.critic:
            with precision(config.dtype):
                values = learner.critic(part.input_ids, part.attention_mask, width)
            value = ppo_math.value_loss(
                values, part.values, returns[group, :width].to(device), part.mask, config.value_clip, tokens
            )
            (share * value.loss).backward()
            add(share, value_loss=value.loss, value_clip_fraction=value.clip_fraction)
        with precision(config.dtype), torch.set_grad_enabled(policy_learns):
            logprobs = logprobs_of(learner.policy, part, forbidden, config)
        policy = ppo_math.policy_loss(
            logprobs, part.logprobs, advantages[group, :width].to(device), part.mask, config.clip_ratio, tokens
        )
        if policy_learns:
            (share * policy.loss).backward()
        difference = torch.maximum(difference, policy.largest_change)
        add(
            share,
            policy_loss=policy.loss,
            clip_fraction=policy.clip_fraction,
            ratio=policy.ratio,
            approximate_kl=policy.approximate_kl,
        )
    if pretraining_sequences and policy_learns:
        lengths = [len(sequence) for sequence in pretraining_sequences]
        packed = pack(lengths, parallel.fair(config.row_tokens, sum(lengths)))
        masks = [[True] * len(sequence) for sequence in pretraining_sequences]
        batches = cross_entropy(
            learner.policy,
            packed,
            pretraining_sequences,
            masks,
            forbidden,
            tokenizer.pad_token_id,
            config.micro_batch_tokens,
        )
        for index, share in parallel.deal([batch.tokens for batch in batches], even=bool(learner.restores)):
            with precision(config.dtype):
                loss = batches[index].compute()
            (share * config.gamma * loss).backward()
            add(share, pretraining_loss=loss)
    learn = {}
    if learner.critic:
        learn["value_gradient_norm"] = (learner.critic, learner.value_optimizer)
    if policy_learns:
        learn["gradient_norm"] = (learner.policy, learner.policy_optimizer)
    norms = {}
    for name, (network, _) in learn.items():
        parallel.sum_gradients(network.parameters())
        norms[name] = clip_gradients(network.parameters(), config.max_gradient_norm)
    if not all(map(math.isfinite, norms.values())):  # before either network is updated
        if learner.steps == 0:  # no update was made yet, so no learning rate is to blame
            loss = sum(parallel.add_up({name: float(sums[name]) for name in sums if name.endswith("loss")}).values())
            raise ValueError(f"iteration 1: {not_finite(loss)}")
        raise ValueError(
            f"iteration {learner.iteration + 1}: a gradient is not finite; lower policy_learning_rate = "
            f"{config.policy_learning_rate} or value_learning_rate = {config.value_learning_rate}"
        )
    for _, optimizer in learn.values():
        optimizer.step()
    numbers = parallel.add_up({name: float(value) for name, value in sums.items()})
    return {**numbers, **norms, "logprob_difference_nats": max(parallel.gather(float(difference)))}


def _set_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
