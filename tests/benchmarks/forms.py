"""The three forms in which a reward model can compute scores, over shapes: what `fastest_form` is made from."""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch
from transformers import AutoModelForSequenceClassification, LlamaConfig

from training.reward.model import fastest_form, score_groups

SIZE = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4}
TOKENS = 3000  # of a batch in padded form, at about
# Tokens of prompt and completion, completions, and whether lengths spread from a quarter to seven quarters.
SHAPES = [
    (8, 8, 2, False), (8, 64, 2, False), (8, 64, 9, False), (128, 64, 4, False), (128, 64, 9, False),
    (1, 64, 2, True), (2, 16, 4, True), (4, 128, 4, True), (8, 128, 4, True), (16, 16, 4, True), (16, 64, 4, True),
    (64, 64, 2, True), (64, 64, 9, True), (128, 64, 9, True),
]  # fmt: skip


def forms(_: Path) -> Iterator[tuple[str, float, str]]:
    """Forward and backward of one batch in each form, processor time; a star marks what the rule takes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = LlamaConfig(**SIZE, vocab_size=1024, num_labels=1, pad_token_id=0)
    model = AutoModelForSequenceClassification.from_config(config)
    for prompt, completion, k, ragged in SHAPES:
        rng = random.Random(0)

        def tokens(length: int, ragged: bool = ragged, rng: random.Random = rng) -> list[int]:
            return [5] * (rng.randint(max(1, length // 4), length * 7 // 4) if ragged else length)

        count = max(1, TOKENS // (k * (prompt + completion)))
        groups = [(tokens(prompt), [tokens(completion) for _ in range(k)]) for _ in range(count)]
        for form in ("padded", "packed", "shared"):
            chosen = "*" if form == fastest_form(model, groups) else ""
            name = f"P {prompt} R {completion} K {k} {'ragged' if ragged else 'even'}, {form}{chosen}"
            yield name, 1e3 * median(_seconds(model, groups, form) for _ in range(5)), "ms"
    torch.set_num_threads(threads)


def _seconds(model: torch.nn.Module, groups: list, form: str) -> float:
    began = time.process_time()
    score_groups(model, groups, 0, form).sum().backward()
    return time.process_time() - began
