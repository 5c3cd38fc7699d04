"""How a network may be computed: tried on the network itself and never inferred from its name.

Networks differ in what mixes tokens. One reads padding, another carries its state from one packed sequence into the
next, a third rotates positions differently when the batch has a longer sequence. So when a network is loaded, each form
of a pass over several sequences is compared with passes over each alone, and a form that differs is not used.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from training.fast.shared_prefix import (
    as_loaded,
    can_be_ragged,
    hidden_states,
    near,
    side_by_side,
    trial_sequences,
    turns_alike_up_to,
    whole_row,
)

Head = Literal["none", "plain", "own"]
Form = Literal["side by side", "packed", "padded", "alone"]
Sampler = Literal["own", "transformers", "forward"]


@dataclass
class Forms:
    """The forms that one network was found to allow."""

    head: Head  # plain: logits are the output embedding of the last hidden state
    padded: bool  # rows padded on the right give the same as each sequence alone
    packed: bool  # so do sequences in one row, which transformers separates by positions that restart
    sampler: Sampler | None = None  # None: not tried yet (training/text/sampling_trial.py)
    left_padded: bool = True  # if generate samples: left padding of a prompt does not change what it writes


class NotCausal(ValueError):
    """The network's tokens see later tokens, so it predicts nothing."""


def forms(model: Any) -> Forms:
    """Return which forms of a pass are right for this network, a language model or a body; tried once.

    Raise NotCausal, or ValueError if the network cannot read token ids alone.
    """
    known = getattr(model, "_forms", None)
    if known is None:
        with as_loaded(model):
            known = model._forms = _tried(model)
    return known


def token_states(model: Any, input_ids: Tensor, attention_mask: Tensor, needed: Tensor) -> Tensor:
    """Return last hidden states [n, D] of those real tokens of padded rows that are `needed` [B, S] bool, row by row.

    For a language model whose head is not plain, they are its logits [n, V]; `head_of` makes logits of either. Rows of
    ids and mask [B, S] may be padded on any side. They are computed side by side, padded or one by one, whichever is
    the fastest that is right.
    """
    real = attention_mask.bool()
    if real.device.type != "cpu" or not can_be_ragged(model, int(real.sum(1).max())):
        return padded_states(model, input_ids, attention_mask)[needed[real]]
    row = side_by_side(input_ids, attention_mask)  # on a CPU, where that takes no mask as wide as the row
    if forms(model).head == "own":
        return whole_row(model, row).logits[0, needed[real]]
    return hidden_states(model, row, needed[real])


def padded_states(model: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Return the same for all real tokens, from padded rows where that is right, else by one pass per row."""
    real = attention_mask.bool()
    lengths = real.sum(1)
    longest = int(lengths.max())
    if not forms(model).padded or longest > turns_alike_up_to(model):
        return torch.cat([computed(model, ids[None])[0] for ids in input_ids[real].split(lengths.tolist())])
    place = torch.arange(longest, device=real.device) < lengths[:, None]  # padding comes last: no token sees it
    rows = torch.zeros_like(place, dtype=input_ids.dtype).masked_scatter(place, input_ids[real])
    return computed(model, rows)[place]


def computed(model: Any, input_ids: Tensor, positions: Tensor | None = None, head: Head | None = None) -> Tensor:
    """Return last hidden states, or logits if the head is not plain, [B, S, ...] from one pass of transformers."""
    # use_cache=False: with a cache transformers would not notice that rows are packed, and sequences would mix.
    inputs = {"input_ids": input_ids, "use_cache": False} | ({} if positions is None else {"position_ids": positions})
    if (head or forms(model).head) == "own":
        return model(**inputs).logits
    return model.base_model(**inputs).last_hidden_state


def head_of(model: Any) -> torch.nn.Module:
    """Return the module that makes logits from the output of `token_states` and `computed`."""
    return model.get_output_embeddings() if forms(model).head == "plain" else torch.nn.Identity()


def form_of(model: Any) -> Form:
    """Return the fastest form of a pass over several short sequences that is right for this network."""
    found = forms(model)
    if can_be_ragged(model):
        return "side by side"
    return "packed" if found.packed else "padded" if found.padded else "alone"


def _tried(model: Any) -> Forms:
    sequences = trial_sequences(model, 5, 24, 11, 7)
    try:
        whole = model(input_ids=_row(model, sequences[1]), use_cache=False)
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"{type(model).__name__} does not read text alone ({type(error).__name__}: {said})") from error
    head = _head(model, sequences[1], whole)
    can_be_ragged(model)
    alone = [computed(model, _row(model, ids), head=head)[0] for ids in sequences]
    if any(bool(states.isnan().any()) for states in alone):  # which would fail every comparison below
        raise ValueError(
            f"{model.name_or_path}: the network's own output is not finite, although its weights are; take an earlier "
            "checkpoint of that network"
        )
    longest, other = sequences[1], sequences[1][::-1]
    for length in (len(longest) // 2, len(longest) - 1):
        changed, shorter = (
            computed(model, _row(model, ids), head=head)[0][:length]
            for ids in (longest[:length] + other[length:], longest[:length])
        )
        # Rounding differs with the length, and may choose other experts for a few tokens.
        if not (near(model, changed, alone[1][:length]) and near(model, shorter, alone[1][:length], share=0.75)):
            raise NotCausal(f"{type(model).__name__} lets tokens see those behind them: it is no causal language model")
    return Forms(
        head,
        padded=_same(model, lambda: _padded(model, head, sequences), alone),
        packed=_same(model, lambda: _packed(model, head, sequences), alone),
    )


def _row(model: Any, ids: Sequence[int]) -> Tensor:
    return torch.tensor([ids], device=model.device)


def _head(model: Any, ids: Sequence[int], output: Any) -> Head:
    logits = getattr(output, "logits", None)
    if logits is None or logits.ndim < 3:
        return "none"  # a body, or a reward model
    head = model.get_output_embeddings()
    try:
        found = head(model.base_model(input_ids=_row(model, ids), use_cache=False).last_hidden_state)
    except Exception:  # no head or no body that can be called separately
        return "own"
    return "plain" if near(model, found[0], logits[0]) else "own"


def _same(model: Any, compute: Callable[[], Tensor], alone: Sequence[Tensor]) -> bool:
    try:
        found = compute()
    except Exception:  # the network takes no such rows
        return False
    return near(model, found, torch.cat(list(alone)))


def _padded(model: Any, head: Head, sequences: Sequence[list[int]]) -> Tensor:
    width = max(map(len, sequences))
    rows = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in sequences], device=model.device)
    return torch.cat([row[: len(ids)] for row, ids in zip(computed(model, rows, head=head), sequences, strict=True)])


def _packed(model: Any, head: Head, sequences: Sequence[list[int]]) -> Tensor:
    rows = torch.tensor([[*sequences[0], *sequences[1], 0, 0], [*sequences[1], *sequences[0], 0, 0]])
    a, b = len(sequences[0]), len(sequences[1])
    positions = torch.tensor([[*range(a), *range(b), 0, 0], [*range(b), *range(a), 0, 0]])
    first, second = computed(model, rows.to(model.device), positions.to(model.device), head)
    two, three = sequences[2:]
    rows = torch.tensor([[*two, *three]], device=model.device)
    positions = torch.tensor([[*range(len(two)), *range(len(three))]], device=model.device)
    last = computed(model, rows, positions, head)[0]
    if not near(model, second[:b], first[a : a + b]) or not near(model, second[b : b + a], first[:a]):
        return last[:0]
    return torch.cat([first[: a + b], last])
