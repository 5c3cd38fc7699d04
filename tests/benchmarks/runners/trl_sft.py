"""The documents of work.json by TRL's SFTTrainer, packed."""

from answer import answer, work

folder, given = work()

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402
from trl_settings import SETTINGS, counting  # noqa: E402

torch.set_num_threads(1)
rows = sum(map(len, given["documents"])) // given["row_tokens"]
config = SFTConfig(
    **SETTINGS,
    packing=True,
    max_length=given["row_tokens"],
    per_device_train_batch_size=given["rows_at_once"],
    gradient_accumulation_steps=max(1, rows // given["steps"] // given["rows_at_once"]),
    max_steps=given["steps"],
    learning_rate=1e-4,
)
trainer = SFTTrainer(
    model=AutoModelForCausalLM.from_pretrained(folder / "network", dtype=torch.float32),
    args=config,
    train_dataset=Dataset.from_list([{"input_ids": document} for document in given["documents"]]),
    processing_class=AutoTokenizer.from_pretrained(folder / "network"),
)
counted = {"work": 0}


def count(_: list, batch: dict) -> None:
    """Tokens; a flattened row has no padding."""
    counted["work"] += batch["input_ids"].numel()


counting(trainer, count)


def run() -> dict[str, float]:
    """One epoch."""
    counted.update(work=0)
    trainer.train()
    return {"steps": trainer.state.global_step, **counted}


answer(run)
