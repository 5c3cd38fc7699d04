"""Attention within a row of sequences side by side: which tokens attend to which, computed part by part."""

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from training.fast.caches import PromptCache

RAGGED = "ragged"  # the name of `attend` in a network's config


class Span(NamedTuple):
    """One group's columns: the prompt's are [start, ends[0]), completion i's are [ends[i], ends[i + 1])."""

    start: int
    ends: tuple[int, ...]


class Columns(NamedTuple):
    """Columns of some tokens of each of several sequences side by side."""

    first: int
    sequences: int  # how many
    tokens: int  # of each sequence
    apart: int  # columns from one sequence's first to the next one's


Part = tuple[Columns, Columns, bool]  # queries, keys, and whether it is the first part of these queries


class Layout(NamedTuple):
    """A row's structure for attention: the groups' columns, the parts that follow from them, the longest sequence."""

    spans: tuple[Span, ...]
    parts: tuple[Part, ...]
    longest: int
    owners: Tensor  # [T]: within a group 0 for the prompt's tokens, i for those of the i-th completion
    of_last_layer: "Layout | None" = None  # set if only some tokens' hidden states are read
    attending: Tensor | None = None  # [n]: the tokens that attend, if not the whole row


def new_layout(spans: Sequence[Span], longest: int, owners: Tensor) -> Layout:
    """Build the layout of these groups; `longest` counts the tokens of the longest sequence, its prompt included."""
    return Layout(tuple(spans), tuple(_parts(spans)), longest, owners)


def reading(layout: Layout, needed: Tensor) -> Layout:
    """Add a last-layer layout where, in each sequence, only the first to the last `needed` token ([T] bool) attend."""
    before = [0, *needed.cumsum(0).tolist()]
    columns = needed.nonzero().squeeze(1).tolist()
    runs = {}
    for start, end in _sequences(layout.spans):
        if before[start] < before[end]:
            runs[start] = columns[before[start]], columns[before[end] - 1] + 1
        else:
            runs[start] = start, start
    attending = torch.tensor([place for run in runs.values() for place in range(*run)], dtype=torch.long)
    of_last_layer = layout._replace(parts=tuple(_parts(layout.spans, runs)), attending=attending)
    return layout._replace(of_last_layer=of_last_layer)


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Compute attention as transformers calls it: query [1, H, T, C], key and value [1, G, T, C] -> [1, T, H, C]."""
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
    query, key = query.to(value.dtype), key.to(value.dtype)  # under autocast, rotary embeddings return float32
    heads = query.shape[1] // key.shape[1]
    if heads > 1:
        key, value = key.repeat_interleave(heads, 1), value.repeat_interleave(heads, 1)
    if query.device.type == "cpu":
        return _Flash.apply(query, key, value, layout.parts, scale).transpose(1, 2), None
    return _masked(query, key, value, layout, scale).transpose(1, 2), None


def _masked(query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float) -> Tensor:
    """Compute attention [1, H, T, C] with a mask within each group, on any device."""
    outs = []
    for span in layout.spans:
        place = slice(span.start, span.ends[-1])
        owner = layout.owners[place]
        mask = ((owner[:, None] == owner) | (owner == 0)).tril()
        q, k, v = (tensor[:, :, place] for tensor in (query, key, value))
        outs.append(F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale))
    return torch.cat(outs, 2)


class _Flash(torch.autograd.Function):
    """Attention on the CPU in parts that are each full or causal, so that no score is computed in vain.

    A completion's two parts, on itself and on the prompt, are joined by their log-sum-exps [Milakov 2018]. In the
    backward pass every part takes the joint output and log-sum-exp, which makes its gradients those of the whole.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, parts: Sequence[Part], scale: float) -> Tensor:
        out = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)
        norm = torch.empty(query.shape[:3], dtype=torch.promote_types(query.dtype, torch.float32))
        for q, k, own in parts:
            found, found_norm = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                _cut(query, q), _cut(key, k), _cut(value, k), 0.0, _causal(q, k, own), scale=scale
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
        new = torch.empty_like if query.shape[2] == key.shape[2] else torch.zeros_like  # keys may lack a query
        gradients = [torch.empty_like(query), new(key), new(value)]
        for q, k, own in ctx.parts:
            found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                _cut(gradient, q), _cut(query, q), _cut(key, k), _cut(value, k), _cut(out, q), _cut(norm, q),
                0.0, _causal(q, k, own), scale=ctx.scale,
            )  # fmt: skip
            for whole, place, part in zip(gradients, (q, k, k), found, strict=True):
                if own:  # every token's own part comes first
                    _cut(whole, place).copy_(part)
                else:
                    _cut(whole, place).add_(part)
        return *gradients, None, None


def _sequences(spans: Sequence[Span]) -> Iterator[tuple[int, int]]:
    """Yield the columns [first, end) of each non-empty prompt and completion."""
    for start, ends in spans:
        yield from ((first, end) for first, end in pairwise((start, *ends)) if first < end)


def _parts(spans: Sequence[Span], runs: dict[int, tuple[int, int]] | None = None) -> Iterator[Part]:
    """Yield the parts of attention: each sequence to itself, then a group's completions all at once to their prompt.

    `runs` maps each sequence's first column to the only columns of it that attend; queries of those alone are side by
    side.
    """
    place = 0
    for span in spans:
        start, prompt = span.start, span.ends[0] - span.start
        shapes = []
        for first, end in _sequences([span]):
            run = runs[first] if runs else (first, end)
            shapes.append((first, (end - first, run[0] - first, run[1] - run[0])))
        behind_prompt = place + (shapes[0][1][2] if prompt else 0)
        for (length, skipped, tokens), alike in groupby(shapes, key=itemgetter(1)):  # equal neighbours together
            firsts = [first for first, _ in alike]
            first, count = firsts[0], len(firsts)
            queries = Columns(place, count, tokens, tokens)
            place += count * tokens
            if tokens == 1:
                yield queries, Columns(first, count, skipped + 1, length), True
            elif tokens:
                yield queries, Columns(first + skipped, count, tokens, length), True
                if skipped:
                    yield queries, Columns(first, count, skipped, length), False
        if prompt and place > behind_prompt:
            tokens = place - behind_prompt
            yield Columns(behind_prompt, 1, tokens, tokens), Columns(start, 1, prompt, prompt), False


def _cut(tensor: Tensor, columns: Columns) -> Tensor:
    """Return a view [sequences, H, tokens, ...] of [1, H, T, ...]."""
    first, count, tokens, apart = columns
    _, heads, *rest = tensor.shape
    _, head, column, *strides = tensor.stride()
    return tensor.as_strided(
        (count, heads, tokens, *rest[1:]),
        (apart * column, head, column, *strides),
        tensor.storage_offset() + first * column,
    )


def _causal(attending: Columns, attended: Columns, own: bool) -> bool:
    return own and attending.tokens == attended.tokens  # a sequence's last token sees all of it


AttentionInterface.register(RAGGED, attend)
AttentionMaskInterface.register(RAGGED, sdpa_mask)
