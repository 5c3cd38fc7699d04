"""Reward models: an SFT network whose unembedding gives way to one score, their loss, their scores [InstructGPT 3.5].

Sign of the offset, once: our score = raw logit - score_offset, so plain transformers shows our score plus score_offset.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification
from transformers.utils import logging as transformers_logging

from training.intervals import share
from training.packing import micro_batches
from training.parallel import as_forward
from training.policy import fit_to_tokenizer, load_tokenizer, pad, position_ids, without_dropout
from training.shared_prefix import Group, Ragged, can_be_ragged, hidden_states, ragged

Form = Literal["padded", "packed", "shared"]


def new_reward_model(path: Path | str, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """(model, tokenizer) from a language network: unembedding gone, score head of std 1/sqrt(d+1) [Stiennon 2020]."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # it would warn that the score head is fresh, which is the point
    try:
        model, tokenizer = _load(path, dtype)
    finally:
        transformers_logging.set_verbosity(verbosity)
    nn.init.normal_(model.score.weight, std=1 / math.sqrt(model.score.weight.shape[1] + 1))
    if model.score.bias is not None:
        nn.init.zeros_(model.score.bias)
    model.config.score_offset = 0.0
    return model, tokenizer


def load_reward_model(path: Path | str, dtype: torch.dtype = torch.float32) -> tuple[Any, Any, float]:
    """(model, tokenizer, score_offset) of a trained reward model's folder."""
    model, tokenizer = _load(path, dtype)
    if not any("ForSequenceClassification" in name for name in model.config.architectures or []):
        raise ValueError(f"{path}: holds no reward model (its config names no ...ForSequenceClassification network)")
    return model, tokenizer, float(getattr(model.config, "score_offset", 0.0))


def _load(path: Path | str, dtype: torch.dtype) -> tuple[Any, Any]:
    tokenizer = load_tokenizer(path)
    config = without_dropout(AutoConfig.from_pretrained(path, local_files_only=True, num_labels=1))
    model = AutoModelForSequenceClassification.from_pretrained(path, config=config, dtype=dtype, local_files_only=True)
    if not isinstance(getattr(model, "score", None), nn.Linear):
        raise ValueError(
            f"{path}: {type(model).__name__} has no linear head named score; Llama, Qwen, GPT-2 and their like do"
        )
    fit_to_tokenizer(model, tokenizer)
    return model.eval(), tokenizer


def save_reward_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a folder that plain transformers loads with AutoModelForSequenceClassification."""
    model.config.pad_token_id, model.config.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@as_forward
def score(model: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Raw logits [B] at the last real token of `input_ids` [B, S], found by the mask and never by a token's id."""
    columns = torch.arange(input_ids.shape[1], device=input_ids.device)
    last = columns == (columns * attention_mask).argmax(1, keepdim=True)
    hidden = model.base_model(
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=position_ids(attention_mask),
        use_cache=False,
    ).last_hidden_state
    return _head(model, hidden[last])


def fastest_form(model: Any, groups: Sequence[Group]) -> Form:
    """How to compute the groups' scores: `padded` rows, `packed` side by side, or `shared` prompts.

    Measured in docs/benchmarks.md: what sharing saves must outweigh one more attention call per group, which it does
    from 6 tokens per completion on; side by side on a CPU the last layer computes no more than the scores need.
    """
    lengths = [len(prompt) + len(completion) for prompt, completions in groups for completion in completions]
    if not can_be_ragged(model, max(lengths)):
        return "padded"
    saved = sum(len(prompt) * (len(completions) - 1) for prompt, completions in groups)
    if saved >= 6 * len(lengths):
        return "shared"
    even = sum(lengths) >= 0.98 * max(lengths) * len(lengths)
    return "padded" if even and model.device.type != "cpu" else "packed"


def score_groups(model: Any, groups: Sequence[Group], pad_id: int, form: Form | None = None) -> Tensor:
    """Raw logits [N] of the groups' completions in order; the forms differ in speed alone, padded is the oracle."""
    form = form or fastest_form(model, groups)
    whole = [[*prompt, *completion] for prompt, completions in groups for completion in completions]
    if form == "padded":
        return score(model, *pad(whole, pad_id, device=model.device))
    return _score_row(model, ragged(groups if form == "shared" else [([], whole)], model.device))


