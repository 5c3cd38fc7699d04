"""The log-probability of each chosen token under a network: padded, packed or ragged rows, few logits at once."""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from training.fast.shared_prefix import Ragged, hidden_states, turns_alike_up_to, whole_row
from training.networks.forms import computed, forms, head_of, token_states
from training.run.parallel import as_forward
from training.text.padding import pad

CHUNK_LOGITS = 2**25  # logits held at once: 128 MiB in float32


def mask_logits(logits: Tensor, forbidden: Tensor) -> Tensor:
    """Set logits [..., V] to -inf at the forbidden ids, in place; sampler, policy and reference all do so."""
    return logits.index_fill_(-1, forbidden, float("-inf"))


def selected_logprobs(
    model: Any,
    input_ids: Tensor,
    selected: Tensor,
    forbidden: Tensor,
    attention_mask: Tensor | None = None,
    positions: Tensor | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """Return the log-probability [B, S] of each `selected` token given those before it, 0 elsewhere (nats, float32).

    `input_ids` [B, S] integers, `selected` [B, S] bool. Padded rows need `attention_mask` [B, S]; packed rows need
    `positions` [B, S] that restart at 0 for each sequence. A sequence's first token has no log-probability and must not
    be selected. Logits are divided by `temperature`; only those of selected tokens are computed, `CHUNK_LOGITS` at a
    time.
    """
    if positions is None:
        return _rows_logprobs(model, input_ids, selected, forbidden, attention_mask, temperature)
    if forms(model).packed and int(positions.max()) < turns_alike_up_to(model):
        return _packed_logprobs(model, input_ids, selected, forbidden, positions, temperature)
    starts = (positions == 0).flatten().nonzero().squeeze(1).tolist()
    pieces = [slice(*ends) for ends in pairwise([*starts, positions.numel()]) if selected.flatten()[slice(*ends)].any()]
    ids, mask = pad([input_ids.flatten()[piece].tolist() for piece in pieces], 0, device=input_ids.device)
    real, chosen = mask.bool(), torch.zeros_like(mask, dtype=torch.bool)
    chosen[real] = torch.cat([selected.flatten()[piece] for piece in pieces])
    values = _rows_logprobs(model, ids, chosen, forbidden, mask, temperature)
    return torch.zeros(selected.shape, device=values.device).masked_scatter(selected, values[chosen])


@as_forward
def _rows_logprobs(
    model: Any, input_ids: Tensor, selected: Tensor, forbidden: Tensor, attention_mask: Tensor, temperature: float
) -> Tensor:
    predicting = F.pad(selected[:, 1:], (0, 1))  # the token before a selected one predicts it
    states = token_states(model, input_ids, attention_mask, predicting)
    values = _token_logprobs(states, input_ids[selected], head_of(model), forbidden, temperature)
    return values.new_zeros(selected.shape).masked_scatter(selected, values)


@as_forward
def _packed_logprobs(
    model: Any, input_ids: Tensor, selected: Tensor, forbidden: Tensor, positions: Tensor, temperature: float
) -> Tensor:
    predicting = F.pad(selected[:, 1:], (0, 1))
    states = computed(model, input_ids, positions)[predicting]
    values = _token_logprobs(states, input_ids[selected], head_of(model), forbidden, temperature)
    return values.new_zeros(selected.shape).masked_scatter(selected, values)


@as_forward
def row_logprobs(model: Any, row: Ragged, selected: Tensor, forbidden: Tensor, temperature: float = 1.0) -> Tensor:
    """Compute selected_logprobs [T] of a ragged row's `selected` tokens [T] bool, by a network that can be ragged."""
    predicting = F.pad(selected[1:], (0, 1))
    if forms(model).head == "own":
        states = whole_row(model, row).logits[0, predicting]
    else:
        states = hidden_states(model, row, predicting)
    values = _token_logprobs(states, row.input_ids[0, selected], head_of(model), forbidden, temperature)
    return values.new_zeros(selected.shape).masked_scatter(selected, values)


def completion_logprobs(
    model: Any,
    input_ids: Tensor,
    attention_mask: Tensor,
    prompt_lengths: Tensor,
    completion_lengths: Tensor,
    forbidden: Tensor,
    temperature: float = 1.0,
) -> Tensor:
    """Return the log-probability [B, T] of each completion token, T the longest completion, 0 after a completion's end.

    `input_ids`, `attention_mask` [B, S]: prompt + completion, padded on the left or the right; lengths [B] in tokens.
    """
    first = attention_mask.long().argmax(1) + prompt_lengths  # column of each completion's first token
    columns = torch.arange(input_ids.shape[1], device=input_ids.device)
    selected = (columns >= first[:, None]) & (columns < (first + completion_lengths)[:, None])
    logprobs = selected_logprobs(model, input_ids, selected, forbidden, attention_mask, temperature=temperature)
    steps = torch.arange(int(completion_lengths.max()), device=input_ids.device)
    places = (first[:, None] + steps).clamp(max=input_ids.shape[1] - 1)
    return logprobs.gather(1, places) * (steps < completion_lengths[:, None])


def _token_logprobs(hidden: Tensor, targets: Tensor, head: nn.Module, forbidden: Tensor, temperature: float) -> Tensor:
    """Return log-probabilities [N] of `targets` [N] from hidden states [N, D], without all logits [N, V] at once."""
    weight = getattr(head, "weight", None)
    step = max(1, CHUNK_LOGITS // (hidden.shape[-1] if weight is None else weight.shape[0]))

    def chunk(hidden: Tensor, targets: Tensor) -> Tensor:
        logits = head(hidden).float()
        if logits is hidden:  # the states are logits already; masking in place must not change the caller's
            logits = logits.clone()
        if temperature != 1:  # a division by one would still cost a copy
            logits = logits / temperature
        return -F.cross_entropy(mask_logits(logits, forbidden), targets, reduction="none")

    pieces = list(zip(hidden.split(step), targets.split(step), strict=True))
    if len(pieces) == 1 or not torch.is_grad_enabled():
        return torch.cat([chunk(*piece) for piece in pieces]) if pieces else hidden.new_zeros(0, dtype=torch.float32)
    # Recomputed in the backward pass; autograd would otherwise keep the logits of every chunk.
    return torch.cat([checkpoint(chunk, *piece, use_reentrant=False) for piece in pieces])
