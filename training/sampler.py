"""Sampling: one prefill per distinct prompt, temperature only, finished rows leave, log-probs of the chosen kept.

Keys and values are written where there is room for them: transformers' own dynamic cache copies all of them for every
token, which was 60 % of the time of a small network on a CPU.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from training import parallel
from training.policy import mask_logits, pad, position_ids

ROOM_TOKENS = 64  # what a layer's keys and values are copied for once, not for every token


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
    forbidden: Tensor,
    generator: torch.Generator,
    temperature: float = 1.0,
    rows_at_once: int = 512,
) -> Sampled:
    """One completion for each entry of `prompts` (repeat a prompt for more of it); temperature 0 is greedy.

    `forbidden` (F,) are the ids that no policy may write (policy.forbidden_token_ids), the pad id first. Each row draws
    from its own uniform numbers, so its text depends on `generator` and its place in `prompts`, not on `rows_at_once`
    or on when other rows end, nor on how many processes share the work.
    """
    if temperature < 0:
        raise ValueError(f"temperature: {temperature} is below 0; 0 is greedy, 1 samples the policy itself")
    if not all(prompts):
        raise ValueError("prompts: one of them has no token; every prompt needs at least one")
    uniforms = torch.rand(len(prompts), max_new_tokens, generator=generator, dtype=torch.float64)
    tokens = torch.full((len(prompts), max_new_tokens), int(forbidden[0]))
    logprobs = torch.zeros(len(prompts), max_new_tokens)
    lengths = torch.zeros(len(prompts), dtype=torch.int64)
    was_training = model.training
    model.eval()
    # Rows of one prompt, and prompts of one length, side by side: fewer prefills and less padding.
    order = sorted(range(len(prompts)), key=lambda row: (len(prompts[row]), tuple(prompts[row])))
    mine = torch.tensor(order).tensor_split(parallel.count())[parallel.number()]
    for rows in mine.split(rows_at_once) if len(mine) else ():
        asked = [tuple(prompts[row]) for row in rows]
        for step, (going, chosen, chosen_logprobs) in enumerate(
            _sample_rows(model, asked, uniforms[rows], temperature, eos_token_id, forbidden)
        ):
            places = rows[going]
            tokens[places, step], logprobs[places, step], lengths[places] = chosen, chosen_logprobs, step + 1
    model.train(was_training)
    for rows, *written in parallel.gather((mine, tokens[mine], logprobs[mine], lengths[mine])):
        tokens[rows], logprobs[rows], lengths[rows] = written
    longest = int(lengths.max())
    mask = torch.arange(longest) < lengths[:, None]
    finished = tokens.gather(1, lengths[:, None] - 1).squeeze(1) == eos_token_id
    return Sampled(tokens[:, :longest].clone(), mask, logprobs[:, :longest].clone(), finished)


@torch.no_grad()
def stream(
    model: Any,
    prompt: Sequence[int],
    *,
    max_new_tokens: int,
    eos_token_id: int,
    forbidden: Tensor,
    generator: torch.Generator,
    temperature: float = 1.0,
) -> Iterator[int]:
    """The token ids that `sample` gives for this one prompt, each as soon as it is chosen; `model` is in eval mode."""
    uniforms = torch.rand(1, max_new_tokens, generator=generator, dtype=torch.float64)
    for _going, chosen, _logprobs in _sample_rows(
        model, [tuple(prompt)], uniforms, temperature, eos_token_id, forbidden
    ):
        yield int(chosen)


def _sample_rows(
    model: Any,
    prompts: list[tuple[int, ...]],
    uniforms: Tensor,
    temperature: float,
    eos_token_id: int,
    forbidden: Tensor,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For each step the rows (B,) that still write, their tokens (B,) and log-probs (B,), all on the CPU."""
    device = model.device
    distinct = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompts))}
    ids, attention = pad(list(distinct), int(forbidden[0]), left=True, device=device)
    output = model(
        input_ids=ids,
        attention_mask=attention,
        position_ids=position_ids(attention),
        past_key_values=_cache(model.config),
        use_cache=True,
        logits_to_keep=1,
    )
    cache, going = output.past_key_values, torch.arange(len(prompts))
    place = torch.tensor([distinct[prompt] for prompt in prompts], device=device)
    cache.batch_select_indices(place)
    logits, positions = output.logits[place, -1], attention.sum(dim=1)[place]
    # Where no prompt is padded the model is told of no mask: it would look through it at every step.
    attention = None if attention.all() else torch.cat([attention[place], attention.new_ones(uniforms.shape)], dim=1)
    written = ids.shape[1]
    for step in range(uniforms.shape[1]):
        chosen, logprobs = _choose(logits, uniforms[going, step].to(device), temperature, forbidden)
        yield going, chosen.cpu(), logprobs.cpu()
        unfinished = chosen != eos_token_id
        if step + 1 == uniforms.shape[1] or not unfinished.any():
            return
        if not unfinished.all():  # a finished row leaves the batch, and its keys and values the cache
            keep = _closed_up(unfinished)
            cache.batch_select_indices(keep)
            going, chosen, positions = going[keep.cpu()], chosen[keep], positions[keep]
            attention = None if attention is None else attention[keep]
        written += 1
        logits = model(
            input_ids=chosen[:, None],
            attention_mask=None if attention is None else attention[:, :written],
            position_ids=positions[:, None],
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
        positions = positions + 1


class _Room(DynamicLayer):
    """One layer's keys and values (B, heads, T, width), with room behind them for the tokens to come."""

    def __init__(self) -> None:
        super().__init__()
        self.room: list[Tensor] = []  # keys, values (B, heads, capacity, width)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Take in keys and values (B, heads, t, width) of t more tokens; returns all so far."""
        length = self.get_seq_length()
        if length == 0:
            return super().update(key_states, value_states)
        end = length + key_states.shape[2]
        if not self.room or end > self.room[0].shape[2]:
            held, self.room = (self.keys, self.values), []
            for tensor in held:
                self.room.append(tensor.new_empty(*tensor.shape[:2], end + ROOM_TOKENS, tensor.shape[3]))
                self.room[-1][:, :, :length] = tensor
        for room, states in zip(self.room, (key_states, value_states), strict=True):
            room[: len(states), :, length:end] = states
        self._show(len(key_states), end)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows, in this order; only rows that change their place are copied."""
        if not self.room:
            return super().batch_select_indices(indices)
        length = self.get_seq_length()
        moved = (indices != torch.arange(len(indices), device=indices.device)).nonzero().squeeze(1)
        for room in self.room:
            room[moved, :, :length] = room[indices[moved], :, :length]
        self._show(len(indices), length)

    def _show(self, rows: int, length: int) -> None:
        self.keys, self.values = (room[:rows, :, :length] for room in self.room)


def _cache(config: Any) -> DynamicCache:
    """An empty cache; layers that are no plain attention keep their own kind."""
    cache = DynamicCache(config=config)
    cache.layers = [_Room() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def _closed_up(live: Tensor) -> Tensor:
    """Indices of the live rows of `live` (B,) bool: those within their number stay, the others fill the gaps."""
    rows = live.nonzero().squeeze(1)
    kept = torch.arange(len(rows), device=live.device)
    kept[~live[: len(rows)]] = rows[rows >= len(rows)]
    return kept


def _choose(logits: Tensor, uniforms: Tensor, temperature: float, forbidden: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens (B,) by inverse transform of `uniforms` (B,) from logits (B, V), and their log-probs (B,).

    Forbidden ids are never chosen; greedy log-probs are those at temperature 1.
    """
    logprobs = torch.log_softmax(mask_logits(logits.float() / (temperature or 1.0), forbidden), dim=-1)
    if temperature == 0:
        chosen = logprobs.argmax(dim=-1)
    else:
        cumulative = logprobs.double().exp().cumsum(dim=-1)
        # The first token whose cumulative share exceeds the draw: one of share 0 never does.
        draw = uniforms.clamp_max(1 - 2**-40) * cumulative[:, -1]
        chosen = torch.searchsorted(cumulative, draw[:, None], right=True).squeeze(1)
    return chosen, logprobs.gather(1, chosen[:, None]).squeeze(1)
