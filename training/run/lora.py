"""Low-rank adapters [Hu 2021]: few weights are trained, with any fresh head, while the others stay frozen."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer


def with_adapters(model: Any, rank: int, head: str | None = None) -> PeftModel:
    """Add adapters of `rank` to all linear layers of `model`; of its own weights only those of `head` are trained.

    Adapters and head are float32, whatever the frozen weights are. `get_base_model()` returns the original network,
    adapters included, which works wherever a plain network does.
    """
    if head:
        getattr(model, head).float()
    kind = "SEQ_CLS" if head else "CAUSAL_LM" if model.can_generate() else "FEATURE_EXTRACTION"
    adapters = LoraConfig(
        task_type=kind,
        r=rank,
        lora_alpha=2 * rank,
        target_modules="all-linear",
        modules_to_save=[head] if head else None,
    )
    return get_peft_model(model, adapters)


@torch.no_grad()
def save_and_merge(adapted: PeftModel, folder: Path) -> Any:
    """Write the adapters and the head to `folder`; return a plain network on the CPU with them merged in.

    It is float32 even if the frozen weights are not: bfloat16 would round away most of what was learnt.
    """
    adapted.save_pretrained(
        str(folder), save_embedding_layers=False
    )  # the padding row is not learnt, and no base has it
    copied = {id(p): torch.nn.Parameter(p.detach().to("cpu", torch.float32, copy=True)) for p in adapted.parameters()}
    return deepcopy(adapted, copied).cpu().merge_and_unload()


@contextmanager
def without_adapters(model: Any) -> Iterator[None]:
    """Disable the adapters of `model` for the duration of the block."""
    layers = [layer for layer in model.modules() if isinstance(layer, BaseTunerLayer) and not layer.disable_adapters]
    try:
        for layer in layers:
            layer.enable_adapters(False)
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
