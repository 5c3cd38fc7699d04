"""Supervised fine-tuning on demonstrations, optionally with a share of pretraining text [InstructGPT 3.5, C.1, C.3]."""

import random
import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from training.contract.configs import SFTConfig
from training.contract.events import Finished
from training.contract.records import DEMONSTRATIONS, PRETRAINING_TEXT, DemonstrationRecord, Use
from training.networks.dropout import add_residual_dropout
from training.run import parallel
from training.run.command import main
from training.run.optimization import optimize, precision
from training.run.run_folder import RunFolder
from training.run.selection import Epochs, EpochScorer
from training.run.snapshots import load
from training.run.trainable import Trainable, trainable, weights_dtype
from training.text.formatting import encode_demonstration, encode_document, left_out
from training.text.packing import MicroBatch, cross_entropy, pack, pieces, read_documents, shuffled
from training.text.policy import check_fits, load_policy, max_positions, save_policy

RESUMABLE = True
NO_CURVES = ("score_low", "score_high", "score_prompts")  # an epoch's numbers that only its report has


def run(config: SFTConfig, run_folder: RunFolder) -> None:
    """Train on the train split's demonstrations, measure each epoch on the validation split, save checkpoints/sft.

    checkpoints/sft is the last network or, with a reward model, that of the epoch with the best score
    (run/selection.py). With a reward model, the network with the lowest loss, if it is a different one,
    is saved as checkpoints/sft_by_loss.
    """
    torch.manual_seed(config.seed)
    network = trainable(load_policy(config.init_from, weights_dtype(config), config), config, run_folder)
    add_residual_dropout(network.model, config.dropout)
    texts = read_texts(config, network, run_folder)
    steps = _plan(config, texts)
    epochs, judge = Epochs(run_folder), None
    if config.reward_model:
        judge = EpochScorer(config, network.model, network.tokenizer, list(texts.prompts.values()))
        epochs.check()

    def batches(step: int) -> list[MicroBatch]:
        return losses(network, texts, *steps[step], config)

    def measure(done: int, weights: Callable[[], dict[str, Tensor]]) -> dict[str, float]:
        epoch, within = divmod(done * config.epochs, len(steps))
        if within or not texts.members[Use.VALIDATION]:
            return {}
        network.model.eval()
        row = validation_loss(network, texts, config)
        if judge:
            row |= judge(network.model, done, run_folder)
        network.model.train()
        epochs.add({"step": done, "epoch": epoch, **row}, weights if judge else None)
        return {key: value for key, value in row.items() if key not in NO_CURVES}

    optimize(run_folder, config, network.model, len(steps), batches, "sft", texts.counts, measure=measure)

    chosen = epochs.best["score"] if judge else len(steps)
    lowest = epochs.best.get("validation_loss_nats", chosen)
    metrics: dict[str, float] = {}
    for name, step in (("sft_by_loss", lowest), ("sft", chosen)) if judge and lowest != chosen else (("sft", chosen),):
        if judge:
            epochs.load(network.model, step)
        metrics = {"sft/demonstrations": float(len(texts.members[Use.TRAIN]))}
        metrics |= {f"sft/{key}": value for key, value in epochs.rows.get(step, {}).items() if key != "step"}
        write = partial(_write, network, texts, config)
        run_folder.save_checkpoint(name, write, "sft", step, metrics, chosen=name == "sft")
    best = {f"best_epoch_by_{key}": epochs.rows[step]["epoch"] for key, step in epochs.best.items()}
    run_folder.report(Finished(result={"checkpoint": "checkpoints/sft", **metrics, **best}))
    run_folder.drop_states()


class Texts(NamedTuple):
    """All sequences of a run as token ids, which of their tokens are learnt, and what each sequence is for."""

    sequences: list[list[int]]
    masks: list[list[bool]]
    members: dict[Use, list[int]]  # indices of demonstrations
    documents: list[int]  # indices of pieces of pretraining text
    prompts: dict[tuple[int, ...], list[int]]  # distinct ones of the validation split
    counts: Counter[str]  # what was cut or left out


