"""The sampling row of `make bench`: our sampler and transformers' generate, from the same random Llama."""

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from transformers import AutoModelForCausalLM

from tests.benchmarks.against_trl import SIZES, VOCABULARY, write_network
from tests.benchmarks.rounds import compare

PROMPTS, SAMPLES, PROMPT_TOKENS, COMPLETION_TOKENS = 8, 8, 64, 64
PEERS = {"generate_static": "static cache", "generate_dynamic": "dynamic cache"}


def rows(folder: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """Each comparison's name and numbers; nothing ends before its last token."""
    rng = random.Random(0)
    prompts = [[rng.randrange(300, VOCABULARY) for _ in range(PROMPT_TOKENS)] for _ in range(PROMPTS)]
    for size in SIZES:
        place = folder / f"sampling {size}"
        place.mkdir()
        write_network(place, size, AutoModelForCausalLM)
        work = {"prompts": prompts, "samples": SAMPLES, "tokens": COMPLETION_TOKENS}
        (place / "work.json").write_text(json.dumps(work))
        for peer, what in PEERS.items():
            name = f"sampling {size}, {PROMPTS} prompts x {SAMPLES} of {COMPLETION_TOKENS} tokens, generate with {what}"
            yield name, compare(place, "ours_sampling", peer, Path(sys.executable))
