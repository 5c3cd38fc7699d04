"""Low-rank adapters: few weights trained beside frozen ones, where there is a fresh head with that [Hu 2021]."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model


def with_adapters(model: Any, rank: int, head: str | None = None) -> PeftModel:
    """`model` with adapters of `rank` on all its linear layers; of its own weights only those of `head` are trained.

    Adapters and head are float32, whatever the frozen weights are. `get_base_model()` is the network as before,
    adapters included: what computes with a plain network computes with it.
    """
    if head:
        getattr(model, head).float()
    adapters = LoraConfig(
        task_type="SEQ_CLS" if head else "CAUSAL_LM",
        r=rank,
        lora_alpha=2 * rank,
        target_modules="all-linear",
        modules_to_save=[head] if head else None,
    )
    return get_peft_model(model, adapters)


@torch.no_grad()
def save_and_merge(adapted: PeftModel, folder: Path) -> Any:
    """Write the adapters and the head to `folder`, add them to the weights, return the plain network."""
    adapted.save_pretrained(folder)
    return adapted.merge_and_unload()