def read_texts(config: SFTConfig, network: Trainable, run_folder: RunFolder) -> Texts:
    """Read demonstrations and pretraining text; raise ValueError if there are none, or one does not fit."""
    texts = read_demonstrations(config, network.tokenizer, run_folder)
    if not texts.members[Use.TRAIN]:
        raise ValueError(
            f"data: {config.data / DEMONSTRATIONS} has no demonstration of the train split left to learn from"
            + left_out(texts.counts, config)
        )
    for document in _documents(config, network.tokenizer, max_positions(network.model)):
        texts.documents.append(len(texts.sequences))
        texts.sequences.append(document)
        texts.masks.append([True] * len(document))
    check_fits(network.model, max(map(len, texts.sequences)))
    return texts


def losses(
    network: Trainable, texts: Texts, demonstrations: list[int], documents: list[int], config: SFTConfig
) -> list[MicroBatch]:
    """Return a step's loss in micro-batches: the demonstrations' mean cross-entropy, mixed with the documents'."""
    share = config.pretraining_share
    parts = [(1 - share, "demonstration_loss", demonstrations)]
    parts += [(share, "pretraining_loss", documents)] if documents else []

    def part(loss_of: Callable[[], Tensor], weight: float, name: str) -> tuple[Tensor, dict[str, float]]:
        with precision(config.dtype):
            loss = loss_of()
        return weight * loss, {name: loss.item()}

    return [
        MicroBatch(tokens, partial(part, loss_of, weight, name))
        for weight, name, indices in parts
        for tokens, loss_of in _cross_entropy(network, texts, indices, config)
    ]


@torch.no_grad()
def validation_loss(network: Trainable, texts: Texts, config: SFTConfig) -> dict[str, float]:
    """Return the mean cross-entropy (nats) of the validation split's demonstrations."""
    batches = _cross_entropy(network, texts, texts.members[Use.VALIDATION], config)
    shares = parallel.assign([batch.tokens for batch in batches], even=config.sharded)
    with precision(config.dtype):
        loss = sum(weight * float(batches[index].compute()) for index, weight in shares)
    return parallel.add_up({"validation_loss_nats": loss})


def _cross_entropy(network: Trainable, texts: Texts, indices: list[int], config: SFTConfig) -> list[MicroBatch]:
    lengths = [len(texts.sequences[i]) for i in indices]
    rows = [[indices[i] for i in row] for row in pack(lengths, parallel.fair_limit(config.row_tokens, sum(lengths)))]
    return cross_entropy(
        network.model, rows, texts.sequences, texts.masks, network.forbidden, network.pad_id, config.micro_batch_tokens
    )


def _write(network: Trainable, texts: Texts, config: SFTConfig, folder: Path) -> None:
    save_policy(network.plain(folder), network.tokenizer, folder)
    if texts.documents and config.pretraining_text is None:  # PPO continues with the base network's text
        shutil.copyfile(config.init_from / PRETRAINING_TEXT, folder / PRETRAINING_TEXT)


def read_demonstrations(config: SFTConfig, tokenizer: PreTrainedTokenizerBase, run_folder: RunFolder) -> Texts:
    """Read the demonstrations; those by held-out labelers are counted and left out."""
    texts = Texts([], [], {use: [] for use in Use}, [], {}, Counter())
    for record in load(config.data, DEMONSTRATIONS, DemonstrationRecord, run_folder):
        if record.use is Use.HELD_OUT:
            texts.counts["demonstrations left out: by held-out labelers"] += 1
            continue
        encoded = encode_demonstration(
            tokenizer, record, config.max_prompt_tokens, config.max_completion_tokens, texts.counts
        )
        if encoded is None:
            continue
        ids, of_completion = encoded
        prompt = ids[: of_completion.index(True)]
        if record.use is Use.VALIDATION:
            texts.prompts[tuple(prompt)] = prompt
        texts.members[record.use].append(len(texts.sequences))
        texts.sequences.append(ids)
        texts.masks.append([True] * len(ids) if config.train_on_prompt else of_completion)
    return texts


def _documents(config: SFTConfig, tokenizer: PreTrainedTokenizerBase, positions: int | None) -> list[list[int]]:
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


def _plan(config: SFTConfig, texts: Texts) -> list[tuple[list[int], list[int]]]:
    """Return the demonstrations and the pretraining documents of each step."""
    share, documents = config.pretraining_share, texts.documents
    mixed = max(1, round(config.batch_size * share / (1 - share))) if share and documents else 0
    rng = random.Random(f"{config.seed} pretraining text")
    return [
        (step, [documents[rng.randrange(len(documents))] for _ in range(mixed)])
        for step in shuffled(texts.members[Use.TRAIN], config)
    ]


if __name__ == "__main__":
    main("train_sft")
