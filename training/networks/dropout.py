"""Removal of a network's own dropout, and the dropout that fine-tuning adds."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.fast.shared_prefix import as_loaded, trial_sequences

NEAR = {torch.float32: 1e-3}  # tolerance for rounding, relative to what a layer adds; other types lose more


def without_dropout(config: Any) -> Any:
    """Set every dropout and noise of the config to 0 and return it: RL needs repeatable log-probs."""
    for part in _parts(config):
        for key, value in part.to_dict().items():
            if isinstance(value, float) and any(word in key for word in ("drop", "jitter", "noise")):
                setattr(part, key, 0.0)
    return config


def _parts(config: Any) -> Iterator[Any]:
    """Yield a config and, recursively, its sub-configs."""
    yield config
    for name in getattr(config, "sub_configs", ()):
        if (part := getattr(config, name, None)) is not None:
            yield from _parts(part)


def add_residual_dropout(model: Any, probability: float) -> None:
    """Apply dropout to what each block of a layer adds to the residual stream, once, in training mode only.

    Uses hooks, because most families have no such dropout of their own; it is never saved with the network. The blocks
    are found by a trial: they are the parts of a layer whose outputs sum to what the layer adds. If no parts do, as a
    layer scales their sum, dropout applies to what the layer adds as a whole.
    """
    if probability == 0:
        return

    def drop_added(layer: nn.Module, given: tuple, keywords: dict, output: Any) -> Any:
        start = _hidden(given, keywords)
        assert start is not None  # as when residual_blocks saw it run
        return _with_first(output, lambda x: start + F.dropout(x - start, probability, layer.training))

    for layer, blocks in residual_blocks(model):
        for block in blocks:
            block.register_forward_hook(
                lambda block, _, output: _with_first(output, lambda x: F.dropout(x, probability, block.training))
            )
        if not blocks:
            layer.register_forward_hook(drop_added, with_kwargs=True)


def residual_blocks(model: Any) -> list[tuple[nn.Module, Sequence[nn.Module]]]:
    """Return each layer with its parts whose outputs sum to what it adds; no parts if that cannot be determined."""
    count = model.config.get_text_config().num_hidden_layers
    stacks = [list(part) for part in model.modules() if isinstance(part, nn.ModuleList) and len(part) == count]
    layers = {layer for stack in stacks for layer in stack}
    seen: dict[nn.Module, Tensor] = {}

    def note(part: nn.Module, given: tuple, keywords: dict, output: Any) -> None:
        first = output[0] if isinstance(output, tuple | list) else output
        if part not in layers and isinstance(first, Tensor):
            seen[part] = first.clone()  # some layers add in place
        elif part in layers and (start := _hidden(given, keywords)) is not None and start.shape == first.shape:
            seen[part] = first - start

    parts = {part for layer in layers for part in (layer, *layer.children())}
    hooks = [part.register_forward_hook(note, with_kwargs=True) for part in parts]
    try:
        with as_loaded(model):
            model(input_ids=torch.tensor(trial_sequences(model, 16), device=model.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    ran = [stack for stack in stacks if all(layer in seen for layer in stack)]  # an image encoder does not run
    if not ran:
        raise ValueError(
            f"dropout: {type(model).__name__} has no list of {count} layers to add dropout to; set dropout = 0"
        )
    return [(layer, _summands(layer, seen)) for layer in max(ran, key=lambda stack: seen[stack[0]].numel())]


def _summands(layer: nn.Module, seen: dict[nn.Module, Tensor]) -> Sequence[nn.Module]:
    added = seen[layer]
    limit = NEAR.get(added.dtype, 0.02) * added.norm()
    parts = [part for part in layer.children() if part in seen and seen[part].shape == added.shape]
    for size in (1, 2, 3):
        for some in combinations(parts, size):
            if (sum(seen[part] for part in some) - added).norm() <= limit:
                return some
    return ()


def _hidden(given: tuple, keywords: dict) -> Tensor | None:
    return given[0] if given else keywords.get("hidden_states")


def _with_first(output: Any, change: Any) -> Any:
    return type(output)((change(output[0]), *output[1:])) if isinstance(output, tuple | list) else change(output)
