"""Networks that write text: loading, saving, making one from nothing, and the log-probabilities of its tokens."""

import ctypes
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from training.configs import BaseConfig
from training.formatting import CHAT_TEMPLATE, PLAIN_TEMPLATE
from training.parallel import as_forward
from training.shared_prefix import Ragged, can_be_ragged, hidden_states, side_by_side, wants_no_padding, whole_row

transformers_logging.disable_progress_bar()

PAD, END = "<|pad|>", "<|end|>"
ROLE_TOKENS = ["<|system|>", "<|user|>", "<|assistant|>"]
SMALL_WEIGHTS = 5_000_000
_KEEP_MEMORY = (-3, 2**25), (-1, 2**30)  # M_MMAP_THRESHOLD, at its largest, and M_TRIM_THRESHOLD of malloc.h
CHUNK_LOGITS = 2**25  # logits held at once: 128 MiB in float32


def load_policy(path: Path | str, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """(model, tokenizer) of any causal language model by path, with a pad token of its own and no dropout."""
    tokenizer = load_tokenizer(path)
    config = without_dropout(AutoConfig.from_pretrained(path, local_files_only=True))
    if any("ForSequenceClassification" in name for name in config.architectures or []):
        raise ValueError(f"{path}: holds a reward model, which writes no text; name an SFT network or a policy")
    model = AutoModelForCausalLM.from_pretrained(path, config=config, dtype=dtype, local_files_only=True)
    fit_to_tokenizer(model, tokenizer)
    return model.eval(), tokenizer


def load_tokenizer(path: Path | str) -> Any:
    """The tokenizer of a network folder, with a chat template and a pad token that is not its end-of-text token."""
    if not Path(path).is_dir():
        raise ValueError(f"{path}: no such network folder")
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    if tokenizer.eos_token_id is None:
        raise ValueError(f"{path}: its tokenizer has no end-of-text token (eos_token); a completion could never end")
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        tokenizer.add_special_tokens({"pad_token": PAD})
    if tokenizer.chat_template is None:
        tokenizer.chat_template = PLAIN_TEMPLATE
    return tokenizer


def without_dropout(config: Any) -> Any:
    """The same config with every dropout probability at 0: reinforcement learning needs repeatable log-probs."""
    for key, value in config.to_dict().items():
        if isinstance(value, float) and ("dropout" in key or "pdrop" in key):
            setattr(config, key, 0.0)
    return config


def fit_to_tokenizer(model: Any, tokenizer: Any) -> None:
    """Give the network an embedding row for each token and the tokenizer's special ids."""
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer))
    model.config.pad_token_id = tokenizer.pad_token_id
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    tune_process(model)
    can_be_ragged(model)  # from then on it may compute otherwise: from its first pass on it shall round alike


def tune_process(model: Any) -> None:
    """Let a small network compute on one thread, since waiting for a second, busy core made it six times slower.

    And let GNU's C library keep memory that is freed: to get it from the kernel again for the next tensor, page by
    page, took a twentieth of the time.
    """
    for setting, size in _KEEP_MEMORY if platform.libc_ver()[0] == "glibc" else ():
        ctypes.CDLL(None).mallopt(setting, size)
    if sum(weights.numel() for weights in model.parameters()) < SMALL_WEIGHTS:
        torch.set_num_threads(1)


def max_positions(model: Any) -> int | None:
    """The longest sequence (tokens) that the network has positions for; None where there is no limit."""
    return getattr(model.config, "max_position_embeddings", None)


def check_fits(model: Any, tokens: int) -> None:
    """Raise ValueError if a sequence of so many tokens is longer than the network's positions."""
    limit = max_positions(model)
    if limit is not None and tokens > limit:
        raise ValueError(
            f"max_prompt_tokens, max_completion_tokens: a sequence has {tokens} tokens, the network has positions for "
            f"{limit}; lower them until both together fit"
        )


