"""Packing: sequences share rows, so that a short document costs no padding; none attends to its neighbours."""

import hashlib
import math
import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from training.contract.configs import DPOConfig, RewardModelConfig, SFTConfig
from training.fast.shared_prefix import can_be_ragged, ragged
from training.networks.forms import forms
from training.run import parallel
from training.text.logprobs import row_logprobs, selected_logprobs
from training.text.padding import pad

PACKING_WINDOW = 512  # sequences that are sorted into rows together


class MicroBatch(NamedTuple):
    """Part of a step's work: its size in tokens, and a function that computes its share of the step's loss."""

    tokens: int
    compute: Callable[[], Any]


class PackedRows(NamedTuple):
    """Rows [B, S]: token ids, positions that restart at 0 with each sequence, and which tokens to predict."""

    input_ids: Tensor
    positions: Tensor
    selected: Tensor


def shuffled(members: Sequence[int], config: SFTConfig | RewardModelConfig | DPOConfig) -> list[list[int]]:
    """Return the members of each step: every epoch is shuffled separately and split into steps of about equal size."""
    steps: list[list[int]] = []
    for epoch in range(config.epochs):
        order = list(members)
        random.Random(f"{config.seed} epoch {epoch}").shuffle(order)
        count = math.ceil(len(order) / config.batch_size)
        steps += [order[number::count] for number in range(count)]
    return steps


def pack(lengths: Sequence[int], row_tokens: int) -> list[list[int]]:
    """Return each row's sequence indices: first fit, longest first, window by window to keep the order roughly."""
    rows: list[list[int]] = []
    for start in range(0, len(lengths), PACKING_WINDOW):
        window = range(start, min(start + PACKING_WINDOW, len(lengths)))
        room: list[int] = []
        first = len(rows)
        for index in sorted(window, key=lambda i: -lengths[i]):
            place = next((place for place, free in enumerate(room) if lengths[index] <= free), len(room))
            if place == len(room):
                room.append(max(row_tokens, lengths[index]))
                rows.append([])
            room[place] -= lengths[index]
            rows[first + place].append(index)
    return rows


def packed_rows(
    rows: Sequence[Sequence[int]], sequences: Sequence[list[int]], masks: Sequence[list[bool]], pad_id: int
) -> PackedRows:
    """Build the tensors of some rows, padded to the longest; a sequence's first token is never selected."""
    width = max(sum(len(sequences[index]) for index in row) for row in rows)
    ids = torch.full((len(rows), width), pad_id)
    positions = torch.zeros((len(rows), width), dtype=torch.long)  # each padding token is its own sequence
    selected = torch.zeros((len(rows), width), dtype=torch.bool)
    for number, row in enumerate(rows):
        start = 0
        for index in row:
            end = start + len(sequences[index])
            ids[number, start:end] = torch.tensor(sequences[index])
            positions[number, start:end] = torch.arange(end - start)
            selected[number, start + 1 : end] = torch.tensor(masks[index][1:], dtype=torch.bool)
            start = end
    return PackedRows(ids, positions, selected)


def read_documents(path: Path) -> list[str]:
    """Read the documents of a UTF-8 text file, separated by blank lines."""
    if not path.is_file():
        raise ValueError(f"{path}: no such text file")
    documents = [document.strip("\n") for document in path.read_text(encoding="utf-8").split("\n\n")]
    documents = [document for document in documents if document.strip()]
    if not documents:
        raise ValueError(f"{path}: holds no text")
    return documents


def digest(documents: Iterable[str]) -> str:
    """Hash the documents, in order."""
    hashed = hashlib.sha256()
    for document in documents:
        hashed.update(document.encode() + b"\n\n")
    return hashed.hexdigest()


def pieces(ids: list[int], limit: int) -> list[list[int]]:
    """Cut a long document into pieces of at most `limit` tokens; only the context across a cut is lost."""
    return [ids[start : start + limit] for start in range(0, len(ids), limit)]


def cross_entropy(
    model: Any,
    rows: Sequence[Sequence[int]],
    sequences: Sequence[list[int]],
    masks: Sequence[list[bool]],
    forbidden: Tensor,
    pad_id: int,
    micro_batch_tokens: int,
) -> list[MicroBatch]:
    """Return the rows as micro-batches, each a share of the mean cross-entropy (nats) over all selected tokens."""
    order = [index for row in rows for index in row]
    total = sum(sum(masks[index][1:]) for index in order)
    lengths = [len(sequences[index]) for index in order]

    def ragged_share(chosen: list[int]) -> Tensor:
        row = ragged([([], [sequences[index] for index in chosen])], forbidden.device)
        wanted = [flag for index in chosen for flag in (False, *masks[index][1:])]
        selected = torch.tensor(wanted, device=forbidden.device)
        return -row_logprobs(model, row, selected, forbidden).sum() / total

    if order and can_be_ragged(model, max(lengths)):  # no row-wide mask, no padding: at least a quarter faster
        return [
            MicroBatch(sum(lengths[place] for place in batch), partial(ragged_share, [order[place] for place in batch]))
            for batch in in_order(lengths, micro_batch_tokens)
        ]

    def padded_share(chosen: list[int]) -> Tensor:
        ids, mask = pad([sequences[index] for index in chosen], pad_id, device=forbidden.device)
        selected, _ = pad([[0, *masks[index][1:]] for index in chosen], 0, device=forbidden.device)
        return -selected_logprobs(model, ids, selected.bool(), forbidden, mask).sum() / total

    if order and not forms(model).packed:
        return [
            MicroBatch(sum(lengths[place] for place in batch), partial(padded_share, [order[place] for place in batch]))
            for batch in micro_batches(lengths, micro_batch_tokens)
        ]

    def share(batch: list[int]) -> Tensor:
        packed = packed_rows([rows[index] for index in batch], sequences, masks, pad_id)
        ids, positions, selected = (tensor.to(forbidden.device) for tensor in packed)
        return -selected_logprobs(model, ids, selected, forbidden, positions=positions).sum() / total

    widths = [sum(len(sequences[i]) for i in row) for row in rows]
    return [
        MicroBatch(sum(widths[index] for index in batch), partial(share, batch))
        for batch in micro_batches(widths, micro_batch_tokens)
    ]


def micro_batches(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Batch indices of nearly equal length, each batch padded to at most `tokens` tokens unless one alone is longer."""
    tokens = parallel.fair_limit(tokens, sum(lengths))
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if not batches or lengths[batches[-1][0]] * (len(batches[-1]) + 1) > tokens:
            batches.append([])
        batches[-1].append(index)
    return batches


def in_order(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Batch neighbouring indices, each batch at most `tokens` tokens in total unless one alone is longer."""
    tokens = parallel.fair_limit(tokens, sum(lengths))
    batches: list[list[int]] = []
    room = 0
    for index, length in enumerate(lengths):
        if not batches or length > room:
            batches.append([])
            room = tokens
        batches[-1].append(index)
        room -= length
    return batches
