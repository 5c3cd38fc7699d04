"""Every family of causal networks that transformers has, tiny and random, against plain passes over single sequences.

    python -m tests.training.networks.families [NAME ...]

prints a table: how each is computed, right and fast or right and slower, or why it is refused; WRONG if a number
differs. docs/networks.md has the latest one. tests/training/networks/test_families.py runs one family of each kind.
"""

import sys
import time
import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

from training.networks.dropout import add_residual_dropout, residual_blocks, without_dropout
from training.networks.forms import form_of, forms
from training.reward.model import score_groups, scoring_class
from training.text.logprobs import selected_logprobs
from training.text.packing import cross_entropy, pack
from training.text.padding import pad
from training.text.policy import fit_to_tokenizer
from training.text.sampler import sample
from training.text.sampling_trial import writes_by

VOCABULARY, PAD, BOS, EOS = 64, 0, 1, 2
IDS = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}
FORBIDDEN = torch.tensor([PAD])
TOLERANCE = 2e-3  # nats, and of logits; the largest rounding seen is a tenth of it, a neighbour's influence far more
LARGE = 20_000_000  # weights; a family that no key makes smaller is skipped
SIZES = {  # of config keys, in any family
    ("hidden_size", "n_embd", "d_model", "n_embed", "word_embed_proj_dim", "embedding_size", "embedding_dim"): 32,
    ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers"): 2,
    ("num_decoder_layers", "num_encoder_layers", "depth", "num_self_attends_per_block"): 2,
    ("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads", "encoder_attention_heads"): 4,
    ("num_decoder_attention_heads", "num_encoder_attention_heads"): 4,
    ("num_key_value_heads", "num_kv_heads", "n_kv_heads", "swa_num_key_value_heads"): 2,
    ("head_dim", "kv_channels", "attention_head_size", "rotary_dim"): 8,
    ("q_lora_rank", "kv_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim", "index_head_dim"): 8,
    ("intermediate_size", "ffn_dim", "d_ff", "decoder_ffn_dim", "encoder_ffn_dim", "ffn_hidden_size"): 48,
    ("intermediate_size_mlp", "moe_intermediate_size", "shared_expert_intermediate_size", "n_inner"): 48,
    ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "max_sequence_length"): 128,
    ("num_experts_per_tok", "moe_topk", "top_k_experts", "moe_k", "moe_top_k"): 2,
    ("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts"): 4,
    ("n_group", "topk_group", "num_expert_group"): 1,
    ("sliding_window", "attention_window_size", "window_size", "attention_chunk_size", "chunk_size"): 8,
    ("mamba_d_state", "state_size", "ssm_state_size", "mamba_chunk_size"): 8,
}
SIZE = {key: size for keys, size in SIZES.items() for key in keys}
# Families of masked networks, which are causal where their config says so.
MASKED = {kind for kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if hasattr(CONFIG_MAPPING[kind], "is_decoder")}
BOTH = ["sliding_attention", "full_attention"]
GEMMA_4 = {"vocab_size_per_layer_input": VOCABULARY, "hidden_size_per_layer_input": 8, "layer_types": BOTH}
GEMMA_4 |= {"num_hidden_layers": 2, "per_layer_config": {"1": {"head_dim": 16}}}
GEMMA_3N = {"vocab_size_per_layer_input": VOCABULARY, "hidden_size_per_layer_input": 8, "layer_types": BOTH * 2}
GEMMA_3N |= {"num_hidden_layers": 4, "num_kv_shared_layers": 2, "intermediate_size": 48, "laurel_rank": 8}
GEMMA_3N |= {"activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0]}
CHANGES: dict[str, dict[str, Any]] = {  # what a family's own rules require in addition
    **{kind: {"is_decoder": True} for kind in MASKED},
    "bamba": {"mamba_n_heads": 8, "mamba_d_head": 8, "attn_layer_indices": [1]},
    "dbrx": {"attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0}},
    "deepseek_v2": {"num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
    "codegen": {"rotary_dim": 4},
    "cohere_compass_text": {"rope_parameters": {kind: {"rope_type": "default", "rope_theta": 1e4} for kind in BOTH}},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "dots3_note_text": {
        "num_key_value_heads": 4,
        "index_n_heads": 4,
        "index_topk": 64,  # all: among scores tied at 0 its cached pass chooses others
        "head_dim": 16,
        "per_layer_config": {},
    },
    "gemma3n": {"text_config": GEMMA_3N},
    "gemma3n_text": GEMMA_3N,
    "gemma4": {"text_config": GEMMA_4},
    "gemma4_text": GEMMA_4,
    "gemma4_unified": {"text_config": GEMMA_4},
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_n_heads": 8, "mamba_d_head": 8, "lm_head_multiplier": 0.5},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 8},
    "gptj": {"rotary_dim": 4},
    "granitemoehybrid": {"mamba_n_heads": 8, "mamba_d_head": 8},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "longcat_flash": {"expert_ffn_hidden_size": 16, "zero_expert_num": 2, "head_dim": 8, "qk_head_dim": 16},
    "mamba2": {"num_heads": 8, "head_dim": 8, "expand": 2, "n_groups": 1},
    "kimi_linear": {"num_experts_per_token": 2},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "ministral": {"head_dim": 8},
    "nemotron": {"head_dim": 8, "num_key_value_heads": 2},
    "qwen4_exp_text": {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8}
    | {"linear_value_head_dim": 8, "hc_lowrank": 8, "ple_embed_dim": 32, "ngram_vocab_size_base": 100}
    | {"make_ngram_vocab_size_divisible_by": 8, "split_ngram_parts": 4, "indexer_n_heads": 4, "indexer_kv_heads": 1}
    | {"indexer_head_dim": 8, "indexer_budget": 8, "indexer_compress_ratio": 4},
    "reformer": {"is_decoder": True, "axial_pos_embds": False, "attn_layers": ["local", "lsh"], "num_buckets": 4}
    | {"local_attn_chunk_length": 8, "lsh_attn_chunk_length": 8},
    "xlm": {"emb_dim": 32, "causal": True},
    "xlstm": {"num_heads": 4, "qk_dim_factor": 1.0, "v_dim_factor": 1.0},
    "zamba": {"attention_hidden_size": 64, "attention_head_dim": 16, "use_mamba_kernels": False, "mamba_dt_rank": 4}
    | {name: ["linear_attention", "hybrid"] * 2 for name in ("layer_types", "layers_block_type")}
    | {"num_hidden_layers": 4},
    "zaya": {"num_experts_per_tok": 1},
}


class Row(NamedTuple):
    """The result for one family."""

    verdict: str  # right, slower, refused, unbuilt or WRONG
    said: str


def tiny(kind: str, **changes: Any) -> Any:
    """Return a config of this family with few and small layers, one of each kind that it has."""
    default = CONFIG_MAPPING[kind]()
    values = {**_smaller(default), "vocab_size": VOCABULARY, "initializer_range": 0.3}
    values |= IDS
    if "qk_rope_head_dim" in values:
        values |= {"num_key_value_heads": 4, "head_dim": 8}
    changes = CHANGES.get(kind, {}) | changes
    if "text_config" in changes:
        changes = changes | {"text_config": values["text_config"] | changes["text_config"]}
    return type(default)(**{**values, **changes})


def _smaller(config: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    settable = {key: value for key, value in config.to_dict().items() if not _is_read_only(config, key)}
    for key, value in settable.items():
        if isinstance(value, bool) or key in ("pad_token_id", "bos_token_id", "eos_token_id"):
            continue
        if isinstance(value, int) and key in SIZE:
            values[key] = SIZE[key]
        elif isinstance(value, int) and key.endswith(("_token_id", "_token_index")):
            values[key] = VOCABULARY - 1
    for name in getattr(config, "sub_configs", ()):
        if (part := getattr(config, name, None)) is not None:
            ids = {key: value for key, value in IDS.items() if hasattr(part, key)}
            values[name] = {**part.to_dict(), **_smaller(part), **ids, "vocab_size": VOCABULARY}
    kinds = list(dict.fromkeys(getattr(config, "layer_types", None) or ()))
    if kinds and not _is_read_only(config, config.attribute_map.get("layer_types", "layer_types")):
        values["num_hidden_layers"] = max(2, len(kinds))
        values["layer_types"] = (kinds * 2)[: values["num_hidden_layers"]]
    return values


def _is_read_only(config: Any, key: str) -> bool:
    place = getattr(type(config), key, None)
    return isinstance(place, property) and place.fset is None


def network(kind: str, seed: int = 1, **changes: Any) -> Any:
    """Create a network of this family, with weights so large that every layer matters; errors are transformers'."""
    config = without_dropout(tiny(kind, **changes))
    with torch.device("meta"):
        if sum(weights.numel() for weights in AutoModelForCausalLM.from_config(config).parameters()) > LARGE:
            raise ValueError("too large for this test")
    torch.manual_seed(seed)
    return enlarged(AutoModelForCausalLM.from_config(config))


def enlarged(model: Any) -> Any:
    """Redraw the network's small matrices with larger values, and return it."""
    for weights in model.parameters():
        if weights.ndim >= 2 and weights.std() < 0.05:
            nn.init.normal_(weights, std=0.2)
    return model.eval()


class Tokenizer:
    """The part of a tokenizer that a network is fitted to."""

    pad_token_id, bos_token_id, eos_token_id = PAD, BOS, EOS

    def __len__(self) -> int:
        return VOCABULARY


def sequences() -> list[list[int]]:
    """Return texts of unequal lengths."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(3, VOCABULARY - 1, (n,), generator=generator).tolist() for n in (5, 12, 14, 30, 9)]


def plain(model: Any, ids: list[int]) -> Tensor:
    """Return log-probs [S - 1] of a text's tokens from one pass of transformers over it alone."""
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()
    logits = logits.index_fill(-1, FORBIDDEN, float("-inf"))
    return logits.log_softmax(-1)[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


def tried(kind: str, **changes: Any) -> Row:
    """Compare everything computed with a family's network to plain passes."""
    try:
        model = network(kind, **changes)
    except Exception as error:  # whatever a family's own rules for configs say
        return Row("unbuilt", f"{type(error).__name__}: {' '.join(str(error).split())[:90]}")
    try:
        fit_to_tokenizer(model, Tokenizer())
    except ValueError as error:
        return Row("refused", str(error)[:140])
    differences = {}
    for measure in (of_passes, of_gradients, of_sampling, of_dropout):
        try:
            differences |= measure(model)
        except Exception as error:
            return Row("WRONG", f"{measure.__name__}: {type(error).__name__}: {' '.join(str(error).split())[:120]}")
    how, head = form_of(model), forms(model).head
    said = f"{how}, {head} head, sampler {writes_by(model)}"
    try:
        scores, reward_model = of_scores(kind, **changes)
    except Exception as error:
        return Row("WRONG", f"scores: {type(error).__name__}: {' '.join(str(error).split())[:120]}")
    differences |= scores
    wrong = {name: f"{value:.2g}" for name, value in differences.items() if not value <= TOLERANCE}
    verdict = "WRONG" if wrong else "right" if how == "side by side" and writes_by(model) == "own" else "slower"
    return Row(verdict, f"{said}, {reward_model} {wrong or ''}")


def of_passes(model: Any) -> dict[str, float]:
    """Measure the largest difference of log-probs, padded on either side, and of the mean cross-entropy."""
    texts = sequences()
    with torch.no_grad():
        expected = [plain(model, ids) for ids in texts]
        found = {}
        for left in (False, True):
            ids, mask = pad(texts, PAD, left=left)
            selected = mask.bool().clone()
            selected[torch.arange(len(texts)), mask.argmax(1)] = False
            logprobs = selected_logprobs(model, ids, selected, FORBIDDEN, mask)
            rows = zip(logprobs, selected, expected, strict=True)
            found[f"padded {'left' if left else 'right'}"] = max(
                float((row[chosen] - of_row).abs().max()) for row, chosen, of_row in rows
            )
        loss = sum(float(batch.compute()) for batch in _cross_entropy(model, 8192))
    return found | {"cross-entropy": abs(loss + float(torch.cat(expected).mean()))}


def _cross_entropy(model: Any, tokens: int) -> list[Any]:
    texts = sequences()
    rows, masks = pack([len(ids) for ids in texts], 64), [[True] * len(ids) for ids in texts]
    return cross_entropy(model, rows, texts, masks, FORBIDDEN, PAD, tokens)


def of_gradients(model: Any) -> dict[str, float]:
    """Measure the relative difference of the gradient in training mode, in several micro-batches."""
    model.train()
    sum(batch.compute() for batch in _cross_entropy(model, 40)).backward()
    found = _gradient(model)
    model.eval()
    (-torch.cat([plain(model, ids) for ids in sequences()]).mean()).backward()
    expected = _gradient(model)
    return {"gradient": float((found - expected).norm() / expected.norm()) if found.shape == expected.shape else 1.0}


def _gradient(model: Any) -> Tensor:
    gradient = torch.cat([weights.grad.flatten() for weights in model.parameters() if weights.grad is not None])
    model.zero_grad()
    return gradient


def of_sampling(model: Any) -> dict[str, float]:
    """Measure the largest difference of the log-probs of what is sampled."""
    short, middle, other, long, _ = sequences()
    prompts = [short, middle, middle, other, long]
    generator = torch.Generator().manual_seed(0)
    sampled = sample(model, prompts, max_new_tokens=12, eos_token_id=EOS, forbidden=FORBIDDEN, generator=generator)
    found = 0.0
    with torch.no_grad():
        for prompt, ids, logprobs in zip(prompts, sampled.texts(), sampled.logprobs, strict=True):
            expected = plain(model, prompt + ids)[len(prompt) - 1 :]
            found = max(found, float((logprobs[: len(ids)] - expected).abs().max()))
    return {"sampling": found}


def of_dropout(model: Any) -> dict[str, float]:
    """Measure what a layer adds when everything its blocks add is dropped: it should be 0."""
    try:
        layers = [layer for layer, _ in residual_blocks(model)]
    except ValueError:  # refused in one sentence before a run begins
        return {}
    add_residual_dropout(model, 1.0)
    added: list[float] = []

    def note(layer: nn.Module, given: tuple, keywords: dict, output: Any) -> None:
        start = given[0] if given else keywords["hidden_states"]
        end = output[0] if isinstance(output, tuple | list) else output
        added.append(float((end - start).abs().max()))

    for layer in layers:
        layer.register_forward_hook(note, with_kwargs=True)
    model.train()
    with torch.no_grad():
        model(input_ids=torch.tensor([sequences()[0]]), use_cache=False)
    model.eval()
    return {"dropout": max(added) if len(added) == len(layers) else 1.0}


def of_scores(kind: str, **changes: Any) -> tuple[dict[str, float], str]:
    """Measure the largest difference of a reward model's scores; return its class too."""
    config = without_dropout(tiny(kind, num_labels=1, **changes))
    try:
        made = scoring_class(config)
    except ValueError:
        return {}, "no reward model"
    if made.config_class is not type(config):
        config = config.get_text_config()
        config.num_labels = 1
    torch.manual_seed(2)
    model = enlarged(made(config))
    first, second, third, long, last = sequences()
    groups = [(first, [second, third]), (last, [long])]
    with torch.no_grad():
        expected = torch.cat(
            [
                model(input_ids=torch.tensor([prompt + ids]), use_cache=False).logits[0].float()
                for prompt, completions in groups
                for ids in completions
            ]
        )
        fit_to_tokenizer(model, Tokenizer())
        found = float((score_groups(model, groups, PAD) - expected).abs().max())
    return {"scores": found}, f"reward model {form_of(model)}"


def main(names: list[str]) -> None:
    """Print the table."""
    warnings.filterwarnings("ignore")
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    for kind in names or sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        began = time.monotonic()
        row = tried(kind)
        print(f"{kind:28} {row.verdict:8} {time.monotonic() - began:5.1f} s  {row.said}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
