"""Episodes: a policy's completions for a batch of prompts, with everything that PPO needs about each token."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor

from training.contract.configs import PPOConfig
from training.ppo.networks import Networks
from training.reward.model import score_groups
from training.run import parallel
from training.run.optimization import precision
from training.text.logprobs import completion_logprobs
from training.text.packing import micro_batches
from training.text.padding import pad
from training.text.policy import stop_ids
from training.text.sampler import sample


@dataclass
class Episodes:
    """N prompts with a completion each: prompts padded on the left to P columns, completions on the right to T."""

    input_ids: Tensor  # (N, P + T) int64
    attention_mask: Tensor  # (N, P + T) int64
    prompt_lengths: Tensor  # (N,) tokens
    mask: Tensor  # (N, T) bool, real completion tokens, the end-of-text token included
    finished: Tensor  # (N,) bool, the completion ends with the end-of-text token
    logprobs: Tensor  # (N, T) of the policy that sampled, nats
    reference_logprobs: Tensor  # (N, T) nats
    scores: Tensor  # (N,) of the reward model, its offset subtracted
    values: Tensor  # (N, T) of the state before each token

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def lengths(self) -> Tensor:
        """Tokens (N,) of each completion."""
        return self.mask.sum(dim=1)

    @property
    def kl_nats(self) -> Tensor:
        """Log-ratio (N,) of policy to reference, summed over each completion: its mean estimates the KL divergence."""
        return (self.logprobs - self.reference_logprobs).sum(dim=1)

    def take(self, rows: Tensor) -> Self:
        """Return some of the episodes, with no more padding than they need."""
        start = self.input_ids.shape[1] - self.mask.shape[1]
        prompt, completion = int(self.prompt_lengths[rows].max()), int(self.lengths[rows].max())
        fewer = {}
        for field in fields(self):
            tensor = getattr(self, field.name)[rows]
            if field.name in ("input_ids", "attention_mask"):
                tensor = tensor[:, start - prompt : start + completion]
            elif tensor.ndim == 2:
                tensor = tensor[:, :completion]
            fewer[field.name] = tensor
        return type(self)(**fewer)

    def to(self, device: Any) -> Self:
        """Return the same episodes on a device."""
        return type(self)(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def prompt(self, row: int) -> list[int]:
        """Return the token ids of one prompt."""
        start = self.input_ids.shape[1] - self.mask.shape[1]
        return self.input_ids[row, start - int(self.prompt_lengths[row]) : start].tolist()

    def completion(self, row: int) -> list[int]:
        """Return the token ids of one completion."""
        return self.input_ids[row, -self.mask.shape[1] :][self.mask[row]].tolist()


def cut(episodes: Episodes, rows: Tensor, tokens: int) -> list[Tensor]:
    """Group the rows by similar length, each group of about `tokens` tokens including padding."""
    lengths = (episodes.prompt_lengths + episodes.lengths)[rows]
    return [rows[group] for group in micro_batches(lengths.tolist(), tokens)]


@torch.no_grad()
def roll_out(
    prompts: Sequence[Sequence[int]], networks: Networks, config: PPOConfig, generator: torch.Generator
) -> Episodes:
    """Sample a completion for each prompt and score it, token in, token out: sampled text is never encoded again.

    Processes share the work; each gets all episodes.
    """
    episodes = _written(prompts, networks, config, generator)
    groups = cut(episodes, torch.arange(len(episodes)), config.micro_batch_tokens)
    lengths = episodes.prompt_lengths + episodes.lengths
    measured: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for index, _share in parallel.assign([int(lengths[rows].sum()) for rows in groups], even=config.sharded):
        with precision(config.dtype):
            measured.append((groups[index], *_measured(episodes.take(groups[index]), networks, config)))
    for each in parallel.gather(measured):
        for rows, reference_logprobs, scores, values in each:
            width = values.shape[1]
            episodes.reference_logprobs[rows, :width] = reference_logprobs
            episodes.scores[rows] = scores
            episodes.values[rows, :width] = values
    return episodes


def _written(
    prompts: Sequence[Sequence[int]], networks: Networks, config: PPOConfig, generator: torch.Generator
) -> Episodes:
    """Return episodes with the policy's completions; what other networks measure is still 0."""
    policy, tokenizer = networks.policy, networks.tokenizer
    with precision(config.dtype), parallel.gathered(policy):
        sampled = sample(
            policy,
            prompts,
            max_new_tokens=config.max_completion_tokens,
            eos_token_id=stop_ids(policy, tokenizer),
            forbidden=networks.forbidden,
            generator=generator,
            temperature=config.temperature,
            rows_at_once=config.rows_at_once,
            by=config.sampler,
        )
    prompt_ids, prompt_mask = pad(prompts, tokenizer.pad_token_id, left=True)
    return Episodes(
        input_ids=torch.cat([prompt_ids, sampled.tokens], dim=1),
        attention_mask=torch.cat([prompt_mask, sampled.mask.long()], dim=1),
        prompt_lengths=prompt_mask.sum(dim=1),
        mask=sampled.mask,
        finished=sampled.finished,
        logprobs=sampled.logprobs,
        reference_logprobs=torch.zeros_like(sampled.logprobs),
        scores=torch.zeros(len(prompts)),
        values=torch.zeros_like(sampled.logprobs),
    )


def _measured(written: Episodes, networks: Networks, config: PPOConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Return the reference's log-probs (N, T), the reward model's scores (N,) and the critic's values (N, T)."""
    groups = [(written.prompt(row), [written.completion(row)]) for row in range(len(written))]
    episodes = written.to(networks.policy.device)
    with networks.as_reference() as reference:
        reference_logprobs = logprobs_of(reference, episodes, networks.forbidden, config).cpu()
    offset = getattr(networks.reward_model.config, "score_offset", 0.0)
    scores = score_groups(networks.reward_model, groups, networks.tokenizer.pad_token_id).cpu() - offset
    values = torch.zeros_like(reference_logprobs)
    if networks.critic is not None:
        states = networks.critic(episodes.input_ids, episodes.attention_mask, values.shape[1])
        values = (states * episodes.mask).cpu()
    return reference_logprobs, scores, values


def logprobs_of(policy: Any, episodes: Episodes, forbidden: Tensor, config: PPOConfig) -> Tensor:
    """Return log-probs (N, T) of the completions under a policy at the sampling temperature, 0 after each one's end."""
    return completion_logprobs(
        policy,
        episodes.input_ids,
        episodes.attention_mask,
        episodes.prompt_lengths,
        episodes.lengths,
        forbidden,
        config.temperature,
    )
