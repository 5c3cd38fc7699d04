"""Networks that write text: loading, saving, creating one from scratch, and the log-probabilities of tokens."""

import ctypes
import platform
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from training.contract.configs import BaseConfig, Encoding
from training.contract.network_files import check_files
from training.fast.shared_prefix import Ragged, hidden_states, max_positions, turns_alike_up_to, whole_row
from training.networks.config import read_config, refusing
from training.networks.dropout import without_dropout
from training.networks.forms import computed, forms, head_of, token_states
from training.run.parallel import as_forward
from training.text.formatting import CHAT_TEMPLATE, PLAIN_TEMPLATE, chat_of, control_ids, end_of_turn

transformers_logging.disable_progress_bar()

PAD, END = "<|pad|>", "<|end|>"
ROLE_TOKENS = ["<|system|>", "<|user|>", "<|assistant|>"]
SMALL_WEIGHTS = 5_000_000
_KEEP_MEMORY = (-3, 2**25), (-1, 2**30)  # M_MMAP_THRESHOLD, at its largest, and M_TRIM_THRESHOLD of malloc.h
CHUNK_LOGITS = 2**25  # logits held at once: 128 MiB in float32


def load_policy(
    path: Path | str, dtype: torch.dtype = torch.float32, config: Encoding | None = None
) -> tuple[Any, Any]:
    """Load (model, tokenizer) of any causal language model by path, with a separate pad token and no dropout.

    Raises ValueError if the folder holds no network, an incomplete one, or one that predicts no text.
    """
    if "ForSequenceClassification" in str(check_files(path).get("architectures")):
        raise ValueError(f"{path}: holds a reward model, which writes no text; name an SFT network or a policy")
    tokenizer = load_tokenizer(path, config)
    model = load_network(AutoModelForCausalLM, path, dtype)
    fit_to_tokenizer(model, tokenizer)
    return model.eval(), tokenizer


def load_network(kind: Any, path: Path | str, dtype: torch.dtype, fresh: str = "", **changes: Any) -> Any:
    """Load the whole network of a folder with the transformers class `kind`, without dropout.

    Only weights whose name starts with `fresh` may be missing. `changes` override its config. Raises ValueError.
    """
    check_files(path)
    config = without_dropout(read_config(path, **changes))
    if getattr(kind, "config_class", type(config)) is not type(config):  # `kind` is a multi-part network's text part
        config = config.get_text_config()
        config.update(changes)
    with refusing(path, "it"):
        model, found = kind.from_pretrained(
            path, config=config, dtype=dtype, local_files_only=True, output_loading_info=True, trust_remote_code=False,
            ignore_mismatched_sizes=True,  # transformers' error would only point at a report on the terminal
        )  # fmt: skip
    lacking, other, unused = (
        sorted(str(each[0] if isinstance(each, tuple) else each) for each in found[which])
        for which in ("missing_keys", "mismatched_keys", "unexpected_keys")
    )
    way_out = "save the network whole, or copy the folder again"
    if prefix := next((name.removesuffix(lacking[0]) for name in unused if lacking and name.endswith(lacking[0])), ""):
        way_out = f"its tensors are named with “{prefix}”, so save the network that is wrapped in it"
    for what, names in (("lacks", lacking), ("has the wrong shape of", other)):
        if names := [name for name in names if not (fresh and name.startswith(fresh))]:
            more = f" and {len(names) - 1} more tensors" if len(names) > 1 else ""
            raise ValueError(
                f"{path}: {what} {names[0]}{more} of a {type(model).__name__}, which would be random; {way_out}"
            )
    model.unused_tensors = unused
    for name, weights in model.named_parameters():
        if not bool(torch.isfinite(weights).all()):
            raise ValueError(f"{path}: {name} holds NaN or infinity; take an earlier checkpoint of that network")
    return model


def load_tokenizer(path: Path | str, config: Encoding | None = None) -> Any:
    """Load a network folder's tokenizer, with a chat template and a pad token that is not its end-of-text token."""
    if not Path(path).is_dir():
        raise ValueError(f"{path}: no such network folder")
    with refusing(path, "its tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    if tokenizer.eos_token_id is None:
        raise ValueError(
            f"{path}: its tokenizer has no end-of-text token, so that a completion could never end; name one and save "
            'it: tokenizer.eos_token = "..."'
        )
    if isinstance(named := tokenizer.chat_template, dict):
        if "default" not in named:
            raise ValueError(f"{path}: none of its chat templates ({', '.join(named)}) is named default; name one so")
        tokenizer.chat_template = named["default"]
    if tokenizer.chat_template is None:
        tokenizer.chat_template = PLAIN_TEMPLATE
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id, end_of_turn(tokenizer)):
        tokenizer.add_special_tokens({"pad_token": _spare_token(tokenizer)})
    if config is not None:
        tokenizer.chat = chat_of(config)
    return tokenizer


