"""Rows of one width: padding, and the positions of the tokens in them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def position_ids(attention_mask: Tensor) -> Tensor:
    """Return the positions [B, S] of real tokens, counted from 0, wherever the padding is."""
    return (attention_mask.long().cumsum(1) - 1).clamp(min=0)


def pad(rows: Sequence[Sequence[int]], pad_id: int, left: bool = False, device: Any = None) -> tuple[Tensor, Tensor]:
    """Return (input_ids, attention_mask) [B, S] of token lists padded to the longest."""
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad_id)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for index, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[index, place] = torch.tensor(row, dtype=torch.long)
        mask[index, place] = 1
    return ids.to(device), mask.to(device)
