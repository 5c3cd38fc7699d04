"""Reward models: an SFT network with one score in place of its unembedding, its loss and scores [InstructGPT 3.5].

Sign of the offset: our score = raw logit - score_offset, so plain transformers shows our score plus score_offset.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
    AutoModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import logging as transformers_logging

from training.contract.configs import Encoding
from training.contract.intervals import share
from training.contract.network_files import check_files
from training.fast.shared_prefix import Group, Ragged, can_be_ragged, hidden_states, ragged
from training.networks.config import class_for, read_config
from training.networks.forms import padded_states
from training.run.parallel import as_forward
from training.text.packing import micro_batches
from training.text.padding import pad
from training.text.policy import fit_to_tokenizer, load_network
from training.text.tokenizer import load_tokenizer

Form = Literal["padded", "packed", "shared"]


def new_reward_model(
    path: Path | str, dtype: torch.dtype = torch.float32, config: Encoding | None = None
) -> tuple[Any, PreTrainedTokenizerBase]:
    """Make (model, tokenizer) from a language network: no unembedding, score head std 1/sqrt(d+1) [Stiennon 2020]."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # it would warn that the score head is new, which is intended
    try:
        model, tokenizer = _load(path, dtype, config, fresh="score.")
    finally:
        transformers_logging.set_verbosity(verbosity)
    nn.init.normal_(model.score.weight, std=1 / math.sqrt(model.score.weight.shape[1] + 1))
    if model.score.bias is not None:
        nn.init.zeros_(model.score.bias)
    model.config.score_offset = 0.0
    return model, tokenizer


def load_reward_model(
    path: Path | str, dtype: torch.dtype = torch.float32
) -> tuple[Any, PreTrainedTokenizerBase, float]:
    """Load (model, tokenizer, score_offset) from a trained reward model's folder; raises ValueError if it is none."""
    if "ForSequenceClassification" not in str(check_files(path).get("architectures")):
        raise ValueError(f"{path}: holds no reward model (its config names no ...ForSequenceClassification network)")
    model, tokenizer = _load(path, dtype)
    return model, tokenizer, float(getattr(model.config, "score_offset", 0.0))


def _load(
    path: Path | str, dtype: torch.dtype, config: Encoding | None = None, fresh: str = ""
) -> tuple[Any, PreTrainedTokenizerBase]:
    check_files(path)
    tokenizer = load_tokenizer(path, config)
    kind = scoring_class(read_config(path, num_labels=1))
    model = load_network(kind, path, dtype, fresh, num_labels=1)
    fit_to_tokenizer(model, tokenizer)
    return model.eval(), tokenizer


