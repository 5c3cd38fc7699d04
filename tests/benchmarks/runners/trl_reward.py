"""The rankings of work.json, flattened into pairs, by TRL's RewardTrainer."""

import tempfile

from answer import answer, work

folder, given = work()

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoModelForSequenceClassification, AutoTokenizer  # noqa: E402
from trl import RewardConfig, RewardTrainer  # noqa: E402

torch.set_num_threads(1)
rows = [
    {"chosen_ids": g["prompt"] + g["completions"][chosen], "rejected_ids": g["prompt"] + g["completions"][rejected]}
    for g in given["groups"]
    for chosen, rejected in g["pairs"]
]
steps = -(-len(given["groups"]) // given["prompts_per_step"])  # as many updates as ours
micro_batch = given["pairs_at_once"]
config = RewardConfig(
    output_dir=tempfile.mkdtemp(),
    per_device_train_batch_size=micro_batch,
    gradient_accumulation_steps=max(1, len(rows) // steps // micro_batch),
    max_steps=steps,
    learning_rate=1e-4,
    max_length=None,
    bf16=False,
    gradient_checkpointing=False,
    use_cpu=True,
    logging_steps=1000,
    save_strategy="no",
    report_to="none",
    disable_tqdm=True,
    dataloader_pin_memory=False,
)
trainer = RewardTrainer(
    model=AutoModelForSequenceClassification.from_pretrained(folder / "network", dtype=torch.float32, num_labels=1),
    args=config,
    train_dataset=Dataset.from_list(rows),
    processing_class=AutoTokenizer.from_pretrained(folder / "network"),
)
counted = {"work": 0, "tokens": 0, "real": 0}
collate = trainer.data_collator


def counting(examples: list) -> dict:
    """The trainer's own batches, counted on their way."""
    batch = collate(examples)
    counted["work"] += len(examples)
    counted["tokens"] += batch["attention_mask"].numel()
    counted["real"] += int(batch["attention_mask"].sum())
    return batch


trainer.data_collator = counting


def run() -> dict[str, float]:
    """One epoch."""
    counted.update(work=0, tokens=0, real=0)
    trainer.train()
    return {"steps": trainer.state.global_step, **counted}


answer(run)
