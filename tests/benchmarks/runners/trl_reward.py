"""The rankings of work.json, flattened into pairs, by TRL's RewardTrainer."""

from answer import answer, work

folder, given = work()

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoModelForSequenceClassification, AutoTokenizer  # noqa: E402
from trl import RewardConfig, RewardTrainer  # noqa: E402
from trl_settings import SETTINGS, counting  # noqa: E402

torch.set_num_threads(1)
rows = [
    {"chosen_ids": g["prompt"] + g["completions"][chosen], "rejected_ids": g["prompt"] + g["completions"][rejected]}
    for g in given["groups"]
    for chosen, rejected in g["pairs"]
]
steps = -(-len(given["groups"]) // given["prompts_per_step"])  # as many updates as ours
micro_batch = given["pairs_at_once"]
config = RewardConfig(
    **SETTINGS,
    per_device_train_batch_size=micro_batch,
    gradient_accumulation_steps=max(1, len(rows) // steps // micro_batch),
    max_steps=steps,
    learning_rate=1e-4,
    max_length=None,
)
trainer = RewardTrainer(
    model=AutoModelForSequenceClassification.from_pretrained(folder / "network", dtype=torch.float32, num_labels=1),
    args=config,
    train_dataset=Dataset.from_list(rows),
    processing_class=AutoTokenizer.from_pretrained(folder / "network"),
)
counted = {"work": 0, "tokens": 0, "real": 0}


def count(examples: list, batch: dict) -> None:
    """Pairs, and their tokens with padding and without."""
    counted["work"] += len(examples)
    counted["tokens"] += batch["attention_mask"].numel()
    counted["real"] += int(batch["attention_mask"].sum())


counting(trainer, count)


def run() -> dict[str, float]:
    """One epoch."""
    counted.update(work=0, tokens=0, real=0)
    trainer.train()
    return {"steps": trainer.state.global_step, **counted}


answer(run)
