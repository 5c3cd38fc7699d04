"""A fresh reward model on all rankings of a snapshot, by Eq. 1, one batch element per prompt [InstructGPT 3.5, C.2]."""

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from training.command import main
from training.events import Finished, Warned
from training.formatting import encode_comparison, encode_demonstration
from training.optimization import device, optimize, precision
from training.packing import micro_batches
from training.policy import check_fits, pad
from training.recipes import RewardModelConfig
from training.records import (
    COMPARISONS,
    DEMONSTRATIONS,
    ComparisonRecord,
    DemonstrationRecord,
    Pool,
    Split,
    read,
)
from training.reward_model import (
    k_wise_loss,
    new_reward_model,
    pair_accuracy,
    save_reward_model,
    score,
    score_sequences,
)
from training.run_folder import RunFolder

RESUMABLE = True
TIES = "pairs left out: tied, or a completion not ranked"


@dataclass
class Ranked:
    """One prompt: its distinct completions as prompt + completion ids, the (chosen, rejected) pairs of its rankings."""

    sequences: list[list[int]] = field(default_factory=list)
    pairs: list[tuple[int, int]] = field(default_factory=list)


def run(config: RewardModelConfig, run_folder: RunFolder) -> None:
    """Train one reward model, measure it on unseen prompts, set its offset, save checkpoints/reward_model."""
    torch.manual_seed(config.seed)
    model, tokenizer = new_reward_model(config.init_from)
    model.to(device())
    counts: Counter[str] = Counter()
    trained, validation, held_out = _read(config, tokenizer, counts)
    demonstrations = _demonstrations(config, tokenizer, counts)
    if not any(prompt.pairs for prompt in trained):
        raise ValueError(
            f"data: {config.data / COMPARISONS} has no pair to learn from (train split, train pool, tiers that differ)"
        )
    sequences = [ids for part in (trained, validation, held_out) for prompt in part for ids in prompt.sequences]
    check_fits(model, max(map(len, sequences + demonstrations)))
    steps = _plan(config, len(trained))

    def losses(step: int) -> Iterator[tuple[Tensor, dict[str, float]]]:
        prompts = [trained[index] for index in steps[step]]
        with_pairs = sum(bool(prompt.pairs) for prompt in prompts)
        # A prompt's completions stay together: its pairs need their scores in one micro-batch.
        widths = [max(map(len, prompt.sequences)) * len(prompt.sequences) for prompt in prompts]
        for batch in micro_batches(widths, config.micro_batch_tokens):
            sequences, groups = _joined([prompts[index] for index in batch])
            ids, mask = pad(sequences, tokenizer.pad_token_id, device=model.device)
            with precision(config.dtype):
                scores = score(model, ids, mask)
            right = pair_accuracy(scores.tolist(), groups)
            share = right["prompts"] / with_pairs if with_pairs else 0.0
            yield k_wise_loss(scores, groups, max(1, with_pairs)), {"accuracy": right.get("accuracy", 0.5) * share}

    optimize(run_folder, config, model, len(steps), losses, "reward_model", counts)

    metrics: dict[str, float] = {}
    for name, prompts in (("validation", validation), ("held_out_labelers", held_out)):
        sequences, groups = _joined(prompts)
        scores = score_sequences(model, sequences, tokenizer.pad_token_id, config.micro_batch_tokens)
        measured = pair_accuracy(scores.tolist(), groups)
        if measured["pairs"]:
            metrics[f"accuracy/{name}"] = measured.pop("accuracy")
            metrics[f"loss/{name}"] = float(k_wise_loss(scores, groups, int(measured["prompts"])))
            metrics |= {f"accuracy/{name}_{key}": value for key, value in measured.items()}
    if "accuracy/validation" not in metrics:
        run_folder.report(Warned(message="no ranking of the validation or test split: held-out accuracy is not known"))
    if demonstrations:
        raw = score_sequences(model, demonstrations, tokenizer.pad_token_id, config.micro_batch_tokens)
        model.config.score_offset = float(raw.double().mean())
    else:
        run_folder.report(
            Warned(message="no demonstration in the snapshot: score_offset stays 0, scores have no anchor")
        )
    metrics["score_offset"] = model.config.score_offset
    model.config.reward_metrics = metrics  # travels with the network: PPO refuses one no better than a coin
    run_folder.save_checkpoint(
        "reward_model",
        lambda folder: save_reward_model(model, tokenizer, folder),
        "reward_model",
        len(steps),
        metrics,
        chosen=True,
    )
    run_folder.report(Finished(result={"checkpoint": "checkpoints/reward_model", **metrics}))


