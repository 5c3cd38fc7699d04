"""Many sequences in one row without padding, where a prompt is computed once for all its completions.

All tokens of a micro-batch are side by side in one row [1, T]: for each group first the prompt, then its completions,
each with positions that continue from the prompt's end. Everything but attention works token by token and is
unaffected. Attention works group by group: the prompt sees only itself, a completion only the prompt and itself. A
group without a prompt is plain packing.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from training.fast import is_off, layers
from training.fast.caches import PromptCache
from training.fast.ragged_attention import RAGGED, Layout, Span, attend, new_layout, reading
from training.run.parallel import as_forward

Group = tuple[Sequence[int], Sequence[Sequence[int]]]  # token ids of a prompt, and of each of its completions


class Ragged(NamedTuple):
    """Groups in one row: token ids and positions [1, T], the layout, each completion's last column [N]."""

    input_ids: Tensor
    positions: Tensor
    layout: Layout
    last: Tensor


def ragged(groups: Sequence[Group], device: Any = None) -> Ragged:
    """Put the groups side by side in one row; an empty completion ends where its prompt does."""
    ids: list[int] = []
    positions: list[int] = []
    owners: list[int] = []
    spans, last = [], []
    for prompt, completions in groups:
        start, ends = len(ids), [len(ids) + len(prompt)]
        ids += prompt
        positions += range(len(prompt))
        owners += [0] * len(prompt)
        for number, completion in enumerate(completions, 1):
            if not prompt and not completion:
                raise ValueError("a sequence of no tokens has no last one")
            ids += completion
            positions += range(len(prompt), len(prompt) + len(completion))
            owners += [number] * len(completion)
            ends.append(len(ids))
            last.append((len(ids) if completion else ends[0]) - 1)
        spans.append(Span(start, tuple(ends)))
    rows = torch.tensor([ids, positions, owners], device=device)
    layout = new_layout(spans, max(positions) + 1, rows[2])
    return Ragged(rows[:1], rows[1:2], layout, torch.tensor(last, device=device))


def side_by_side(input_ids: Tensor, attention_mask: Tensor) -> Ragged:
    """Put the real tokens of padded rows [B, S] side by side, each row a sequence of its own."""
    real = attention_mask.bool()
    lengths = real.sum(1)
    ends = (0, *lengths.cumsum(0).tolist())
    owners = torch.arange(1, len(ends), device=real.device).repeat_interleave(lengths)
    layout = new_layout([Span(0, ends)], int(lengths.max()), owners)
    last = torch.tensor(ends[1:], device=real.device) - 1
    return Ragged(input_ids[real][None], (real.cumsum(1) - 1)[real][None], layout, last)


def hidden_states(model: Any, row: Ragged, needed: Tensor | None = None) -> Tensor:
    """Return the last hidden states [T, D] of a row's tokens from the body of `model`, which must be `can_be_ragged`.

    With `needed` [T] bool, return only those [n, D]; of other tokens, only what the needed ones see is computed.
    """
    if needed is None:
        return whole_row(model.base_model, row).last_hidden_state[0]
    if needed.device.type == "cpu":
        row = row._replace(layout=reading(row.layout, needed))
    hidden, last = whole_row(model.base_model, row).last_hidden_state[0], row.layout.of_last_layer
    return hidden[needed if last is None or len(hidden) == len(needed) else needed[last.attending]]


def whole_row(model: Any, row: Ragged) -> Any:
    """Return the output of a forward pass over a whole row."""
    return model(
        input_ids=row.input_ids, position_ids=row.positions, use_cache=False, **layout_arguments(model, row.layout)
    )


def layout_arguments(model: Any, layout: Layout | PromptCache) -> dict[str, Any]:
    """Return a forward pass's arguments besides ids and positions; from then on `model` uses our attention."""
    if model.config._attn_implementation != RAGGED:
        model.set_attn_implementation(RAGGED)  # permanently: without a layout it is sdpa
    # Four dimensions, so that transformers takes it for a finished mask and builds none [T, T]. Attention ignores it.
    return {"attention_mask": torch.empty(0, 0, 0, 0), "layout": layout}


@contextmanager
def as_loaded(model: Any) -> Iterator[None]:
    """Set evaluation mode, no gradients and full precision; restore the random state, which a resumed run needs."""
    was_training, devices = model.training, [model.device] if model.device.type == "cuda" else []
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices), torch.autocast(model.device.type, enabled=False):
            yield
    finally:
        model.train(was_training)


def can_be_ragged(model: Any, longest: int = 0) -> bool:
    """Return whether the network can use our attention and mixes tokens nowhere else: tried out, once per network.

    If so, it uses our attention from then on, and Llama-like layers are computed by training/fast/layers.py. A sequence
    of `longest` tokens must see all of itself: no window may be narrower.
    """
    known = getattr(model, "_can_be_ragged", None)
    if known is None:
        with as_loaded(model):
            known = model._can_be_ragged = _tried(model)
    return known and longest <= reach(model)


def reach(model: Any) -> float:
    """Return how many tokens of a sequence see each other in every layer: the narrowest window or chunk of attention.

    At most the number of tokens within which rotary embeddings do not depend on the sequence's length.
    """
    config = model.config.get_text_config()
    limits = [turns_alike_up_to(model)]
    kinds = getattr(config, "layer_types", None)
    if kinds is None or any("sliding" in kind or "chunk" in kind for kind in kinds):
        limits += [
            value
            for key, value in config.to_dict().items()
            if ("window" in key or "attention_chunk" in key) and isinstance(value, int) and not isinstance(value, bool)
        ]
    return min(limits)


