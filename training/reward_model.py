"""Reward models: an SFT network whose unembedding gives way to one score, their loss, their scores [InstructGPT 3.5].

Sign of the offset, once: our score = raw logit - score_offset, so plain transformers shows our score plus score_offset.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification
from transformers.utils import logging as transformers_logging

from training.packing import micro_batches
from training.policy import fit_to_tokenizer, load_tokenizer, pad, position_ids, without_dropout


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


def score(model: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Raw logits [B] at the last real token of `input_ids` [B, S], found by the mask and never by a token's id."""
    hidden = model.base_model(
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=position_ids(attention_mask),
        use_cache=False,
    ).last_hidden_state
    columns = torch.arange(input_ids.shape[1], device=input_ids.device)
    last = (columns * attention_mask).argmax(1)
    return model.score(hidden[torch.arange(len(hidden), device=hidden.device), last]).squeeze(1).float()


@torch.no_grad()
def score_sequences(model: Any, sequences: Sequence[list[int]], pad_id: int, micro_batch_tokens: int = 16384) -> Tensor:
    """Raw logits [N] of prompt + completion token lists, on the CPU, in batches of nearly equal length."""
    scores = torch.zeros(len(sequences))
    for batch in micro_batches([len(sequence) for sequence in sequences], micro_batch_tokens):
        ids, mask = pad([sequences[index] for index in batch], pad_id, device=model.device)
        scores[batch] = score(model, ids, mask).cpu()
    return scores


def k_wise_loss(scores: Tensor, groups: Sequence[Sequence[tuple[int, int]]], prompts_in_step: int) -> Tensor:
    """Eq. 1 over some prompts of a step: the mean of -log sigmoid(chosen - rejected) of each prompt's pairs, averaged.

    `scores` [N]; each group holds one prompt's (chosen, rejected) indices into them, ties left out; a prompt without a
    pair adds nothing. `prompts_in_step` counts the prompts with a pair in the whole optimizer step, so that the losses
    of its micro-batches sum up to its loss.
    """
    terms = [
        -F.logsigmoid(scores[[chosen for chosen, _ in pairs]] - scores[[rejected for _, rejected in pairs]]).mean()
        for pairs in groups
        if pairs
    ]
    return torch.stack(terms).sum() / prompts_in_step if terms else scores.sum() * 0.0


def pair_accuracy(scores: Sequence[float], groups: Sequence[Sequence[tuple[int, int]]]) -> dict[str, float]:
    """Share of pairs whose chosen completion scores higher (an exact tie counts half), with a Wilson 95 % interval.

    The pairs of one prompt are not independent: the interval is that of as many independent pairs as would vary like
    the prompts do (never more than there are).
    """
    right = [
        [1.0 if scores[a] > scores[b] else 0.5 if scores[a] == scores[b] else 0.0 for a, b in pairs]
        for pairs in groups
        if pairs
    ]
    pairs = sum(map(len, right))
    if not pairs:
        return {"pairs": 0.0, "prompts": 0.0}
    share = sum(map(sum, right)) / pairs
    spread = sum((sum(group) - share * len(group)) ** 2 for group in right) / pairs**2
    independent = min(float(pairs), share * (1 - share) / spread) if spread > 0 else float(len(right))
    low, high = wilson(share, independent)
    return {"accuracy": share, "low": low, "high": high, "pairs": float(pairs), "prompts": float(len(right))}


def wilson(share: float, count: float, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % score interval of a share of `count` independent trials [Wilson 1927]."""
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)
