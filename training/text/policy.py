"""Networks that write text: loading, saving, and making one from scratch."""

import ctypes
import platform
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from training.contract.configs import BaseConfig, Encoding
from training.contract.network_files import check_files
from training.fast.shared_prefix import max_positions
from training.networks.config import read_config, refusing
from training.networks.dropout import without_dropout
from training.networks.forms import forms
from training.text.formatting import control_ids, end_of_turn
from training.text.tokenizer import largest_id, load_tokenizer

transformers_logging.disable_progress_bar()

SMALL_WEIGHTS = 5_000_000
_KEEP_MEMORY = (-3, 2**25), (-1, 2**30)  # M_MMAP_THRESHOLD, at its largest, and M_TRIM_THRESHOLD of malloc.h


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


def fit_to_tokenizer(model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Give the network an embedding row for each token, and the tokenizer's pad id; new rows are 0.

    Raises ValueError if tokens other than added ones lack a row: the tokenizer belongs to another network.
    """
    rows, needed = model.get_input_embeddings().num_embeddings, largest_id(tokenizer) + 1
    if needed > rows:
        added = getattr(tokenizer, "added_tokens_decoder", {})
        if foreign := [i for i in getattr(tokenizer, "vocab", {}).values() if i >= rows and i not in added]:
            raise ValueError(
                f"{model.name_or_path}: {len(foreign)} tokens of its tokenizer have no row among the {rows} of its "
                "embedding, so the tokenizer belongs to another network; copy the network's own into the folder"
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


def stop_ids(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
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
            f"max_prompt_tokens, max_completion_tokens: a sequence has {tokens} tokens, but the network has positions "
            f"for {limit}; lower the two so that their sum fits"
        )


def save_policy(model: Any, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a folder that plain transformers loads: weights, tokenizer with chat template, generation config."""
    ends = stop_ids(model, tokenizer)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends if len(ends) > 1 else ends[0],
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def new_transformer(config: BaseConfig, tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
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


def forbidden_token_ids(model: Any, tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """Return the ids [F] that no policy may write: the pad token, and embedding rows without a token."""
    rows = model.get_output_embeddings().weight.shape[0]
    nameless = sorted(set(range(rows)).difference(tokenizer.get_vocab().values(), [tokenizer.pad_token_id]))
    return torch.tensor([tokenizer.pad_token_id, *nameless], device=model.device)
