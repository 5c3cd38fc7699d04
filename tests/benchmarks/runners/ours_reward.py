"""The rankings of work.json by train_reward_model's own loop."""

import tempfile
from collections import Counter
from pathlib import Path

import torch
from runners.answer import answer, work

from training.contract.configs import RewardModelConfig
from training.contract.records import Split
from training.reward.model import Pair, load_reward_model
from training.reward.rankings import RankedPrompt
from training.run.run_folder import RunFolder
from training.run.trainable import Trainable
from training.train_reward_model import learn

folder, given = work()
torch.set_num_threads(1)
model, tokenizer, _ = load_reward_model(folder / "network")
prompts = [
    RankedPrompt(
        group["prompt"],
        Split.TRAIN,
        completions=group["completions"],
        pairs=[Pair(*pair) for pair in group["pairs"]],
        distances=[1] * len(group["pairs"]),
    )
    for group in given["groups"]
]
config = RewardModelConfig(batch_size=given["prompts_per_step"], learning_rate=1e-4, micro_batch_tokens=2048)


def run() -> dict[str, float]:
    """One epoch."""
    with tempfile.TemporaryDirectory() as place, RunFolder(Path(place)) as run_folder:
        run_folder.save_state = lambda _: None  # the peer keeps nothing to resume from either
        steps = learn(Trainable(model, tokenizer, None), prompts, config, run_folder, Counter())
    tokens = sum(len(prompt.prompt) + sum(map(len, prompt.completions)) for prompt in prompts)
    return {"steps": steps, "work": sum(len(prompt.pairs) for prompt in prompts), "tokens": tokens}


answer(run)
