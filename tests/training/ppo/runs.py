"""Short runs of PPO on an untrained miniature network, and their results."""

from pathlib import Path

import torch

from training.contract import events
from training.contract.recipes import make_config
from training.reward.model import new_reward_model, save_reward_model
from training.run.run_folder import RunFolder
from training.train_ppo import run

SMALL = {
    "recipe": "miniature_ppo_ptx", "iterations": 3, "batch_size": 8, "minibatch_size": 4, "max_completion_tokens": 6,
    "evaluation_episodes": 8, "policy_learning_rate": 3e-3, "sample_every_iterations": 2,
}  # fmt: skip


def saved_reward_model(miniature: Path, folder: Path, low: float | None) -> Path:
    torch.manual_seed(2)
    model, tokenizer = new_reward_model(miniature / "base")
    model.config.score_offset = 0.25
    if low is not None:
        accuracy = {
            "accuracy/validation": low + 0.05,
            "accuracy/validation_low": low,
            "accuracy/validation_high": low + 0.1,
        }
        model.config.reward_metrics = accuracy
    save_reward_model(model, tokenizer, folder)
    return folder


def settings(miniature: Path, reward_model: Path, **values) -> dict:
    paths = {"data": miniature / "ppo", "init_from": miniature / "base", "reward_model": reward_model}
    return {**SMALL, **paths, **values}


def trained(folder: Path, miniature: Path, reward_model: Path, **values) -> list:
    """Run in this process and return the reported events."""
    with RunFolder(folder) as run_folder:
        run(make_config("train_ppo", settings(miniature, reward_model, **values)), run_folder)
    return reported(folder)


def reported(folder: Path) -> list:
    path = folder / "events.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [events.parse(line) for line in lines if line.endswith("\n")]
