"""Checks of a network folder by its files alone: the refusals that need no weights, and so no torch."""

import json
from pathlib import Path
from typing import Any

WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # whole, or in parts listed by an index; the first match counts
TOKENIZERS = (
    "tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt",
    "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
)  # fmt: skip
ADAPTER = "PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(folder)"
OTHERS = {  # what other tools' folders hold instead of weights that transformers loads, and what to do about it
    "global_step*": "holds a checkpoint of DeepSpeed; run its zero_to_fp32.py and save the network by save_pretrained",
    "**/*.distcp": "holds a sharded checkpoint of PyTorch (FSDP); merge it with `accelerate merge-weights`",
    "*.gguf": "holds a GGUF file, whose weights are quantized for inference; take the folder it was made from",
    "consolidated*": "holds weights in the form of their maker; take the folder that is made for transformers",
}


def check_files(path: Path | str) -> dict[str, Any]:
    """Return the config of a network folder.

    Raises ValueError, one sentence with the way out, if the folder cannot hold a trainable network.
    """
    path = Path(path)
    if not path.is_dir():
        raise ValueError(f"{path}: no such network folder")
    files, adapter = weight_files(path), path / "adapter_config.json"
    if adapter.is_file():  # transformers would apply it to any weights, even already merged ones
        if files:
            raise ValueError(
                f"{path}: holds weights and an adapter; if it is merged into them, move adapter_config.json and "
                f"adapter_model.* out of the folder, else merge it first: {ADAPTER}"
            )
        base = _json(adapter).get("base_model_name_or_path") or "its base network"
        raise ValueError(f"{path}: holds an adapter alone; merge it into {base} first: {ADAPTER}")
    if not (path / "config.json").is_file():
        raise ValueError(f"{path}: holds no config.json; name a folder that save_pretrained wrote")
    config = _json(path / "config.json")
    if quantized := config.get("quantization_config"):
        how = quantized.get("quant_method", "an unknown method") if isinstance(quantized, dict) else quantized
        raise ValueError(
            f"{path}: its weights are quantized ({how}) and cannot be trained; load it with transformers, "
            "call dequantize() and save it to another folder"
        )
    if absent := [file.name for file in files if not file.is_file()]:
        raise ValueError(f"{path}: lacks {', '.join(absent)} of {len(files)} files of weights; copy the whole folder")
    if not files:
        for pattern, said in OTHERS.items():
            if any(path.glob(pattern)):
                raise ValueError(f"{path}: {said}")
        raise ValueError(f"{path}: holds no weights ({' or '.join(WEIGHTS)}); copy the whole folder")
    if not any((path / name).is_file() for name in TOKENIZERS):
        raise ValueError(f"{path}: holds no tokenizer; save it beside the network: tokenizer.save_pretrained(folder)")
    return config


def weight_files(path: Path) -> list[Path]:
    """Return the weight files that transformers loads from a folder; some that an index names may be absent."""
    for name in WEIGHTS:
        if (path / name).is_file():
            return [path / name]
        if (index := path / f"{name}.index.json").is_file():
            return [path / part for part in sorted(set(_json(index).get("weight_map", {}).values()))]
    return []


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is no JSON ({error}); copy the folder again") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: holds no JSON object; copy the folder again")
    return found
