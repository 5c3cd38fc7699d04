"""The reward model and SFT rows of `make bench`: the same work by us and by TRL, from the same random Llama."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig

from app.config import ROOT
from tests.benchmarks.rounds import compare
from training.text.formatting import CHAT_TEMPLATE
from training.text.tokenizer import train_tokenizer

PEER_PYTHON = ROOT / ".venv" / "peers" / "trl" / "bin" / "python"
SIZES = {
    "1M": {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4},
    "10M": {"hidden_size": 320, "intermediate_size": 960, "num_hidden_layers": 7, "num_attention_heads": 5},
}
VOCABULARY = 1024
# K, (shortest, longest) prompt and completion, prompts per step, steps, pairs that suit the peer best at once, by size.
REWARD_ROWS: dict[str, tuple[int, tuple[int, int], tuple[int, int], dict[str, tuple[int, int, int]]]] = {
    "K = 4": (4, (128, 128), (64, 64), {"1M": (8, 1, 6), "10M": (2, 1, 6)}),
    "K = 9": (9, (128, 128), (64, 64), {"1M": (3, 1, 12), "10M": (1, 1, 12)}),
    "K = 9, ragged": (9, (32, 256), (16, 128), {"1M": (4, 1, 4), "10M": (2, 1, 4)}),
}
# TRL flattens a batch of packed rows into one row, whose mask grows with its square: one row at once is its fastest.
SFT_ROWS = (
    ("documents 32-512 in rows of 512", "ours_sft", 1),
    ("the same, the peer with its default of 8 rows at once", "ours_sft", 8),
    ("the same, a bare loop instead of ours", "bare_sft", 1),
)


def write_network(folder: Path, size: str, kind: Any) -> None:
    """A random Llama of that size with a tokenizer, as any trainer loads it."""
    tokenizer = train_tokenizer(["the quick brown fox jumps over the lazy dog. " * 20], 270)
    tokenizer.chat_template = CHAT_TEMPLATE
    config = LlamaConfig(
        **SIZES[size], vocab_size=VOCABULARY, max_position_embeddings=1024, num_labels=1, tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    kind.from_config(config).save_pretrained(folder / "network")
    tokenizer.save_pretrained(folder / "network")


def write_rankings(folder: Path, row: str, size: str) -> None:
    """Random rankings of a row's shape."""
    k, prompt, completion, sizes = REWARD_ROWS[row]
    prompts_per_step, steps, pairs_at_once = sizes[size]
    rng = random.Random(0)

    def tokens(lengths: tuple[int, int]) -> list[int]:
        return [rng.randrange(300, VOCABULARY) for _ in range(rng.randint(*lengths))]

    groups = []
    for _ in range(prompts_per_step * steps):
        order = rng.sample(range(k), k)
        pairs = [(a, b) for place, a in enumerate(order) for b in order[place + 1 :]]
        groups.append({"prompt": tokens(prompt), "completions": [tokens(completion) for _ in range(k)], "pairs": pairs})
    work = {"groups": groups, "prompts_per_step": prompts_per_step, "pairs_at_once": pairs_at_once}
    (folder / "work.json").write_text(json.dumps(work))


def write_documents(folder: Path, size: str, rows_at_once: int) -> None:
    """Random documents of 32 to 512 tokens, for rows of 512, of which the peer takes so many at once."""
    rng = random.Random(0)
    count, steps = {"1M": (24, 1), "10M": (12, 1)}[size]
    documents = [[rng.randrange(300, VOCABULARY) for _ in range(rng.randint(32, 512))] for _ in range(count)]
    work = {"documents": documents, "row_tokens": 512, "steps": steps, "rows_at_once": rows_at_once}
    (folder / "work.json").write_text(json.dumps(work))


def rows(folder: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """Each comparison's name and numbers."""
    for size in SIZES:
        for row in REWARD_ROWS:
            place = folder / f"{row} {size}"
            place.mkdir()
            write_network(place, size, AutoModelForSequenceClassification)
            write_rankings(place, row, size)
            yield f"reward model {size}, {row}", compare(place, "ours_reward", "trl_reward", PEER_PYTHON)
        for what, ours, rows_at_once in SFT_ROWS:
            place = folder / f"SFT {size} {what}"
            place.mkdir()
            write_network(place, size, AutoModelForCausalLM)
            write_documents(place, size, rows_at_once)
            yield f"SFT {size}, {what}", compare(place, ours, "trl_sft", PEER_PYTHON)