def _read(
    config: RewardModelConfig, tokenizer: object, counts: Counter[str]
) -> tuple[list[Ranked], list[Ranked], list[Ranked]]:
    """(train, validation, held-out labelers): by prompt, the train pool's rankings of the train split and of the other
    splits, and the held-out pool's rankings of prompts that are not trained on."""
    records = list(read(config.data / COMPARISONS, ComparisonRecord))
    trained_on = {r.prompt_key for r in records if r.split == Split.TRAIN and r.pool == Pool.TRAIN}
    prompts: tuple[dict[str, Ranked], ...] = ({}, {}, {})
    for record in records:
        if record.pool == Pool.TRAIN:
            part = prompts[0 if record.split == Split.TRAIN else 1]
        elif record.prompt_key not in trained_on:
            part = prompts[2]
        else:
            counts["rankings left out: by held-out labelers, of prompts that are trained on"] += 1
            continue
        encoded = encode_comparison(tokenizer, record, config.max_prompt_tokens, config.max_completion_tokens, counts)
        if encoded is None:
            continue
        ranked = part.setdefault(record.prompt_key, Ranked())
        places = []
        for completion in encoded[1]:
            sequence = encoded[0] + completion
            if sequence not in ranked.sequences:
                ranked.sequences.append(sequence)
            places.append(ranked.sequences.index(sequence))
        pairs = [(places[chosen], places[rejected]) for chosen, rejected in record.pairs()]
        ranked.pairs += pairs
        counts[TIES] += math.comb(len(record.completions), 2) - len(pairs)
    counts += Counter()  # drops zeros
    return tuple(list(part.values()) for part in prompts)


def _demonstrations(config: RewardModelConfig, tokenizer: object, counts: Counter[str]) -> list[list[int]]:
    """Prompt + completion ids of the train pool's demonstrations, whose mean score becomes 0."""
    path = config.data / DEMONSTRATIONS
    if not path.exists():
        return []
    encoded = [
        encode_demonstration(tokenizer, record, config.max_prompt_tokens, config.max_completion_tokens, counts)
        for record in read(path, DemonstrationRecord)
        if record.pool == Pool.TRAIN and record.split == Split.TRAIN
    ]
    return [demonstration[0] for demonstration in encoded if demonstration is not None]


def _joined(prompts: Sequence[Ranked]) -> tuple[list[list[int]], list[list[tuple[int, int]]]]:
    """All sequences of some prompts in one list, and each prompt's pairs as indices into it."""
    sequences: list[list[int]] = []
    groups = []
    for prompt in prompts:
        first = len(sequences)
        sequences += prompt.sequences
        groups.append([(first + chosen, first + rejected) for chosen, rejected in prompt.pairs])
    return sequences, groups


def _plan(config: RewardModelConfig, prompts: int) -> list[list[int]]:
    """For each step the prompts it learns from."""
    steps: list[list[int]] = []
    for epoch in range(config.epochs):
        order = list(range(prompts))
        random.Random(f"{config.seed} epoch {epoch}").shuffle(order)
        count = math.ceil(prompts / config.batch_size)
        steps += [order[number::count] for number in range(count)]
    return steps


if __name__ == "__main__":
    main("train_reward_model")
