"""A network that a run trains: tried, moved to the device with any adapters, and saved as a plain network again."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from training.contract.configs import Memory
from training.networks import trial
from training.run.optimization import device
from training.run.run_folder import RunFolder
from training.text.policy import forbidden_token_ids

if TYPE_CHECKING:
    from peft import PeftModel  # slow to import


@dataclass
class Trainable:
    """A network in training and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    adapters: "PeftModel | None"  # the owner of those in `model`; None: all weights are trained

    @cached_property
    def forbidden(self) -> Tensor:
        """The ids [F] that a language model may not write."""
        return forbidden_token_ids(self.model, self.tokenizer)

    @property
    def pad_id(self) -> int:
        """The id of the token that fills up rows."""
        return self.tokenizer.pad_token_id

    def plain(self, folder: Path) -> PreTrainedModel:
        """Return the plain network; merge any adapters into its weights and write them to `folder`."""
        return merged(self.model, self.adapters, folder)


def trainable(
    loaded: tuple[Any, PreTrainedTokenizerBase], config: Any, run_folder: RunFolder, head: str | None = None
) -> Trainable:
    """Report what trying a loaded (model, tokenizer) finds, and make it ready for training (see `prepared`)."""
    model, tokenizer = loaded
    trial.report(run_folder, "init_from", config.init_from, trial.findings(model, tokenizer))
    model, adapters = prepared(model, config, head)
    return Trainable(model, tokenizer, adapters)


def prepared(model: Any, config: Memory, head: str | None = None) -> tuple[Any, Any]:
    """Move `model` to the device, add the config's adapters and checkpointing; return (model, PeftModel or None).

    With adapters, of the model's own weights only those of `head` are trained. The model is in training mode, the only
    one in which activations are recomputed.
    """
    adapted = None
    if config.lora_rank:
        from training.run.lora import with_adapters  # peft is slow to import

        adapted = with_adapters(model, config.lora_rank, head)
        model = adapted.get_base_model()
    if config.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    return model.to(device()).train(), adapted


def merged(model: Any, adapted: Any, folder: Path) -> Any:
    """Return the plain network from `prepared`; merge any adapters into its weights and write them to `folder`."""
    if adapted is None:
        return model
    from training.run.lora import save_and_merge

    return save_and_merge(adapted, folder / "adapter")


def weights_dtype(config: Memory) -> torch.dtype:
    """Return the dtype to load a network in: frozen weights need no float32, as they accumulate no small steps."""
    compact = config.lora_rank or getattr(config, "bfloat16_weights", False)
    return getattr(torch, config.dtype) if compact else torch.float32
