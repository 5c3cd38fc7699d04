"""What TRL's trainers are told alike, and the count of what they really took."""

import tempfile
from collections.abc import Callable
from typing import Any

# float32, nothing computed twice, nothing written down: as fast as TRL allows on a CPU.
SETTINGS = {
    "output_dir": tempfile.mkdtemp(),
    "bf16": False,
    "gradient_checkpointing": False,
    "use_cpu": True,
    "logging_steps": 1000,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "dataloader_pin_memory": False,
}


def counting(trainer: Any, count: Callable[[list, dict], None]) -> None:
    """Let `count` see the trainer's own batches, examples and tensors, on their way."""
    collate = trainer.data_collator

    def counted(examples: list) -> dict:
        batch = collate(examples)
        count(examples, batch)
        return batch

    trainer.data_collator = counted