def turns_alike_up_to(model: Any) -> float:
    """Return the longest sequence (tokens) whose rotary embeddings equal those of a shorter one; inf if all do."""
    config = model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    return min(
        (
            each.get("original_max_position_embeddings") or config.max_position_embeddings
            for each in (rope, *rope.values())
            if isinstance(each, dict) and each.get("rope_type") in ("dynamic", "longrope")
        ),
        default=math.inf,
    )


def max_positions(model: Any) -> int | None:
    """Return the longest sequence (tokens) that the network has positions for; None if unlimited."""
    config = model.config.get_text_config()
    keys = ("max_position_embeddings", "max_seq_len", "max_target_positions")
    positions = next((value for key in keys if (value := getattr(config, key, None))), 0)
    for name, part in model.named_modules():  # learned positions that start after the padding's
        learnt = isinstance(part, torch.nn.Embedding) and "position" in name and part.num_embeddings == positions
        if learnt and part.padding_idx is not None:
            return positions - part.padding_idx - 1
    return positions if positions > 0 else None


def trial_sequences(model: Any, *lengths: int, limit: float = math.inf) -> list[list[int]]:
    """Return sequences of so many ordinary token ids, no longer than `limit` or what positions allow."""
    config = model.config.get_text_config()
    special = {value for key, value in config.to_dict().items() if key.endswith("token_id") and isinstance(value, int)}
    special |= {value for key, value in model.config.to_dict().items() if key.endswith("token_id")}
    rows = model.get_input_embeddings().num_embeddings
    ordinary = [i for i in range(rows) if i not in special] or [0]
    limit = min(limit, turns_alike_up_to(model), max_positions(model) or math.inf)
    found, place = [], 1
    for length in lengths:
        ids = []
        for _ in range(max(1, int(min(length, limit)))):
            place = (place * 1103515245 + 12345) % 2**31  # C's rand: a draw from torch would disturb a resumed run
            ids.append(ordinary[(place >> 8) % len(ordinary)])
        found.append(ids)
    return found


def near(model: Any, found: Tensor, expected: Tensor, share: float = 1.0) -> bool:
    """Return whether the states [N, D], or this share of them, equal the expected ones up to rounding.

    Another token's influence is far larger.
    """
    if found.shape != expected.shape or not bool(torch.isfinite(found).all()):
        return False
    far = _distances(found, expected)
    if found.dtype != torch.float32:  # rounding alone may change which experts of a mixture are chosen
        return float((far <= 0.08).float().mean()) >= 0.9
    return float((far <= rounding(model)).float().mean()) >= share


@torch.no_grad()
def rounding(model: Any) -> float:
    """Return how far rounding may move a state, relative to its length: ten times the effect of embeddings' last bits.

    That is a millionth in one network, and a thousandth in another whose first token's state is a thousand times as
    long as the rest, as in trained networks.
    """
    known = getattr(model, "_rounding", None)
    if known is None:
        ids = torch.tensor(trial_sequences(model, 24), device=model.device)
        expected = _read(model, ids)
        hook = model.get_input_embeddings().register_forward_hook(
            lambda _, __, output: (
                output + output * (torch.arange(output.shape[-1], device=output.device) % 3 - 1) * 2**-22
            )
        )
        try:
            far = float(_distances(_read(model, ids), expected).max())
        finally:
            hook.remove()
        known = model._rounding = min(max(1e-4, 10 * far), 1e-2)
    return known


def _read(model: Any, ids: Tensor) -> Tensor:
    output = model.base_model(input_ids=ids, use_cache=False)
    return (output.last_hidden_state if hasattr(output, "last_hidden_state") else output.logits)[0]


def _distances(found: Tensor, expected: Tensor) -> Tensor:
    found, expected = found.float(), expected.float()
    return (found - expected).norm(dim=-1) / expected.norm(dim=-1).clamp_min(1e-6)


@as_forward
def _tried(model: Any) -> bool:
    attention = model.config._attn_implementation
    if is_off() or not getattr(model, "_supports_attention_backend", False) or attention not in ("sdpa", RAGGED):
        return False
    limit = reach(model)
    prompt, first, second = trial_sequences(model, 6, 6, 4, limit=limit / 2)
    groups = [(prompt, [first, second]), ([], trial_sequences(model, 24, 3, limit=limit))]
    sequences = [[*prompt, *completion] for prompt, completions in groups for completion in completions]
    states = [_read(model, torch.tensor([ids], device=model.device)) for ids in sequences]
    expected = torch.cat([states[0], states[1][len(prompt) :], *states[2:]])
    if layers.adopt(model, attend):
        if _agrees(model, groups, expected):
            return True
        layers.abandon(model)
    if _agrees(model, groups, expected):
        return True
    model.set_attn_implementation(attention)
    return False


def _agrees(model: Any, groups: Sequence[Group], expected: Tensor) -> bool:
    try:
        found = hidden_states(model, ragged(groups, model.device))
    except Exception:  # its attention is not plain: tensors do not fit, or ours refuses it
        return False
    return near(model, found, expected)
