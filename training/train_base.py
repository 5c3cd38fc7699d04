"""A small transformer from scratch, for the embedded default: packed text, cached by the hash of corpus and recipe."""

import hashlib
import math
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.contract.configs import BaseConfig, free_keys
from training.contract.events import Finished, Started
from training.contract.records import PRETRAINING_TEXT
from training.miniature import world
from training.run.command import main
from training.run.optimization import adam, device, optimize
from training.run.optimizers import Muon
from training.run.run_folder import RunFolder, write_whole
from training.text.formatting import encode_document
from training.text.packing import MicroBatch, cross_entropy, digest, pack, pieces, read_documents
from training.text.policy import forbidden_token_ids, new_transformer, save_policy
from training.text.tokenizer import train_tokenizer

RESUMABLE = True
HELD_OUT_EVERY = 200  # every 200th sequence is kept for the validation loss
# Settings that do not change the network; the text is in the key by its own hash.
_OUTSIDE_KEY = free_keys(BaseConfig) | {"text", "corpus_seed", "corpus_words"}


def run(config: BaseConfig, run_folder: RunFolder) -> None:
    """Train the network, or take it from the cache."""
    documents = (
        list(world.corpus(config.corpus_seed, config.corpus_words))
        if config.text is None
        else read_documents(config.text)
    )
    cached = _cache_folder(config, documents)
    if cached is not None and cached.is_dir():
        run_folder.report(Started(verb=config.verb, total_steps=0))
        run_folder.save_checkpoint("base", lambda folder: shutil.copytree(cached, folder), "base", 0, chosen=True)
        run_folder.report(Finished(result={"checkpoint": "checkpoints/base", "from_cache": True}))
        return

    tokenizer = train_tokenizer(documents, config.vocab_size)
    sequences = [
        piece for document in documents for piece in pieces(encode_document(tokenizer, document), config.row_tokens)
    ]
    masks = [[True] * len(sequence) for sequence in sequences]
    held_out = range(0, len(sequences), HELD_OUT_EVERY)
    steps = _plan(config, [len(sequence) for sequence in sequences], set(held_out))
    torch.manual_seed(config.seed)
    model = new_transformer(config, tokenizer)
    model.to(device())  # type: ignore[arg-type]  # transformers wraps it so that mypy takes it for a plain function
    forbidden = forbidden_token_ids(model, tokenizer)

    def loss_of(rows: list[list[int]]) -> list[MicroBatch]:
        return cross_entropy(
            model, rows, sequences, masks, forbidden, tokenizer.pad_token_id, config.micro_batch_tokens
        )

    def part(loss: Callable[[], Tensor]) -> tuple[Tensor, dict[str, float]]:
        return loss(), {}

    def batches(step: int) -> list[MicroBatch]:
        return [MicroBatch(tokens, partial(part, loss)) for tokens, loss in loss_of(steps[step])]

    inside = {name: p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name}
    rest = [p for name, p in model.named_parameters() if name not in inside]
    optimizers = [
        Muon(inside.values(), config.muon_learning_rate, weight_decay=config.weight_decay),
        adam(config, rest),
    ]
    optimize(run_folder, config, model, len(steps), batches, "base", {}, optimizers)
    with torch.no_grad():
        validation = sum(float(batch.compute()) for batch in loss_of([[index] for index in held_out]))

    def write(folder: Path) -> None:
        save_policy(model, tokenizer, folder)
        (folder / PRETRAINING_TEXT).write_text("\n\n".join(documents), encoding="utf-8")

    metrics = {
        "base/validation_loss_nats": validation,
        "base/weights": float(sum(parameter.numel() for parameter in model.parameters())),
        "base/tokens": float(sum(map(len, sequences)) * config.epochs),
    }
    place = run_folder.save_checkpoint("base", write, "base", len(steps), metrics, chosen=True)
    if cached is not None and not cached.exists():
        write_whole(cached, lambda folder: shutil.copytree(place, folder))
    run_folder.report(Finished(result={"checkpoint": "checkpoints/base", "from_cache": False, **metrics}))


def _plan(config: BaseConfig, lengths: list[int], held_out: set[int]) -> list[list[list[int]]]:
    """Return each step's rows, each row the indices of its sequences; every epoch is shuffled separately."""
    steps: list[list[list[int]]] = []
    for epoch in range(config.epochs):
        order = [index for index in range(len(lengths)) if index not in held_out]
        rng = random.Random(f"{config.seed} epoch {epoch}")
        rng.shuffle(order)
        rows = [[order[place] for place in row] for row in pack([lengths[i] for i in order], config.row_tokens)]
        rng.shuffle(rows)
        count = max(1, math.ceil(len(rows) / config.rows_per_step))
        steps += [rows[number::count] for number in range(count)]
    return steps


def _cache_folder(config: BaseConfig, documents: list[str]) -> Path | None:
    """Return this corpus and recipe's folder in the cache, which may not exist yet; None without a cache."""
    if config.cache is None:
        return None
    recipe: dict[str, Any] = config.model_dump(mode="json", exclude=_OUTSIDE_KEY)
    key = hashlib.sha256(f"{digest(documents)} {sorted(recipe.items())}".encode()).hexdigest()
    return config.cache / key[:32]


if __name__ == "__main__":
    main("train_base")
