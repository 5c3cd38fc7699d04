"""A large network cut to its first layers and the first rows of its vocabulary, to be tried in little memory.

Of the remaining layers only names and shapes are read, which must match those of another layer.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, GenerationConfig, PreTrainedModel

from training.contract.network_files import check_files, weight_files
from training.networks.config import class_for, read_config, refusing
from training.networks.dropout import without_dropout

ROWS = 4096  # of the vocabulary
FLOAT32_WEIGHTS = 300_000_000  # larger networks are tried in the dtype they are stored in
_LAYER = re.compile(r"^(.*?)\.(\d+)\.(.+)$")
_OTHER_PART = re.compile(r"vision|visual|image|audio|speech")  # of a network that reads more than text


def size_bytes(path: Path) -> int:
    """Return the bytes of a folder's weights in safetensors files; 0 if they are stored otherwise."""
    return sum(file.stat().st_size for file in _files(path))


def _files(path: Path) -> list[Path]:
    return [file for file in weight_files(path) if file.suffix == ".safetensors"]


def load_first_layers(path: Path) -> tuple[Any, int, int, int]:
    """Return (network in evaluation mode, its layers, layers of the whole network, vocabulary rows of the whole).

    Raise ValueError if a tensor of any layer is missing or has another shape.
    """
    check_files(path)
    with refusing(path, "its first layers"):
        return _first_layers(path)


def _first_layers(path: Path) -> tuple[Any, int, int, int]:
    config = without_dropout(read_config(path))
    text = config.get_text_config()
    whole, vocabulary = text.num_hidden_layers, text.vocab_size
    kinds = getattr(text, "layer_types", None) or [None] * whole
    layers = max(kinds.index(kind) + 1 for kind in set(kinds))
    _check_shapes(path, whole)
    rows = min(ROWS, vocabulary)
    for key, value in text.to_dict().items():
        if isinstance(value, list) and len(value) == whole:
            setattr(text, key, value[:layers])
    text.num_hidden_layers, text.vocab_size = layers, rows
    tensors = {
        name: _read(tensor, vocabulary, rows)
        for name, tensor in _tensors(path)
        if not ((place := _LAYER.match(name)) and layers <= int(place[2]) < whole and not _OTHER_PART.search(name))
    }
    small = sum(tensor.numel() for tensor in tensors.values()) <= FLOAT32_WEIGHTS
    kind = class_for(config, MODEL_FOR_CAUSAL_LM_MAPPING)
    if kind.config_class is not type(config):  # of a network of several parts only the text part is loaded
        config = text
    loaded = kind.from_pretrained(
        None, config=config, state_dict=tensors, dtype=torch.float32 if small else "auto", output_loading_info=True
    )
    model, found = cast("tuple[PreTrainedModel, dict[str, set[str]]]", loaded)  # it says so only of the model
    if found["missing_keys"]:
        first = min(found["missing_keys"])
        raise ValueError(f"{path}: lacks {len(found['missing_keys'])} tensors, {first} first; copy the folder again")
    if (path / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(path, local_files_only=True)
    return model.eval(), layers, whole, vocabulary


def _tensors(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the names and unread tensors of all files."""
    for file in _files(path):
        with safe_open(file, framework="pt") as held:
            for name in held.keys():  # noqa: SIM118 -- not a mapping
                yield name, held.get_slice(name)


def _read(tensor: Any, vocabulary: int, rows: int) -> Tensor:
    return tensor[:rows] if tensor.get_shape()[:1] == [vocabulary] else tensor[...]


def _check_shapes(path: Path, whole: int) -> None:
    """Raise ValueError for a layer that nearly matches another: within a kind, tensor names and shapes must recur."""
    of_layer: dict[tuple[str, int], set[tuple[str, tuple[int, ...]]]] = {}
    for name, tensor in _tensors(path):
        if place := _LAYER.match(name):
            key = place[1], int(place[2])
            of_layer.setdefault(key, set()).add((place[3], tuple(tensor.get_shape())))
    for stack in {stack for stack, _ in of_layer}:
        if sum(each == stack for each, _ in of_layer) < whole - 1:
            continue  # another part of the network
        held = [of_layer.get((stack, number), set()) for number in range(whole)]
        for number, own in enumerate(held):
            if held.count(own) > 1:
                continue
            others = (other for other in held if other is not own)
            most_like = min(others, key=lambda other: len(own ^ other), default=own)
            differ = own ^ most_like  # few: something is missing; many: the only layer of another kind
            if most_like - own and (len(differ) <= len(most_like) / 2 or not own):
                raise ValueError(
                    f"{path}: layer {number} differs from those of its kind in {len(differ)} tensors, "
                    f"{stack}.{number}.{min(differ)[0]} first; copy the folder again"
                )
