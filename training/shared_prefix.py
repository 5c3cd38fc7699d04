"""Many sequences in one row without padding, and completions of a prompt that share its one computation.

All tokens of a micro-batch lie side by side in one row [1, T]: of each group first the prompt, then its completions,
each with positions that go on where the prompt ends. Everything but attention works token by token and never notices;
attention goes group by group: the prompt sees itself, a completion sees the prompt and itself, and nothing sees more.
A group without a prompt is plain packing.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from training import layers
from training.caches import PromptCache
from training.parallel import as_forward
from training.ragged_attention import RAGGED, Layout, Span, attend, new_layout, reading

Group = tuple[Sequence[int], Sequence[Sequence[int]]]  # the ids of a prompt, and of each of its completions


class Ragged(NamedTuple):
    """Groups in one row: token ids and positions [1, T], the layout, each completion's last column [N]."""

    input_ids: Tensor
    positions: Tensor
    layout: Layout
    last: Tensor


def ragged(groups: Sequence[Group], device: Any = None) -> Ragged:
    """The groups side by side; an empty completion ends where its prompt does."""
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
    """The real tokens of padded rows [B, S], row after row, each row a sequence of its own."""
    real = attention_mask.bool()
    lengths = real.sum(1)
    ends = (0, *lengths.cumsum(0).tolist())
    owners = torch.arange(1, len(ends), device=real.device).repeat_interleave(lengths)
    layout = new_layout([Span(0, ends)], int(lengths.max()), owners)
    last = torch.tensor(ends[1:], device=real.device) - 1
    return Ragged(input_ids[real][None], (real.cumsum(1) - 1)[real][None], layout, last)


def wants_no_padding(model: Any, attention_mask: Tensor) -> bool:
    """Whether rows are better computed side by side than padded: on a CPU, where that takes no mask as wide as all."""
    return attention_mask.device.type == "cpu" and can_be_ragged(model, attention_mask.shape[1])


def hidden_states(model: Any, row: Ragged, needed: Tensor | None = None) -> Tensor:
    """The last hidden states [T, D] of a row's tokens by the body of `model`, which must be `can_be_ragged`.

    Of the `needed` [T] bool alone [n, D], where all are not: no more is computed of the others than these see of them.
    """
    if needed is None:
        return whole_row(model.base_model, row).last_hidden_state[0]
    if needed.device.type == "cpu":
        row = row._replace(layout=reading(row.layout, needed))
    hidden = whole_row(model.base_model, row).last_hidden_state[0]
    return hidden[needed if len(hidden) == len(needed) else needed[row.layout.of_last_layer.attending]]


def whole_row(model: Any, row: Ragged) -> Any:
    """The output of a forward pass."""
    return model(
        input_ids=row.input_ids, position_ids=row.positions, use_cache=False, **layout_arguments(model, row.layout)
    )


def layout_arguments(model: Any, layout: Layout | PromptCache) -> dict[str, Any]:
    """What a forward pass takes besides ids and positions; from then on `model` attends by our function."""
    if model.config._attn_implementation != RAGGED:
        model.set_attn_implementation(RAGGED)  # for good: without a layout it is sdpa
    # Four dimensions: transformers takes it for a finished mask and builds none [T, T]. Attention does not read it.
    return {"attention_mask": torch.empty(0, 0, 0, 0), "layout": layout}


@torch.no_grad()
def can_be_ragged(model: Any, longest: int = 0) -> bool:
    """Whether the network hands attention to us and mixes tokens nowhere else: tried out, once per network.

    From then on it does, and one of Llama's kind computes its layers by our functions (training/layers.py). A sequence
    of `longest` tokens must see all of itself: no window may be narrower.
    """
    known = getattr(model, "_can_be_ragged", None)
    if known is None:
        was_training = model.training
        model.eval()  # dropout would make any two passes differ, and draw random numbers that a resumed run does not
        known = model._can_be_ragged = _tried(model)
        model.train(was_training)
    window = getattr(model.config, "sliding_window", None)
    return known and (window is None or longest <= window or not getattr(model.config, "use_sliding_window", True))


@as_forward
def _tried(model: Any) -> bool:
    if not getattr(model, "_supports_attention_backend", False) or model.config._attn_implementation not in (
        "sdpa",
        RAGGED,
    ):
        return False
    groups = [([0, 1, 2], [[3, 4], [4]]), ([], [[2, 0]])]  # ids that the smallest vocabulary has
    alone = [
        model.base_model(torch.tensor([[*prompt, *completion]], device=model.device), use_cache=False)
        for prompt, completions in groups
        for completion in completions
    ]
    first, second, third = (output.last_hidden_state[0] for output in alone)
    expected = torch.cat([first, second[3:], third])
    if layers.adopt(model, attend):
        if _agrees(model, groups, expected):
            return True
        layers.abandon(model)
    return _agrees(model, groups, expected)


def _agrees(model: Any, groups: Sequence[Group], expected: Tensor) -> bool:
    try:
        found = hidden_states(model, ragged(groups, model.device))
    except (RuntimeError, ValueError):  # its attention is not plain: tensors do not fit, or ours refuses it
        return False
    near = 1e-4 if expected.dtype == torch.float32 else 0.05  # either is far nearer, a neighbour far further
    return bool((found - expected).float().norm() <= near * expected.float().norm())