@as_forward
def _score_row(model: Any, row: Ragged) -> Tensor:
    needed = torch.zeros_like(row.input_ids[0], dtype=torch.bool)
    needed[row.last] = True
    places = needed.cumsum(0) - 1  # an empty completion ends where its prompt does, maybe not alone
    return _head(model, hidden_states(model, row, needed)[places[row.last]])


def _head(model: Any, hidden: Tensor) -> Tensor:
    """Raw logits [N] of hidden states [N, D] in float32: bfloat16 could not tell 3.00 from 3.01."""
    weight, bias = model.score.weight, model.score.bias
    dtype = torch.promote_types(weight.dtype, torch.float32)
    with torch.autocast(hidden.device.type, enabled=False):
        scores = F.linear(hidden.to(dtype), weight.to(dtype), bias if bias is None else bias.to(dtype))
    return scores.squeeze(1).float()


@torch.no_grad()
def score_sequences(model: Any, sequences: Sequence[list[int]], pad_id: int, micro_batch_tokens: int = 16384) -> Tensor:
    """Raw logits [N] of prompt + completion token lists, on the CPU, in batches of nearly equal length."""
    scores = torch.zeros(len(sequences))
    for batch in micro_batches([len(sequence) for sequence in sequences], micro_batch_tokens):
        ids, mask = pad([sequences[index] for index in batch], pad_id, device=model.device)
        scores[batch] = score(model, ids, mask).cpu()
    return scores


class Pair(NamedTuple):
    """Indices of a preferred and another completion, and how much either order of the two counts.

    Certain: 1 and 0. A judge's probability p that the first is better: p and 1 - p. A tie: 1 and 1.
    """

    chosen: int
    rejected: int
    weight: float = 1.0
    opposite_weight: float = 0.0


def k_wise_loss(
    scores: Tensor, groups: Sequence[Sequence[Pair]], prompts_in_step: int, tie_margin: float = 0.0
) -> Tensor:
    """Eq. 1 over some prompts of a step: the mean of -log sigmoid(chosen - rejected) of each prompt's pairs, averaged.

    `scores` [N]; each group holds one prompt's pairs of indices into them; a prompt without a pair adds nothing.
    `prompts_in_step` counts the prompts with a pair in the whole optimizer step, so that the losses of its
    micro-batches sum up to its loss. With a `tie_margin` m > 0 an order is sigmoid(difference - m) probable and a tie
    takes the rest, (e^2m - 1) sigmoid(difference - m) sigmoid(-difference - m) [Rao & Kupper 1967]; at 0 there must be
    no ties.
    """
    pairs = [pair for group in groups for pair in group]
    if not pairs:
        return scores.sum() * 0.0
    chosen, rejected, weights, opposite_weights = zip(*pairs, strict=True)
    parts = [1 / (len(group) * prompts_in_step) for group in groups for _ in group]
    difference = scores[list(chosen)] - scores[list(rejected)]
    weight, opposite, part = (difference.new_tensor(values) for values in (weights, opposite_weights, parts))
    loss = -weight * F.logsigmoid(difference - tie_margin) - opposite * F.logsigmoid(-difference - tie_margin)
    if tie_margin > 0:
        loss = loss - (weight + opposite - 1) * math.log(math.expm1(2 * tie_margin))  # a tie's two weights add up to 2
    return (loss * part).sum()


def pairs_right(scores: Sequence[float], groups: Sequence[Sequence[Pair]]) -> list[list[float]]:
    """For each pair of a group, ties left out: 1 where the chosen completion scores higher, 1/2 where both score alike.

    `groups` hold the pairs of one prompt each, as indices into `scores` [N].
    """
    return [
        [1.0 if scores[a] > scores[b] else 0.5 if scores[a] == scores[b] else 0.0 for a, b, w, o in pairs if w > o]
        for pairs in groups
    ]


def pair_accuracy(scores: Sequence[float], groups: Sequence[Sequence[Pair]]) -> dict[str, float]:
    """Share of pairs_right with its 95 % interval by prompt, and how many pairs and prompts it is of."""
    found = share(pairs_right(scores, groups))
    if found is None:
        return {"pairs": 0.0, "prompts": 0.0}
    ends = {"low": found.low, "high": found.high}
    return {"accuracy": found.value, **ends, "pairs": float(found.count), "prompts": float(found.clusters)}
