"""The documents of work.json by TRL's SFTTrainer, packed."""

import tempfile

from answer import answer, work

folder, given = work()

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402

torch.set_num_threads(1)
rows = sum(map(len, given["documents"])) // given["row_tokens"]
config = SFTConfig(
    output_dir=tempfile.mkdtemp(),
    packing=True,
    max_length=given["row_tokens"],
    per_device_train_batch_size=given["rows_at_once"],
    gradient_accumulation_steps=max(1, rows // given["steps"] // given["rows_at_once"]),
    max_steps=given["steps"],
    learning_rate=1e-4,
    bf16=False,
    gradient_checkpointing=False,
    use_cpu=True,
    logging_steps=1000,
    save_strategy="no",
    report_to="none",
    disable_tqdm=True,
    dataloader_pin_memory=False,
)
trainer = SFTTrainer(
    model=AutoModelForCausalLM.from_pretrained(folder / "network", dtype=torch.float32),
    args=config,
    train_dataset=Dataset.from_list([{"input_ids": document} for document in given["documents"]]),
    processing_class=AutoTokenizer.from_pretrained(folder / "network"),
)
counted = {"work": 0}
collate = trainer.data_collator


def counting(examples: list) -> dict:
    """The trainer's own batches, counted on their way."""
    batch = collate(examples)
    counted["work"] += batch["input_ids"].numel()  # a flattened row has no padding
    return batch


trainer.data_collator = counting


def run() -> dict[str, float]:
    """One epoch."""
    counted.update(work=0)
    trainer.train()
    return {"steps": trainer.state.global_step, **counted}


answer(run)