def _spare_token(tokenizer: Any) -> str:
    """Return a token to pad with: one reserved for padding or unused in the tokenizer, else a new one."""
    end = tokenizer.convert_ids_to_tokens(end_of_turn(tokenizer))
    taken = {tokenizer.eos_token, tokenizer.bos_token, tokenizer.unk_token, end}
    special = [each.content for each in tokenizer.added_tokens_decoder.values() if each.special]
    idle = [token for token in special if token not in taken and token not in str(tokenizer.chat_template)]
    return next((token for hint in ("pad", "reserved", "unused") for token in idle if hint in token.lower()), PAD)


def fit_to_tokenizer(model: Any, tokenizer: Any) -> None:
    """Give the network an embedding row for each token, and the tokenizer's pad id; new rows are 0.

    Raises ValueError if tokens other than added ones lack a row: the tokenizer belongs to another network.
    """
    rows, needed = model.get_input_embeddings().num_embeddings, largest_id(tokenizer) + 1
    if needed > rows:
        added = getattr(tokenizer, "added_tokens_decoder", {})
        if foreign := [i for i in getattr(tokenizer, "vocab", {}).values() if i >= rows and i not in added]:
            raise ValueError(
                f"{model.name_or_path}: {len(foreign)} tokens of its tokenizer have no row among the {rows} of its "
                "embedding, so that tokenizer is another network's; copy the network's own beside it"
            )
        model.resize_token_embeddings(needed, mean_resizing=False)
        model.new_rows = needed - rows
        with torch.no_grad():
            for layer in filter(None, (model.get_input_embeddings(), model.get_output_embeddings())):
                layer.weight[rows:] = 0
                if getattr(layer, "bias", None) is not None:
                    layer.bias[rows:] = 0
    for config in {id(each): each for each in (model.config, model.config.get_text_config())}.values():
        config.pad_token_id = tokenizer.pad_token_id
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    tune_process(model)
    forms(model)  # may change how the network computes: done before its first pass, so that all passes round alike


def largest_id(tokenizer: Any) -> int:
    """Return the largest token id; a vocabulary with holes has more ids than tokens."""
    vocabulary = tokenizer.get_vocab() if hasattr(tokenizer, "get_vocab") else {}
    return max([len(tokenizer) - 1, *vocabulary.values()])


def stop_ids(model: Any, tokenizer: Any) -> list[int]:
    """Return the ids that end a completion: the end-of-turn token first, end-of-text, those the network names.

    Ordinary tokens that the network names are left out: they are its family's default, for another tokenizer.
    """
    own = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    named = control_ids(tokenizer).intersection([own] if isinstance(own, int) else own or [])
    ends = dict.fromkeys([end_of_turn(tokenizer), tokenizer.eos_token_id, *sorted(named)])
    return [i for i in ends if i != tokenizer.pad_token_id]


def tune_process(model: Any) -> None:
    """Let a small network compute on one thread, since waiting for a second, busy core made it six times slower.

    Also let GNU's C library keep freed memory: getting it back from the kernel for the next tensor, page by page, took
    a twentieth of the time.
    """
    for setting, size in _KEEP_MEMORY if platform.libc_ver()[0] == "glibc" else ():
        ctypes.CDLL(None).mallopt(setting, size)
    if sum(weights.numel() for weights in model.parameters()) < SMALL_WEIGHTS:
        torch.set_num_threads(1)


def check_fits(model: Any, tokens: int) -> None:
    """Raise ValueError if a sequence of `tokens` tokens is longer than the network's positions."""
    limit = max_positions(model)
    if limit is not None and tokens > limit:
        raise ValueError(
            f"max_prompt_tokens, max_completion_tokens: a sequence has {tokens} tokens, the network has positions for "
            f"{limit}; lower them until both together fit"
        )


