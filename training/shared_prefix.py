"""Many sequences in one row without padding, and completions of a prompt that share its one computation.

All tokens of a micro-batch lie side by side in one row [1, T]: of each group first the prompt, then its completions,
each with positions that go on where the prompt ends. Everything but attention works token by token and never notices;
attention goes group by group: the prompt sees itself, a completion sees the prompt and itself, and nothing sees more.
A group without a prompt is plain packing.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from training.caches import PromptCache
from training.parallel import as_forward

RAGGED = "ragged"
Group = tuple[Sequence[int], Sequence[Sequence[int]]]  # the ids of a prompt, and of each of its completions


class Span(NamedTuple):
    """One group's columns: the prompt's are [start, ends[0]), completion i's are [ends[i], ends[i + 1])."""

    start: int
    ends: tuple[int, ...]


Columns = tuple[int, int, int]  # the first, how many sequences side by side, tokens of each
Part = tuple[Columns, Columns, bool]  # who attends, to whom, and whether each to what is its own, causally


class Layout(NamedTuple):
    """What attention needs to know of a row: the groups' columns, the parts that follow, the longest sequence."""

    spans: tuple[Span, ...]
    parts: tuple[Part, ...]
    longest: int
    owners: Tensor  # [T]: within a group 0 for the prompt's tokens, i for those of the i-th completion


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
    layout = Layout(tuple(spans), tuple(_parts(spans)), max(positions) + 1, rows[2])
    return Ragged(rows[:1], rows[1:2], layout, torch.tensor(last, device=device))


def side_by_side(input_ids: Tensor, attention_mask: Tensor) -> Ragged:
    """The real tokens of padded rows [B, S], row after row, each row a sequence of its own."""
    real = attention_mask.bool()
    lengths = real.sum(1)
    ends = (0, *lengths.cumsum(0).tolist())
    span = Span(0, ends)
    owners = torch.arange(1, len(ends), device=real.device).repeat_interleave(lengths)
    layout = Layout((span,), tuple(_parts([span])), int(lengths.max()), owners)
    last = torch.tensor(ends[1:], device=real.device) - 1
    return Ragged(input_ids[real][None], (real.cumsum(1) - 1)[real][None], layout, last)


def wants_no_padding(model: Any, attention_mask: Tensor) -> bool:
    """Whether rows are better computed side by side than padded: on a CPU, where that takes no mask as wide as all."""
    return (
        can_be_ragged(model, attention_mask.shape[1])
        and attention_mask.device.type == "cpu"
        and not bool(attention_mask.all())
    )


def hidden_states(model: Any, row: Ragged) -> Tensor:
    """The last hidden states [T, D] of a row's tokens by the body of `model`, which must be `can_be_ragged`."""
    return model.base_model(
        input_ids=row.input_ids, position_ids=row.positions, use_cache=False, **layout_arguments(model, row.layout)
    ).last_hidden_state[0]


def layout_arguments(model: Any, layout: Layout | PromptCache) -> dict[str, Any]:
    """What a forward pass takes besides ids and positions; from then on `model` attends by our function."""
    if model.config._attn_implementation != RAGGED:
        model.set_attn_implementation(RAGGED)  # for good: without a layout it is sdpa
    # Four dimensions: transformers takes it for a finished mask and builds none [T, T]. Attention does not read it.
    return {"attention_mask": torch.empty(0, 0, 0, 0), "layout": layout}