def save_policy(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a folder that plain transformers loads: weights, tokenizer with chat template, generation config."""
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def new_transformer(config: BaseConfig, tokenizer: Any) -> LlamaForCausalLM:
    """A small Llama with fresh weights; call torch.manual_seed before."""
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            max_position_embeddings=config.max_positions,
            tie_word_embeddings=True,
            initializer_range=config.initializer_range,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    tune_process(model)
    can_be_ragged(model)
    return model.eval()


def train_tokenizer(documents: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE with our role tokens: every text tokenises and comes back, unseen letters as bytes.

    A space is put before each text and taken off again by the decoder, so that a word is the same token at the start
    of a completion as in the middle of a sentence: a small network need not learn each word twice.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Prepend(" ")
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, END, *ROLE_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, extra_special_tokens=ROLE_TOKENS
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def forbidden_token_ids(model: Any, tokenizer: Any) -> Tensor:
    """Ids [F] that no policy may write: the pad token and embedding rows that no token stands for."""
    rows = model.get_output_embeddings().weight.shape[0]
    return torch.tensor([tokenizer.pad_token_id, *range(len(tokenizer), rows)], device=model.device)


def mask_logits(logits: Tensor, forbidden: Tensor) -> Tensor:
    """The logits [..., V] with -inf at the forbidden ids, in sampler, policy and reference alike; works in place."""
    return logits.index_fill_(-1, forbidden, float("-inf"))


def position_ids(attention_mask: Tensor) -> Tensor:
    """Positions [B, S] of real tokens counted from 0, wherever the padding lies."""
    return (attention_mask.long().cumsum(1) - 1).clamp(min=0)


def selected_logprobs(
    model: Any,
    input_ids: Tensor,
    selected: Tensor,
    forbidden: Tensor,
    attention_mask: Tensor | None = None,
    positions: Tensor | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """Log-probability [B, S] of each `selected` token given those before it, 0 elsewhere (natural log, float32).

    `input_ids` [B, S] integers, `selected` [B, S] bool; padded rows come with `attention_mask` [B, S], packed rows with
    `positions` [B, S] that restart at 0 for each sequence. A sequence's first token has no log-probability and must not
    be selected. Logits are divided by `temperature`; only those of selected tokens are computed, `CHUNK_LOGITS` at a
    time.
    """
    if attention_mask is None or not wants_no_padding(model, attention_mask):
        return _padded_logprobs(model, input_ids, selected, forbidden, attention_mask, positions, temperature)
    row, real = side_by_side(input_ids, attention_mask), attention_mask.bool()
    logprobs = torch.zeros(selected.shape)
    logprobs[real] = row_logprobs(model, row, selected[real], forbidden, temperature)
    return logprobs


@as_forward
def _padded_logprobs(
    model: Any,
    input_ids: Tensor,
    selected: Tensor,
    forbidden: Tensor,
    attention_mask: Tensor | None,
    positions: Tensor | None,
    temperature: float,
) -> Tensor:
    if positions is None:
        positions = position_ids(attention_mask)
    predicting = selected[:, 1:]  # the token before a selected one predicts it
    # use_cache=False: with a cache transformers would not see that rows are packed, and let sequences mix.
    inputs = {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "position_ids": positions,
        "use_cache": False,
    }
    if has_plain_head(model):
        hidden, head = model.base_model(**inputs).last_hidden_state, model.get_output_embeddings()
    else:
        hidden, head = model(**inputs).logits, nn.Identity()
    targets = input_ids[:, 1:][predicting]
    values = _token_logprobs(hidden[:, :-1][predicting], targets, head, forbidden, temperature)
    logprobs = values.new_zeros(selected.shape)
    logprobs[:, 1:][predicting] = values
    return logprobs


@as_forward
def row_logprobs(model: Any, row: Ragged, selected: Tensor, forbidden: Tensor, temperature: float = 1.0) -> Tensor:
    """The same [T] of the `selected` tokens [T] bool of a ragged row, by a network that can be ragged."""
    predicting = F.pad(selected[1:], (0, 1))
    if has_plain_head(model):
        hidden, head = hidden_states(model, row, predicting), model.get_output_embeddings()
    else:
        hidden, head = whole_row(model, row).logits[0, predicting], nn.Identity()
    values = _token_logprobs(hidden, row.input_ids[0, selected], head, forbidden, temperature)
    return values.new_zeros(selected.shape).masked_scatter(selected, values)


def completion_logprobs(
    model: Any,
    input_ids: Tensor,
    attention_mask: Tensor,
    prompt_lengths: Tensor,
    completion_lengths: Tensor,
    forbidden: Tensor,
    temperature: float = 1.0,
) -> Tensor:
    """Log-probability [B, T] of each completion token, T the longest completion, 0 after a completion's end.

    `input_ids`, `attention_mask` [B, S]: prompt + completion, padded on the left or the right; lengths [B] in tokens.
    """
    first = attention_mask.long().argmax(1) + prompt_lengths  # column of each completion's first token
    columns = torch.arange(input_ids.shape[1], device=input_ids.device)
    selected = (columns >= first[:, None]) & (columns < (first + completion_lengths)[:, None])
    logprobs = selected_logprobs(model, input_ids, selected, forbidden, attention_mask, temperature=temperature)
    steps = torch.arange(int(completion_lengths.max()), device=input_ids.device)
    places = (first[:, None] + steps).clamp(max=input_ids.shape[1] - 1)
    return logprobs.gather(1, places) * (steps < completion_lengths[:, None])


def _token_logprobs(hidden: Tensor, targets: Tensor, head: nn.Module, forbidden: Tensor, temperature: float) -> Tensor:
    """Log-probability [N] of `targets` [N] from hidden states [N, D], without the logits [N, V] of all N at once."""
    width = head.weight.shape[0] if hasattr(head, "weight") else hidden.shape[-1]
    step = max(1, CHUNK_LOGITS // width)

    def chunk(hidden: Tensor, targets: Tensor) -> Tensor:
        logits = head(hidden).float()
        if temperature != 1:  # a division by one would still cost a copy
            logits = logits / temperature
        return -F.cross_entropy(mask_logits(logits, forbidden), targets, reduction="none")

    pieces = list(zip(hidden.split(step), targets.split(step), strict=True))
    if len(pieces) == 1 or not torch.is_grad_enabled():
        return torch.cat([chunk(*piece) for piece in pieces]) if pieces else hidden.new_zeros(0, dtype=torch.float32)
    # Recomputed in the backward pass, else autograd would keep the logits of every chunk.
    return torch.cat([checkpoint(chunk, *piece, use_reentrant=False) for piece in pieces])


def has_plain_head(model: Any) -> bool:
    """Whether logits are the output embedding of the last hidden state and nothing more."""
    config = model.config
    return not any(getattr(config, key, None) for key in ("final_logit_softcapping", "logit_scale", "logits_scaling"))


def pad(rows: Sequence[Sequence[int]], pad_id: int, left: bool = False, device: Any = None) -> tuple[Tensor, Tensor]:
    """(input_ids, attention_mask) [B, S] of token lists padded to the longest."""
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad_id)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for index, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[index, place] = torch.tensor(row, dtype=torch.long)
        mask[index, place] = 1
    return ids.to(device), mask.to(device)


def add_residual_dropout(model: Any, probability: float) -> None:
    """Dropout on what each attention and feed-forward block adds to the residual stream, in training mode only.

    By hooks, because most families have no such dropout of their own; it is never saved with the network.
    """
    if probability == 0:
        return
    names = ("attn", "self_attn", "attention", "mlp", "feed_forward")
    blocks = [module for name, module in model.named_modules() if name.rsplit(".", 1)[-1] in names]
    if not blocks:
        raise ValueError(f"dropout: {type(model).__name__} has no blocks named {', '.join(names)}; use dropout=0")

    def drop(module: nn.Module, _: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return F.dropout(output[0], probability, module.training), *output[1:]
        return F.dropout(output, probability, module.training)

    for block in blocks:
        block.register_forward_hook(drop)