def save_policy(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a folder that plain transformers loads: weights, tokenizer with chat template, generation config."""
    ends = stop_ids(model, tokenizer)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends if len(ends) > 1 else ends[0],
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def new_transformer(config: BaseConfig, tokenizer: Any) -> LlamaForCausalLM:
    """Create a small Llama with random weights; call torch.manual_seed first."""
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
    forms(model)
    return model.eval()


def train_tokenizer(documents: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE with our role tokens: every text survives a round trip, unseen letters as bytes.

    A space is put before each text and removed by the decoder, so that a word is the same token at the start of a
    completion as in the middle of a sentence: a small network need not learn each word twice.
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
    """Return the ids [F] that no policy may write: the pad token, and embedding rows without a token."""
    rows = model.get_output_embeddings().weight.shape[0]
    nameless = sorted(set(range(rows)).difference(tokenizer.get_vocab().values(), [tokenizer.pad_token_id]))
    return torch.tensor([tokenizer.pad_token_id, *nameless], device=model.device)


def mask_logits(logits: Tensor, forbidden: Tensor) -> Tensor:
    """Set logits [..., V] to -inf at the forbidden ids, in place; sampler, policy and reference all do so."""
    return logits.index_fill_(-1, forbidden, float("-inf"))


def position_ids(attention_mask: Tensor) -> Tensor:
    """Return the positions [B, S] of real tokens, counted from 0, wherever the padding is."""
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
    """Return the log-probability [B, S] of each `selected` token given those before it, 0 elsewhere (nats, float32).

    `input_ids` [B, S] integers, `selected` [B, S] bool. Padded rows need `attention_mask` [B, S]; packed rows need
    `positions` [B, S] that restart at 0 for each sequence. A sequence's first token has no log-probability and must not
    be selected. Logits are divided by `temperature`; only those of selected tokens are computed, `CHUNK_LOGITS` at a
    time.
    """
    if positions is None:
        return _rows_logprobs(model, input_ids, selected, forbidden, attention_mask, temperature)
    if forms(model).packed and int(positions.max()) < turns_alike_up_to(model):
        return _packed_logprobs(model, input_ids, selected, forbidden, positions, temperature)
    starts = (positions == 0).flatten().nonzero().squeeze(1).tolist()
    pieces = [slice(*ends) for ends in pairwise([*starts, positions.numel()]) if selected.flatten()[slice(*ends)].any()]
    ids, mask = pad([input_ids.flatten()[piece].tolist() for piece in pieces], 0, device=input_ids.device)
    real, chosen = mask.bool(), torch.zeros_like(mask, dtype=torch.bool)
    chosen[real] = torch.cat([selected.flatten()[piece] for piece in pieces])
    values = _rows_logprobs(model, ids, chosen, forbidden, mask, temperature)
    return torch.zeros(selected.shape, device=values.device).masked_scatter(selected, values[chosen])


@as_forward
def _rows_logprobs(
    model: Any, input_ids: Tensor, selected: Tensor, forbidden: Tensor, attention_mask: Tensor, temperature: float
) -> Tensor:
    predicting = F.pad(selected[:, 1:], (0, 1))  # the token before a selected one predicts it
    states = token_states(model, input_ids, attention_mask, predicting)
    values = _token_logprobs(states, input_ids[selected], head_of(model), forbidden, temperature)
    return values.new_zeros(selected.shape).masked_scatter(selected, values)


@as_forward
def _packed_logprobs(
    model: Any, input_ids: Tensor, selected: Tensor, forbidden: Tensor, positions: Tensor, temperature: float
) -> Tensor:
    predicting = F.pad(selected[:, 1:], (0, 1))
    states = computed(model, input_ids, positions)[predicting]
    values = _token_logprobs(states, input_ids[selected], head_of(model), forbidden, temperature)
    return values.new_zeros(selected.shape).masked_scatter(selected, values)


@as_forward
def row_logprobs(model: Any, row: Ragged, selected: Tensor, forbidden: Tensor, temperature: float = 1.0) -> Tensor:
    """Compute selected_logprobs [T] of a ragged row's `selected` tokens [T] bool, by a network that can be ragged."""
    predicting = F.pad(selected[1:], (0, 1))
    if forms(model).head == "own":
        states = whole_row(model, row).logits[0, predicting]
    else:
        states = hidden_states(model, row, predicting)
    values = _token_logprobs(states, row.input_ids[0, selected], head_of(model), forbidden, temperature)
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
    """Return the log-probability [B, T] of each completion token, T the longest completion, 0 after a completion's end.

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
    """Return log-probabilities [N] of `targets` [N] from hidden states [N, D], without all logits [N, V] at once."""
    width = head.weight.shape[0] if hasattr(head, "weight") else hidden.shape[-1]
    step = max(1, CHUNK_LOGITS // width)

    def chunk(hidden: Tensor, targets: Tensor) -> Tensor:
        logits = head(hidden).float()
        if logits is hidden:  # the states are logits already; masking in place must not change the caller's
            logits = logits.clone()
        if temperature != 1:  # a division by one would still cost a copy
            logits = logits / temperature
        return -F.cross_entropy(mask_logits(logits, forbidden), targets, reduction="none")

    pieces = list(zip(hidden.split(step), targets.split(step), strict=True))
    if len(pieces) == 1 or not torch.is_grad_enabled():
        return torch.cat([chunk(*piece) for piece in pieces]) if pieces else hidden.new_zeros(0, dtype=torch.float32)
    # Recomputed in the backward pass; autograd would otherwise keep the logits of every chunk.
    return torch.cat([checkpoint(chunk, *piece, use_reentrant=False) for piece in pieces])


def has_plain_head(model: Any) -> bool:
    """Return whether logits are just the output embedding of the last hidden state."""
    return forms(model).head == "plain"


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
