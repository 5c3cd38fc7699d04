"""Sampling: one prefill per distinct prompt, temperature only, finished rows leave, log-probs of the chosen kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache


@dataclass
class Sampled:
    """N completions, padded on the right to the longest T; tensors are on the CPU."""

    tokens: Tensor  # (N, T) int64, the pad id after the end
    mask: Tensor  # (N, T) bool, True on real tokens, the end-of-text token included
    logprobs: Tensor  # (N, T) float32, over the whole vocabulary at the sampling temperature; 0 after the end
    finished: Tensor  # (N,) bool, False where the token limit came before the end-of-text token

    def texts(self) -> list[list[int]]:
        """Each completion's real token ids."""
        return [row[keep].tolist() for row, keep in zip(self.tokens, self.mask, strict=True)]


@torch.no_grad()
def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    eos_token_id: int,
    pad_token_id: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    rows_at_once: int = 512,
) -> Sampled:
    """One completion for each entry of `prompts` (repeat a prompt for more of it); temperature 0 is greedy.

    Every row draws from its own uniform numbers, so its text depends on `generator` and its place in `prompts`, not on
    `rows_at_once` or on when other rows end.
    """
    if temperature < 0:
        raise ValueError(f"temperature: {temperature} is below 0; 0 is greedy, 1 samples the policy itself")
    if not all(prompts):
        raise ValueError("prompts: one of them has no token; every prompt needs at least one")
    uniforms = torch.rand(len(prompts), max_new_tokens, generator=generator, dtype=torch.float64)
    was_training = model.training
    model.eval()
    tokens = torch.full((len(prompts), max_new_tokens), pad_token_id)
    logprobs = torch.zeros(len(prompts), max_new_tokens)
    lengths = torch.zeros(len(prompts), dtype=torch.int64)
    # Rows of one prompt, and prompts of one length, side by side: fewer prefills and less padding.
    order = sorted(range(len(prompts)), key=lambda row: (len(prompts[row]), tuple(prompts[row])))
    for rows in torch.tensor(order).split(rows_at_once):
        _sample_rows(model, prompts, rows, uniforms, temperature, eos_token_id, pad_token_id, tokens, logprobs, lengths)
    model.train(was_training)
    longest = int(lengths.max())
    mask = torch.arange(longest) < lengths[:, None]
    finished = tokens.gather(1, lengths[:, None] - 1).squeeze(1) == eos_token_id
    return Sampled(tokens[:, :longest].clone(), mask, logprobs[:, :longest].clone(), finished)


def _sample_rows(
    model: Any,
    prompts: Sequence[Sequence[int]],
    rows: Tensor,
    uniforms: Tensor,
    temperature: float,
    eos_token_id: int,
    pad_token_id: int,
    tokens: Tensor,
    logprobs: Tensor,
    lengths: Tensor,
) -> None:
    """Write the completions of `rows` into tokens, logprobs (N, T) and lengths (N,)."""
    device = model.device
    asked = [tuple(prompts[row]) for row in rows.tolist()]
    distinct = {prompt: place for place, prompt in enumerate(dict.fromkeys(asked))}
    longest = max(map(len, distinct))
    padding = [longest - len(prompt) for prompt in distinct]
    ids = [[pad_token_id] * pads + list(prompt) for pads, prompt in zip(padding, distinct, strict=True)]
    starts = torch.tensor(padding, device=device)
    attention = torch.arange(longest, device=device) >= starts[:, None]
    positions = (torch.arange(longest, device=device) - starts[:, None]).clamp_min(0)
    output = model(
        input_ids=torch.tensor(ids, device=device),
        attention_mask=attention.long(),
        position_ids=positions,
        past_key_values=DynamicCache(config=model.config),
        use_cache=True,
        logits_to_keep=1,
    )
    cache = output.past_key_values
    place = torch.tensor([distinct[prompt] for prompt in asked], device=device)
    cache.batch_select_indices(place)
    logits, attention, positions = output.logits[place, -1], attention[place], positions[place, -1:]
    for step in range(uniforms.shape[1]):
        chosen, chosen_logprobs = _choose(logits, uniforms[rows, step].to(device), temperature, pad_token_id)
        tokens[rows, step], logprobs[rows, step] = chosen.cpu(), chosen_logprobs.cpu()
        lengths[rows] = step + 1
        going = chosen != eos_token_id
        if step + 1 == uniforms.shape[1] or not going.any():
            return
        if not going.all():  # a finished row leaves the batch and its cache
            keep = going.nonzero().squeeze(1)
            cache.batch_select_indices(keep)
            rows, chosen, attention, positions = rows[keep.cpu()], chosen[keep], attention[keep], positions[keep]
        attention = torch.cat([attention, attention.new_ones(len(chosen), 1)], dim=1)
        positions = positions + 1
        logits = model(
            input_ids=chosen[:, None],
            attention_mask=attention.long(),
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]


def _choose(logits: Tensor, uniforms: Tensor, temperature: float, pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Tokens (B,) by inverse transform of `uniforms` (B,) from logits (B, V), and their log-probs (B,); never the pad.

    Greedy log-probs are those at temperature 1.
    """
    logits = logits.float()
    logits[:, pad_token_id] = -torch.inf
    logprobs = torch.log_softmax(logits / (temperature or 1.0), dim=-1)
    if temperature == 0:
        chosen = logprobs.argmax(dim=-1)
    else:
        cumulative = logprobs.double().exp().cumsum(dim=-1)
        # The first token whose cumulative share exceeds the draw: one of share 0 never does.
        draw = uniforms.clamp_max(1 - 2**-40) * cumulative[:, -1]
        chosen = torch.searchsorted(cumulative, draw[:, None], right=True).squeeze(1)
    return chosen, logprobs.gather(1, chosen[:, None]).squeeze(1)
