"""The PPO rows of `make bench`: one iteration by us and by the last TRL that had a PPO trainer."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from app.config import ROOT
from tests.benchmarks.against_trl import VOCABULARY, write_network
from tests.benchmarks.rounds import compare

PEER_PYTHON = ROOT / ".venv" / "peers" / "trl_ppo" / "bin" / "python"
EPISODES, MINIBATCHES, PROMPT_TOKENS, COMPLETION_TOKENS = 256, 8, 64, 64
ROWS = {"end of text at 5 % a step": 0.05, "fixed length": 0.0}


def rows(folder: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """Each comparison's name and numbers."""
    rng = random.Random(0)
    prompts = [[rng.randrange(300, VOCABULARY) for _ in range(PROMPT_TOKENS)] for _ in range(EPISODES)]
    for row, end_share in ROWS.items():
        place = folder / f"PPO {row}"
        write_network(place / "policy", "1M", AutoModelForCausalLM)
        write_network(place / "reward_model", "1M", AutoModelForSequenceClassification)
        work = {
            "prompts": prompts,
            "end_share": end_share,
            "completion_tokens": COMPLETION_TOKENS,
            "minibatches": MINIBATCHES,
            "learning_rate": 1e-6,  # so small that completions stay as long as they are
        }
        (place / "work.json").write_text(json.dumps(work))
        yield f"PPO 1M, {row}", compare(place, "ours_ppo", "trl_ppo", PEER_PYTHON)
