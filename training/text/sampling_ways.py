"""Ways to sample: with a cache that each token continues, by transformers' generate, or by a pass for each token.

Each draws from the same uniform numbers but generate, and yields the same: the tokens of one step after another.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import Cache, GenerationConfig
from transformers.cache_utils import DynamicLayer

from training.fast.caches import PromptCache, closed_up, room_cache
from training.fast.shared_prefix import can_be_ragged, layout_arguments
from training.networks.forms import forms, head_of, padded_states
from training.text.logprobs import completion_logprobs, mask_logits
from training.text.padding import pad, position_ids

PREFILL_TOKENS = 2048  # prompt tokens read at once on a CPU, where more is no faster and takes more memory


class Step(NamedTuple):
    """One token of each completion that has not ended, on the CPU."""

    rows: Tensor  # (B,) which completions
    tokens: Tensor  # (B,)
    logprobs: Tensor  # (B,)


class Drawing(NamedTuple):
    """How the tokens of B completions are drawn."""

    uniforms: Tensor  # (B, T) float64, a number for each token, on the CPU
    temperature: float  # 0 is greedy
    ends: Tensor  # ids that end a completion, on the CPU
    forbidden: Tensor  # (F,) ids that are never written, the pad id first, on the network's device

    @property
    def pad_id(self) -> int:
        return int(self.forbidden[0])

    def of(self, rows: Tensor) -> "Drawing":
        """Return the draws of some of the completions."""
        return self._replace(uniforms=self.uniforms[rows])

    def choose(self, logits: Tensor, rows: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Choose tokens (B,) of `rows` at a step from logits (B, V); return them and their log-probs (B,).

        They are chosen by inverse transform. Forbidden ids are never chosen; greedy log-probs are those at
        temperature 1.
        """
        logits = logits.float() if self.temperature in (0, 1) else logits.float() / self.temperature
        logits = mask_logits(logits, self.forbidden)
        logprobs = logits.log_softmax(dim=-1)
        if self.temperature == 0:
            chosen = logprobs.argmax(dim=-1)
        else:
            cumulative = logits.softmax(dim=-1).cumsum(dim=-1, dtype=torch.float64)
            # The first token whose cumulative probability exceeds the draw: one of probability 0 never does.
            draw = self.uniforms[rows, step].to(logits.device).clamp_max(1 - 2**-40) * cumulative[:, -1]
            chosen = torch.searchsorted(cumulative, draw[:, None], right=True).squeeze(1)
        return chosen, logprobs.gather(1, chosen[:, None]).squeeze(1)


def by_cache(model: Any, prompts: list[tuple[int, ...]], drawing: Drawing) -> Iterator[Step]:
    """Sample with one prefill for each distinct prompt and a cache; rows that have ended leave it."""
    device, most = model.device, drawing.uniforms.shape[1]
    distinct = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompts))}
    ids, attention = pad(list(distinct), drawing.pad_id, left=True, device=device)
    cache, logits = _prefill(model, ids, attention)
    rows, owners = torch.arange(len(prompts)), torch.tensor([distinct[prompt] for prompt in prompts], device=device)
    logits, positions = logits[owners], attention.sum(dim=1)[owners]
    written = ids.shape[1]
    mask: Tensor | None = None
    if can_be_ragged(model, max(map(len, prompts)) + most) and len(prompts) > 1 and _can_share(cache):
        cache = PromptCache(cache, attention, owners)
    else:
        cache.batch_select_indices(owners)
        if not attention.all():  # else the model gets no mask: it would scan it at every step
            mask = torch.cat([attention[owners], attention.new_ones(len(prompts), most)], 1)
    for step in range(most):
        chosen, logprobs = drawing.choose(logits, rows, step)
        yield Step(rows, chosen.cpu(), logprobs.cpu())
        unfinished = ~torch.isin(chosen, drawing.ends.to(device))
        if step + 1 == most or not unfinished.any():
            return
        if not unfinished.all():  # finished rows leave the batch, and their keys and values the cache
            keep = closed_up(unfinished)
            cache.batch_select_indices(keep)
            rows, chosen, positions = rows[keep.cpu()], chosen[keep], positions[keep]
            mask = None if mask is None else mask[keep]
        written += 1
        seen = {"attention_mask": None if mask is None else mask[:, :written]}
        logits = model(
            input_ids=chosen[:, None],
            position_ids=positions[:, None],
            past_key_values=cache,
            use_cache=True,
            **(layout_arguments(model, cache) if isinstance(cache, PromptCache) else seen),
        ).logits[:, -1]
        positions = positions + 1


