"""Key-value caches for sampling.

transformers' own dynamic cache copies all keys and values for every token, which was 60 % of the time of a small
network on a CPU. `PromptCache` copies none, and holds a prompt once for all its samples; `room_cache` serves every
other network.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from training.fast import is_off

ROOM_TOKENS = 64  # spare capacity: keys and values are copied once per so many tokens, not for every token
BLOCK_TOKENS, BLOCK_ENTRIES = 16, 1024  # at least, per row and over all rows; contiguous memory is read faster


class PromptCache(DynamicCache):
    """Keys and values of P prompts, each held once, and of the tokens of B rows, each of which continues one prompt.

    The rows' tokens are held in blocks, so that nothing is copied when the cache grows.
    """

    def __init__(self, prefilled: Cache, prompt_mask: Tensor, owners: Tensor) -> None:
        """Build the cache from a prefill of P prompts.

        prompt_mask [P, S] marks non-padding tokens; owners [B] is each row's prompt.
        """
        super().__init__()
        # Keys and values, for L layers, G heads and width C: of prompts [L, 2, P, G, S, C], of rows [L, 2, B, G, T, C].
        held = [held_by(layer) for layer in prefilled.layers]
        self.prompts = held[0][0].new_empty(len(held), 2, *held[0][0].shape)
        for layer, (keys, values) in zip(self.prompts, held, strict=True):
            layer[0], layer[1] = keys, values
        self.blocks: list[Tensor] = []
        self.written = self.free = 0  # tokens per row; tokens that still fit into the last block
        self.bias = None  # [P, 1, 1, S]: -inf at a shorter prompt's padding
        if not prompt_mask.all():
            self.bias = torch.zeros(prompt_mask.shape).masked_fill_(~prompt_mask.bool(), -torch.inf)[:, None, None]
        self._own(owners)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Store one layer's keys and values [B, G, 1, C] of each row's newest token, and return them."""
        rows, groups, _, width = key_states.shape
        if layer_idx == 0:
            if not self.free:  # grow by a quarter, so that even a long completion has few blocks
                self.free = max(BLOCK_TOKENS, BLOCK_ENTRIES // rows, self.written // 4)
                self.blocks.append(key_states.new_empty(*self.prompts.shape[:2], rows, groups, self.free, width))
            self.written, self.free = self.written + 1, self.free - 1
        newest = self.blocks[-1][layer_idx, :, :rows, :, -self.free - 1]
        newest[0], newest[1] = key_states[:, :, 0], value_states[:, :, 0]
        return key_states, value_states

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows, in this order, and the prompts that they continue."""
        owners = self.owners[indices]
        prompts = closed_up(torch.bincount(owners, minlength=self.count) > 0)
        _move(self.blocks, indices, 2)
        _move([self.prompts], prompts, 2)
        if self.bias is not None:
            self.bias = self.bias[prompts]
        places = torch.empty(self.count, dtype=torch.int64)
        places[prompts] = torch.arange(len(prompts))
        self._own(places[owners])

    def attend(self, layer: int, query: Tensor, scale: float) -> Tensor:
        """Attend from each row's newest token, `query` [B, H, 1, C], to its prompt and own tokens: [B, 1, H, C]."""
        keys, values = self.prompts[layer, :, : self.count]
        (rows, heads, _, width), groups = query.shape, keys.shape[1]
        query = (query * scale).reshape(rows * groups, heads // groups, width)
        scores = torch.matmul(self._by_prompt(query, groups), keys.transpose(2, 3))  # [P, G, samples x H / G, S]
        if self.bias is not None:
            scores = scores + self.bias
        parts, own = [self._by_row(scores)], []
        for block in self.blocks:
            tokens = block.shape[4] - (self.free if block is self.blocks[-1] else 0)
            block_keys, block_values = block[layer, :, :rows, :, :tokens].flatten(1, 2)
            parts.append(torch.bmm(query, block_keys.transpose(1, 2)))
            own.append(block_values)
        weights = torch.cat(parts, dim=2).softmax(dim=2).split([part.shape[2] for part in parts], dim=2)
        out = self._by_row(torch.matmul(self._by_prompt(weights[0], groups), values))
        for part, block_values in zip(weights[1:], own, strict=True):
            out = torch.baddbmm(out, part, block_values)
        return out.view(rows, 1, heads, width)

    def _own(self, owners: Tensor) -> None:
        """Record each row's prompt [B], and its place when the rows of a prompt are put next to each other."""
        self.owners, counts = owners, torch.bincount(owners)
        self.count, self.samples = len(counts), int(counts.max())  # number of prompts; rows of the one with most
        order, before = owners.argsort(stable=True), counts.cumsum(0) - counts
        places = torch.empty_like(owners)
        places[order] = torch.arange(len(owners)) + (owners * self.samples - before[owners])[order]
        self.places, self.rows = places, None  # rows: the row at each place [P x samples], any at an empty place
        if not torch.equal(places, torch.arange(self.count * self.samples)):
            self.rows = torch.zeros(self.count * self.samples, dtype=torch.int64)
            self.rows[places] = torch.arange(len(owners))

    def _by_prompt(self, tensor: Tensor, groups: int) -> Tensor:
        """Reshape [B x G, H / G, N] to [P, G, samples x H / G, N]."""
        tensor = tensor.unflatten(0, (-1, groups))
        if self.rows is not None:
            tensor = tensor[self.rows]
        return tensor.unflatten(0, (self.count, self.samples)).transpose(1, 2).flatten(2, 3)

    def _by_row(self, tensor: Tensor) -> Tensor:
        """Reshape [P, G, samples x H / G, N] to [B x G, H / G, N]."""
        tensor = tensor.unflatten(2, (self.samples, -1)).transpose(1, 2).flatten(0, 1)
        if self.rows is not None:
            tensor = tensor[self.places]
        return tensor.flatten(0, 1)


def room_cache(config: Any) -> DynamicCache:
    """Return an empty cache that writes keys and values into spare capacity; other kinds of layers stay unchanged."""
    cache = DynamicCache(config=config)
    if is_off():
        return cache
    cache.layers = [_Room() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class _Room(DynamicLayer):
    """One layer's keys and values [B, heads, T, width], with spare capacity for the tokens to come."""

    def __init__(self) -> None:
        super().__init__()
        self.room: list[Tensor] = []  # keys, values [B, heads, capacity, width]

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append keys and values [B, heads, t, width] of t more tokens and return all so far."""
        length = self.get_seq_length()
        if length == 0:
            return super().update(key_states, value_states)
        end = length + key_states.shape[2]
        if not self.room or end > self.room[0].shape[2]:
            held, self.room = held_by(self), []
            for tensor in held:
                self.room.append(tensor.new_empty(*tensor.shape[:2], end + ROOM_TOKENS, tensor.shape[3]))
                self.room[-1][:, :, :length] = tensor
        for room, states in zip(self.room, (key_states, value_states), strict=True):
            room[: len(states), :, length:end] = states
        self._show(len(key_states), end)
        return held_by(self)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows, in this order; only rows that move are copied."""
        if not self.room:
            return super().batch_select_indices(indices)
        length = self.get_seq_length()
        _move([room[:, :, :length] for room in self.room], indices, 0)
        self._show(len(indices), length)

    def _show(self, rows: int, length: int) -> None:
        self.keys, self.values = (room[:rows, :, :length] for room in self.room)


def held_by(layer: object) -> tuple[Tensor, Tensor]:
    """Return the keys and values of a layer that holds some."""
    assert isinstance(layer, DynamicLayer) and layer.keys is not None and layer.values is not None
    return layer.keys, layer.values


def closed_up(live: Tensor) -> Tensor:
    """Return the indices of the n live rows of `live` [B] bool: those among the first n stay, the others fill gaps."""
    rows = live.nonzero().squeeze(1)
    kept = torch.arange(len(rows), device=live.device)
    kept[~live[: len(rows)]] = rows[rows >= len(rows)]
    return kept


def _move(tensors: list[Tensor], indices: Tensor, dim: int) -> None:
    """Move entry indices[i] along dimension `dim` of each tensor to place i; entries that stay cost nothing."""
    moved = (indices != torch.arange(len(indices), device=indices.device)).nonzero().squeeze(1)
    if len(moved):
        for tensor in tensors:
            tensor.index_copy_(dim, moved, tensor.index_select(dim, indices[moved]))
