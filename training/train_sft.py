"""Supervised fine-tuning on demonstrations, optionally with a share of pretraining text [InstructGPT 3.5, C.1, C.3]."""

import random
import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from training.contract.configs import SFTConfig
from training.contract.events import Finished
from training.contract.records import DEMONSTRATIONS, PRETRAINING_TEXT, DemonstrationRecord, Use
from training.networks import trial
from training.networks.dropout import add_residual_dropout
from training.run import parallel
from training.run.command import main
from training.run.optimization import merged, optimize, precision, prepared, weights_dtype
from training.run.run_folder import RunFolder
from training.run.selection import Epochs, Judge
from training.run.snapshots import load
from training.text.formatting import encode_demonstration, encode_document, left_out
from training.text.packing import MicroBatch, cross_entropy, pack, pieces, read_documents, shuffled
from training.text.policy import check_fits, forbidden_token_ids, load_policy, max_positions, save_policy

RESUMABLE = True
NO_CURVES = ("score_low", "score_high", "score_prompts")  # an epoch's numbers that only its report has


def run(config: SFTConfig, run_folder: RunFolder) -> None:
    """Train on the train split's demonstrations, measure each epoch on the validation split, save checkpoints/sft.

    checkpoints/sft is the last network or, with a reward model, that of the epoch with the best score
    (run/selection.py). With a reward model, the network with the lowest loss, if it is a different one,
    is saved as checkpoints/sft_by_loss.
    """
    torch.manual_seed(config.seed)
    model, tokenizer = load_policy(config.init_from, weights_dtype(config), config)
    trial.report(run_folder, "init_from", config.init_from, trial.findings(model, tokenizer))
    model, adapted = prepared(model, config)
    add_residual_dropout(model, config.dropout)
    forbidden = forbidden_token_ids(model, tokenizer)

    counts: Counter[str] = Counter()
    sequences, masks, members, asked = _demonstrations(config, tokenizer, counts, run_folder)
    if not members[Use.TRAIN]:
        raise ValueError(
            f"data: {config.data / DEMONSTRATIONS} has no demonstration of the train split left to learn from"
            + left_out(counts, config)
        )
    documents = _documents(config, tokenizer, max_positions(model))
    first_document = len(sequences)
    sequences += documents
    masks += [[True] * len(document) for document in documents]
    check_fits(model, max(map(len, sequences)))
    steps = _plan(config, members[Use.TRAIN], len(documents))
    judge = Judge(config, model, tokenizer, asked) if config.reward_model else None
    epochs = Epochs(run_folder)
    if judge:
        epochs.check()

    def batches_of(indices: list[int]) -> list[MicroBatch]:
        lengths = [len(sequences[i]) for i in indices]
        rows = [[indices[i] for i in row] for row in pack(lengths, parallel.fair(config.row_tokens, sum(lengths)))]
        return cross_entropy(
            model, rows, sequences, masks, forbidden, tokenizer.pad_token_id, config.micro_batch_tokens
        )

    def part(loss_of: Callable[[], Tensor], weight: float, name: str) -> tuple[Tensor, dict[str, float]]:
        with precision(config.dtype):
            loss = loss_of()
        return weight * loss, {name: loss.item()}

    def batches(step: int) -> list[MicroBatch]:
        demonstrations, mixed = steps[step]
        share = config.pretraining_share
        parts = [(1 - share, "demonstration_loss", demonstrations)]
        parts += [(share, "pretraining_loss", [first_document + index for index in mixed])] if mixed else []
        return [
            MicroBatch(tokens, partial(part, loss_of, weight, name))
            for weight, name, indices in parts
            for tokens, loss_of in batches_of(indices)
        ]

    @torch.no_grad()
    def measure(done: int, weights: Callable[[], dict[str, Tensor]]) -> dict[str, float]:
        epoch, within = divmod(done * config.epochs, len(steps))
        if within or not members[Use.VALIDATION]:
            return {}
        model.eval()
        held_out = batches_of(members[Use.VALIDATION])
        shares = parallel.deal([batch.tokens for batch in held_out], even=config.sharded)
        with precision(config.dtype):
            loss = sum(weight * float(held_out[index].compute()) for index, weight in shares)
        values = parallel.add_up({"validation_loss_nats": loss})
        if judge:
            values |= judge(model, done, run_folder)
        model.train()
        epochs.add({"step": done, "epoch": epoch, **values}, weights if judge else None)
        return {key: value for key, value in values.items() if key not in NO_CURVES}

    optimize(run_folder, config, model, len(steps), batches, "sft", counts, measure=measure)

    def write(folder: Path) -> None:
        save_policy(merged(model, adapted, folder), tokenizer, folder)
        if documents and config.pretraining_text is None:  # PPO continues with the base network's text
            shutil.copyfile(config.init_from / PRETRAINING_TEXT, folder / PRETRAINING_TEXT)

    def save(name: str, step: int) -> dict[str, float]:
        if judge:
            epochs.load(model, step)
        measured = {f"sft/{key}": value for key, value in epochs.rows.get(step, {}).items() if key != "step"}
        metrics = {"sft/demonstrations": float(len(members[Use.TRAIN])), **measured}
        run_folder.save_checkpoint(name, write, "sft", step, metrics, chosen=name == "sft")
        return metrics

    chosen = epochs.best["score"] if judge else len(steps)
    lowest = epochs.best.get("validation_loss_nats", chosen)
    if judge and lowest != chosen:
        save("sft_by_loss", lowest)
    metrics = save("sft", chosen)
    best = {f"best_epoch_by_{key}": epochs.rows[step]["epoch"] for key, step in epochs.best.items()}
    run_folder.report(Finished(result={"checkpoint": "checkpoints/sft", **metrics, **best}))
    run_folder.drop_states()


def _demonstrations(
    config: SFTConfig, tokenizer: object, counts: Counter[str], run_folder: RunFolder | None = None
) -> tuple[list[list[int]], list[list[bool]], dict[Use, list[int]], list[list[int]]]:
    """Return the demonstrations' token ids and masks, their indices by use, and the distinct validation prompts."""
    sequences, masks = [], []
    asked: dict[tuple[int, ...], None] = {}  # distinct prompts of the validation split
    members: dict[Use, list[int]] = {use: [] for use in Use}
    for record in load(config.data, DEMONSTRATIONS, DemonstrationRecord, run_folder):
        if record.use is Use.HELD_OUT:
            counts["demonstrations left out: by held-out labelers"] += 1
            continue
        encoded = encode_demonstration(
            tokenizer, record, config.max_prompt_tokens, config.max_completion_tokens, counts
        )
        if encoded is not None:
            members[record.use].append(len(sequences))
            if record.use is Use.VALIDATION:
                asked[tuple(encoded[0][: encoded[1].index(True)])] = None
            sequences.append(encoded[0])
            masks.append([True] * len(encoded[0]) if config.train_on_prompt else encoded[1])
    return sequences, masks, members, list(map(list, asked))


def _documents(config: SFTConfig, tokenizer: object, positions: int | None) -> list[list[int]]:
    """Return the pretraining text as token ids; empty if pretraining_share is 0."""
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
    """Return the demonstrations and the pretraining documents of each step."""
    mixed = round(config.batch_size * config.pretraining_share / (1 - config.pretraining_share)) if documents else 0
    if config.pretraining_share and not mixed:
        mixed = 1
    rng = random.Random(f"{config.seed} pretraining text")
    return [(step, [rng.randrange(documents) for _ in range(mixed)]) for step in shuffled(demonstrations, config)]


if __name__ == "__main__":
    main("train_sft")