@torch.no_grad()
def can_be_ragged(model: Any, longest: int = 0) -> bool:
    """Whether the network hands attention to us and mixes tokens nowhere else: tried out, once per network.

    A sequence of `longest` tokens must see all of itself: no window may be narrower.
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
    try:
        mixed = hidden_states(model, ragged(groups, model.device))
    except ValueError:  # attention that is not plain
        return False
    place = 0
    for prompt, completions in groups:
        columns = list(range(place, place + len(prompt)))
        place += len(prompt)
        for completion in completions:
            alone = torch.tensor([[*prompt, *completion]], device=model.device)
            expected = model.base_model(input_ids=alone, use_cache=False).last_hidden_state[0].float()
            found = mixed[[*columns, *range(place, place + len(completion))]].float()
            place += len(completion)
            if (found - expected).norm() > 0.05 * expected.norm():  # bfloat16 is far nearer, a neighbour far further
                return False
    return True


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """transformers' attention function: query [1, H, T, C], key and value [1, G, T, C] -> [1, T, H, C]."""
    layout = kwargs.pop("layout", None)
    if layout is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    scale = kwargs.get("scaling")
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if isinstance(layout, PromptCache):
        return layout.attend(module.layer_idx, query, scale), None
    window = kwargs.get("sliding_window")
    if (window is not None and window < layout.longest) or any(kwargs.get(k) is not None for k in ("softcap", "s_aux")):
        raise ValueError(f"{type(module).__name__}: not plain attention within {layout.longest} tokens; pad instead")
    query, key = query.to(value.dtype), key.to(value.dtype)  # under autocast, rotary embeddings leave float32 behind
    heads = query.shape[1] // key.shape[1]
    if heads > 1:
        key, value = key.repeat_interleave(heads, 1), value.repeat_interleave(heads, 1)
    if query.device.type == "cpu":
        return _Flash.apply(query, key, value, layout.parts, scale).transpose(1, 2), None
    return _masked(query, key, value, layout, scale).transpose(1, 2), None


def _lengths(span: Span) -> list[int]:
    return [end - start for start, end in zip(span.ends, span.ends[1:], strict=False)]


def _masked(query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float) -> Tensor:
    """Attention [1, H, T, C] by a mask within each group, on any device."""
    outs = []
    for span in layout.spans:
        place = slice(span.start, span.ends[-1])
        owner = layout.owners[place]
        mask = ((owner[:, None] == owner) | (owner == 0)).tril()
        q, k, v = (tensor[:, :, place] for tensor in (query, key, value))
        outs.append(F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale))
    return torch.cat(outs, 2)


class _Flash(torch.autograd.Function):
    """Attention on the CPU in parts that each are full or causal, so that no score is computed in vain.

    A completion's two parts, on itself and on the prompt, are joined by their log-sum-exps [Milakov 2018]; in the
    backward pass every part takes the joint output and log-sum-exp, which makes its gradients those of the whole.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, parts: Sequence[Part], scale: float) -> Tensor:
        out = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)
        norm = torch.empty(query.shape[:3], dtype=torch.promote_types(query.dtype, torch.float32))
        for q, k, own in parts:
            found, found_norm = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                _cut(query, q), _cut(key, k), _cut(value, k), 0.0, own, scale=scale
            )
            place, place_norm = _cut(out, q), _cut(norm, q)
            if own:
                place.copy_(found)
                place_norm.copy_(found_norm)
            else:
                place.lerp_(found, torch.sigmoid(found_norm - place_norm)[..., None].to(found.dtype))
                place_norm.copy_(torch.logaddexp(place_norm, found_norm))
        ctx.save_for_backward(query, key, value, out, norm)
        ctx.parts, ctx.scale = parts, scale
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, norm = ctx.saved_tensors
        gradients = [torch.empty_like(tensor) for tensor in (query, key, value)]
        for q, k, own in ctx.parts:
            found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                _cut(gradient, q), _cut(query, q), _cut(key, k), _cut(value, k), _cut(out, q), _cut(norm, q),
                0.0, own, scale=ctx.scale,
            )  # fmt: skip
            for whole, place, part in zip(gradients, (q, k, k), found, strict=True):
                if own:  # every token's own part comes first
                    _cut(whole, place).copy_(part)
                else:
                    _cut(whole, place).add_(part)
        return *gradients, None, None


def _parts(spans: Sequence[Span]) -> Iterator[Part]:
    """What attends to itself, causally, then of each group all completions at once to their prompt."""
    for start, ends in spans:
        prompt = (start, 1, ends[0] - start)
        if prompt[2]:
            yield prompt, prompt, True
        place = ends[0]
        for length, equal in groupby(_lengths(Span(start, ends))):  # neighbours of one length go together
            count = len(list(equal))
            if length:
                yield (place, count, length), (place, count, length), True
            place += count * length
        if prompt[2] and place > ends[0]:
            yield (ends[0], 1, place - ends[0]), prompt, False


def _cut(tensor: Tensor, columns: Columns) -> Tensor:
    """A view [sequences, H, tokens, ...] of [1, H, T, ...]."""
    first, count, length = columns
    view = tensor.narrow(2, first, count * length)
    return view if count == 1 else view[0].unflatten(1, (count, length)).transpose(0, 1)


AttentionInterface.register(RAGGED, _attention)
AttentionMaskInterface.register(RAGGED, sdpa_mask)