def scoring_class(config: Any) -> type[PreTrainedModel]:
    """Return the class of networks with one linear score for this config: transformers' own, or one made of its parts.

    transformers has such a class for half of its causal families, and for some with a different head. For the others a
    body with a `score` is made in the same way, saved under a name of the same form, and found again by this function.
    Raises ValueError if a family has no causal language model, or no body separate from its head.
    """
    with torch.device("meta"):
        if type(config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
            own = class_for(config, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING)
            if isinstance(getattr(own(config), "score", None), nn.Linear):
                return own
        if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or type(config) not in MODEL_MAPPING:
            raise ValueError(f"{config.model_type}: transformers has no causal language model of this kind")
        causal = class_for(config, MODEL_FOR_CAUSAL_LM_MAPPING)
        text = config.get_text_config()
        if (
            causal.config_class is not type(config) and text is not config
        ):  # of a multi-part network only the text part is loaded
            return scoring_class(text)
        body = type(AutoModel.from_config(config))
        names = [name for name, part in causal(config).named_children() if type(part) is body]
    if not names:
        raise ValueError(f"{config.model_type}: its network has no body apart from its head, which a score could read")
    family = next(each for each in causal.__mro__ if each.__name__.endswith("PreTrainedModel"))
    name = f"{body.__name__.removesuffix('Model')}ForSequenceClassification"
    place = {"base_model_prefix": names[0], "config_class": type(config), "__module__": causal.__module__}
    return type(name, (_Scoring, family), place)


class _Scoring(PreTrainedModel):
    """One linear score on a body, as in transformers' own ...ForSequenceClassification classes."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        setattr(self, self.base_model_prefix, AutoModel.from_config(config))
        self.score = nn.Linear(config.get_text_config().hidden_size, config.num_labels, bias=False)
        self.post_init()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any) -> Any:
        """Compute the raw logit [B, 1] at each row's last real token."""
        hidden = self.base_model(input_ids=input_ids, attention_mask=attention_mask, **kwargs).last_hidden_state
        real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        last = (torch.arange(input_ids.shape[1], device=real.device) * real).argmax(1)
        return SequenceClassifierOutput(logits=self.score(hidden[torch.arange(len(last)), last]))


def save_reward_model(model: Any, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a folder that plain transformers loads with AutoModelForSequenceClassification."""
    model.config.pad_token_id, model.config.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@as_forward
def score(model: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Return raw logits [B] at the last real token of `input_ids` [B, S], found by the mask, never by a token's id."""
    columns = torch.arange(input_ids.shape[1], device=input_ids.device)
    last = columns == (columns * attention_mask).argmax(1, keepdim=True)
    return _head(model, padded_states(model, input_ids, attention_mask)[last[attention_mask.bool()]])


def fastest_form(model: Any, groups: Sequence[Group]) -> Form:
    """Choose how to compute the groups' scores: `padded` rows, `packed` sequences, or `shared` prompts.

    Measured in docs/benchmarks.md: sharing costs one more attention call per group, which pays off from 6 saved tokens
    per completion on. Packed on a CPU, the last layer computes no more than the scores need.
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
    """Return raw logits [N] of the groups' completions in order; forms differ only in speed, padded is the oracle."""
    form = form or fastest_form(model, groups)
    whole = [[*prompt, *completion] for prompt, completions in groups for completion in completions]
    if form == "padded":
        return score(model, *pad(whole, pad_id, device=model.device))
    return _score_row(model, ragged(groups if form == "shared" else [([], whole)], model.device))


@as_forward
def _score_row(model: Any, row: Ragged) -> Tensor:
    needed = torch.zeros_like(row.input_ids[0], dtype=torch.bool)
    needed[row.last] = True
    places = needed.cumsum(0) - 1  # an empty completion ends where its prompt does, possibly with others
    return _head(model, hidden_states(model, row, needed)[places[row.last]])


def _head(model: Any, hidden: Tensor) -> Tensor:
    """Return raw logits [N] of hidden states [N, D] in float32: bfloat16 cannot distinguish 3.00 from 3.01."""
    weight, bias = model.score.weight, model.score.bias
    dtype = torch.promote_types(weight.dtype, torch.float32)
    with torch.autocast(hidden.device.type, enabled=False):
        scores = F.linear(hidden.to(dtype), weight.to(dtype), bias if bias is None else bias.to(dtype))
    return scores.squeeze(1).float()


@torch.no_grad()
def score_sequences(model: Any, sequences: Sequence[list[int]], pad_id: int, micro_batch_tokens: int = 16384) -> Tensor:
    """Return raw logits [N] of prompt + completion token lists, on the CPU, in batches of nearly equal length."""
    scores = torch.zeros(len(sequences))
    for batch in micro_batches([len(sequence) for sequence in sequences], micro_batch_tokens):
        ids, mask = pad([sequences[index] for index in batch], pad_id, device=model.device)
        scores[batch] = score(model, ids, mask).cpu()
    return scores


class Pair(NamedTuple):
    """Indices of a preferred and a second completion, and the weights of this order and of the opposite one.

    Certain: 1 and 0. A judge's probability p that the first is better: p and 1 - p. A tie: 1 and 1.
    """

    chosen: int
    rejected: int
    weight: float = 1.0
    opposite_weight: float = 0.0


def k_wise_loss(
    scores: Tensor, groups: Sequence[Sequence[Pair]], prompts_in_step: int, tie_margin: float = 0.0
) -> Tensor:
    """Compute Eq. 1 over some prompts of a step: each prompt's mean of -log sigmoid(chosen - rejected), averaged.

    `scores` [N]; each group holds one prompt's pairs of indices into them; a prompt without a pair adds nothing.
    `prompts_in_step` counts the prompts with a pair in the whole optimizer step, so that the losses of its
    micro-batches sum to its loss. With a `tie_margin` m > 0 an order has probability sigmoid(difference - m) and a tie
    the rest, (e^2m - 1) sigmoid(difference - m) sigmoid(-difference - m) [Rao & Kupper 1967]. With m = 0 ties are not
    allowed.
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
    """Return 1 for each pair of a group, ties left out, whose chosen completion scores higher; 1/2 if scores are equal.

    `groups` hold the pairs of one prompt each, as indices into `scores` [N].
    """
    return [
        [1.0 if scores[a] > scores[b] else 0.5 if scores[a] == scores[b] else 0.0 for a, b, w, o in pairs if w > o]
        for pairs in groups
    ]


def pair_accuracy(scores: Sequence[float], groups: Sequence[Sequence[Pair]]) -> dict[str, float]:
    """Return the share of pairs_right with its 95 % interval by prompt, and the numbers of pairs and prompts."""
    found = share(pairs_right(scores, groups))
    if found is None:
        return {"pairs": 0.0, "prompts": 0.0}
    return {"accuracy": found.value, **found.ends(), "pairs": float(found.count), "prompts": float(found.clusters)}
