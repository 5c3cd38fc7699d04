"""Low-rank adapters: few weights trained beside frozen ones, where there is a fresh head with that [Hu 2021]."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer


def with_adapters(model: Any, rank: int, head: str | None = None) -> PeftModel:
    """`model` with adapters of `rank` on all its linear layers; of its own weights only those of `head` are trained.

    Adapters and head are float32, whatever the frozen weights are. `get_base_model()` is the network as before,
    adapters included: what computes with a plain network computes with it.
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
    """Write the adapters and the head to `folder`; returns a plain network with them in its weights, on the CPU.

    It is float32 even where the frozen weights are not: bfloat16 would round most of what was learnt away.
    """
    adapted.save_pretrained(folder, save_embedding_layers=False)  # a row to pad with is not learnt, and no base has it
    copied = {id(p): torch.nn.Parameter(p.detach().to("cpu", torch.float32, copy=True)) for p in adapted.parameters()}
    return deepcopy(adapted, copied).cpu().merge_and_unload()


@contextmanager
def without_adapters(model: Any) -> Iterator[None]:
    """`model` as it was before it got adapters."""
    layers = [layer for layer in model.modules() if isinstance(layer, BaseTunerLayer) and not layer.disable_adapters]
    try:
        for layer in layers:
            layer.enable_adapters(False)
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