def _prefill(model: Any, ids: Tensor, attention: Tensor) -> tuple[Cache, Tensor]:
    """Return the cache of P prompts [P, S], padded on the left, and the logits [P, V] after each; in parts on a CPU."""
    alike = all(isinstance(layer, DynamicLayer) for layer in room_cache(model.config).layers)
    rows = max(1, PREFILL_TOKENS // ids.shape[1]) if alike and ids.device.type == "cpu" else len(ids)
    logits, caches = [], []
    for some_ids, some_attention in zip(ids.split(rows), attention.split(rows), strict=True):
        output = model(
            input_ids=some_ids,
            attention_mask=some_attention,
            position_ids=position_ids(some_attention),
            past_key_values=room_cache(model.config),
            use_cache=True,
            logits_to_keep=1,
        )
        logits.append(output.logits[:, -1])
        caches.append(output.past_key_values)
    for layer, *others in zip(*(cache.layers for cache in caches), strict=True) if len(caches) > 1 else ():
        layer.keys = torch.cat([layer.keys, *(other.keys for other in others)])
        layer.values = torch.cat([layer.values, *(other.values for other in others)])
    return caches[0], torch.cat(logits)


def _can_share(cache: Any) -> bool:
    """Return whether the cache of a ragged network can hold each prompt's keys and values once for all its samples.

    Only on a CPU in float32, where it was measured; in bfloat16 the scores would be rounded.
    """
    if not all(isinstance(layer, DynamicLayer) for layer in cache.layers):
        return False
    held = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
    alike = len({tensor.shape for tensor in held}) == 1
    return alike and all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in held)


def by_generate(model: Any, prompts: list[tuple[int, ...]], drawing: Drawing) -> Iterator[Step]:
    """Sample by transformers' generate, with draws of its own, and log-probs from a forward pass over its output."""
    together: dict[int, list[int]] = {}  # by prompt length where padding would be seen, else all together
    for row, prompt in enumerate(prompts):
        together.setdefault(0 if forms(model).left_padded else len(prompt), []).append(row)
    tokens = torch.full(drawing.uniforms.shape, drawing.pad_id)
    logprobs, lengths = torch.zeros(tokens.shape), torch.zeros(len(prompts), dtype=torch.int64)
    for alike in map(torch.tensor, together.values()):
        written = _generated(model, [prompts[row] for row in alike], drawing.of(alike))
        for whole, part in zip((tokens, logprobs), written[:2], strict=True):
            whole[alike, : part.shape[1]] = part.cpu()
        lengths[alike] = written[2].cpu()
    for step in range(int(lengths.max())):
        rows = (lengths > step).nonzero().squeeze(1)
        yield Step(rows, tokens[rows, step], logprobs[rows, step])


def _generated(model: Any, prompts: list[tuple[int, ...]], drawing: Drawing) -> tuple[Tensor, Tensor, Tensor]:
    """Return tokens [B, T], log-probs [B, T] and lengths [B] of what generate writes after these prompts."""
    device, temperature = model.device, drawing.temperature
    ids, attention = pad(prompts, drawing.pad_id, left=True, device=device)
    settings = GenerationConfig(
        do_sample=temperature > 0, temperature=temperature or 1.0, top_k=0, top_p=1.0,
        eos_token_id=drawing.ends.tolist(), pad_token_id=drawing.pad_id, suppress_tokens=drawing.forbidden.tolist(),
        max_new_tokens=drawing.uniforms.shape[1],
    )  # fmt: skip
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int(drawing.uniforms[0, 0] * 2**53))
        written = generate(model, ids, attention, settings)
    tokens = written[:, ids.shape[1] :]
    ended = torch.isin(tokens, drawing.ends.to(device)).long()
    mask = ended.cumsum(1) - ended == 0  # up to and including the first token that ends it
    lengths = mask.sum(1)
    whole = torch.cat([attention, mask.long()], 1)
    logprobs = completion_logprobs(
        model, written, whole, attention.sum(1), lengths, drawing.forbidden, temperature or 1.0
    )
    return tokens, logprobs, lengths


def generate(model: Any, ids: Tensor, attention: Tensor, settings: GenerationConfig) -> Any:
    """Call generate with these settings alone; it would otherwise add the network's own."""
    known, model.generation_config = model.generation_config, settings
    try:
        return model.generate(ids, attention_mask=attention)
    finally:
        model.generation_config = known


def by_passes(model: Any, prompts: list[tuple[int, ...]], drawing: Drawing) -> Iterator[Step]:
    """Sample by a pass over the whole text for each token: right for any network, but slow."""
    texts, rows = [list(prompt) for prompt in prompts], torch.arange(len(prompts))
    for step in range(drawing.uniforms.shape[1]):
        ids, mask = pad([texts[row] for row in rows], drawing.pad_id, device=model.device)
        last = mask.sum(1).cumsum(0) - 1
        logits = head_of(model)(padded_states(model, ids, mask)[last])
        chosen, logprobs = (found.cpu() for found in drawing.choose(logits, rows, step))
        yield Step(rows, chosen, logprobs)
        for row, token in zip(rows, chosen.tolist(), strict=True):
            texts[row].append(token)
        rows = rows[~torch.isin(chosen, drawing.ends)]
        if not len(rows):
            return
