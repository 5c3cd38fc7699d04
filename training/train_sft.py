"""Supervised fine-tuning on demonstrations, optionally with a share of pretraining text [InstructGPT 3.5, C.1, C.3]."""

import math
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from training.command import main
from training.events import Finished
from training.formatting import encode_demonstration, encode_document
from training.optimization import device, optimize, precision
from training.packing import cross_entropy, pack, pieces, read_documents
from training.policy import (
    add_residual_dropout,
    check_fits,
    forbidden_token_ids,
    load_policy,
    max_positions,
    save_policy,
)
from training.recipes import SFTConfig
from training.records import DEMONSTRATIONS, PRETRAINING_TEXT, DemonstrationRecord, Pool, Split, read
from training.run_folder import RunFolder

RESUMABLE = True


def run(config: SFTConfig, run_folder: RunFolder) -> None:
    """Train on the train split's demonstrations, report the validation split's loss, save checkpoints/sft."""
    torch.manual_seed(config.seed)
    model, tokenizer = load_policy(config.init_from)
    model.to(device())
    add_residual_dropout(model, config.dropout)
    forbidden = forbidden_token_ids(model, tokenizer)

    counts: Counter[str] = Counter()
    sequences: list[list[int]] = []
    masks: list[list[bool]] = []
    members: dict[Split, list[int]] = {split: [] for split in Split}
    for record in read(config.data / DEMONSTRATIONS, DemonstrationRecord):
        if record.pool == Pool.HELD_OUT:
            counts["demonstrations left out: by held-out labelers"] += 1
            continue
        encoded = encode_demonstration(
            tokenizer, record, config.max_prompt_tokens, config.max_completion_tokens, counts
        )
        if encoded is not None:
            members[record.split].append(len(sequences))
            sequences.append(encoded[0])
            masks.append([True] * len(encoded[0]) if config.train_on_prompt else encoded[1])
    if not members[Split.TRAIN]:
        raise ValueError(
            f"data: {config.data / DEMONSTRATIONS} has no demonstration of the train split left to learn from"
        )
    documents = _documents(config, tokenizer, max_positions(model))
    first_document = len(sequences)
    sequences += documents
    masks += [[True] * len(document) for document in documents]
    check_fits(model, max(map(len, sequences)))
    steps = _plan(config, members[Split.TRAIN], len(documents))

    def loss_of(indices: list[int]) -> Iterator[Tensor]:
        rows = [[indices[i] for i in row] for row in pack([len(sequences[i]) for i in indices], config.row_tokens)]
        with precision(config.dtype):
            yield from cross_entropy(
                model, rows, sequences, masks, forbidden, tokenizer.pad_token_id, config.micro_batch_tokens
            )

    def losses(step: int) -> Iterator[tuple[Tensor, dict[str, float]]]:
        demonstrations, mixed = steps[step]
        share = config.pretraining_share
        for loss in loss_of(demonstrations):
            yield (1 - share) * loss, {"demonstration_loss": loss.item()}
        for loss in loss_of([first_document + index for index in mixed]):
            yield share * loss, {"pretraining_loss": loss.item()}

    optimize(run_folder, config, model, len(steps), losses, "sft", counts)
    metrics = {"sft/demonstrations": float(len(members[Split.TRAIN]))}
    if members[Split.VALIDATION]:
        with torch.no_grad():
            loss = sum(float(loss) for loss in loss_of(members[Split.VALIDATION]))
        metrics["sft/validation_loss_nats"] = loss

    def write(folder: Path) -> None:
        save_policy(model, tokenizer, folder)
        if documents and config.pretraining_text is None:  # PPO goes on with the base network's own text
            shutil.copyfile(config.init_from / PRETRAINING_TEXT, folder / PRETRAINING_TEXT)

    run_folder.save_checkpoint("sft", write, "sft", len(steps), metrics, chosen=True)
    run_folder.report(Finished(result={"checkpoint": "checkpoints/sft", **metrics}))


def _documents(config: SFTConfig, tokenizer: object, positions: int | None) -> list[list[int]]:
    """The pretraining text as token ids; none where no share of it is asked for."""
    if config.pretraining_share == 0:
        return []
    path = config.pretraining_text or config.init_from / PRETRAINING_TEXT
    if not path.is_file():
        raise ValueError(
            f"pretraining_text: {path} is no file; give the text that pretraining_share is drawn from, or set that to 0"
        )
    return [
        piece
        for document in read_documents(path)
        for piece in pieces(
            encode_document(tokenizer, document), min(config.row_tokens, positions or config.row_tokens)
        )
    ]


def _plan(config: SFTConfig, demonstrations: list[int], documents: int) -> list[tuple[list[int], list[int]]]:
    """For each step the demonstrations and the pretraining documents it learns from."""
    mixed = round(config.batch_size * config.pretraining_share / (1 - config.pretraining_share)) if documents else 0
    if config.pretraining_share and not mixed:
        mixed = 1
    text_rng = random.Random(f"{config.seed} pretraining text")
    steps: list[tuple[list[int], list[int]]] = []
    for epoch in range(config.epochs):
        order = list(demonstrations)
        random.Random(f"{config.seed} epoch {epoch}").shuffle(order)
        count = math.ceil(len(order) / config.batch_size)
        steps += [
            (order[number::count], [text_rng.randrange(documents) for _ in range(mixed)]) for number in range(count)
        ]
    return steps


if __name__ == "__main__":
    main("train_sft")
