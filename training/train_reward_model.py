"""A new reward model from all rankings of a snapshot, by Eq. 1, one batch element per prompt [InstructGPT 3.5, C.2]."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from training.contract.configs import RewardModelConfig
from training.contract.events import Finished, Warned
from training.contract.records import DEMONSTRATIONS, DemonstrationRecord, Use
from training.fast.shared_prefix import can_be_ragged
from training.reward.model import (
    k_wise_loss,
    new_reward_model,
    pairs_right,
    save_reward_model,
    score_groups,
    score_sequences,
)
from training.reward.rankings import RankedPrompt, Rankings, check_pairs, joined, read_rankings, warn_of_large_groups
from training.reward.report import report
from training.run.command import main
from training.run.optimization import optimize, precision
from training.run.run_folder import RunFolder
from training.run.snapshots import load
from training.run.trainable import Trainable, trainable, weights_dtype
from training.text.formatting import encode_demonstration
from training.text.packing import MicroBatch, in_order, micro_batches, shuffled
from training.text.policy import check_fits

RESUMABLE = True
RIGHT = "right.json"  # in the run folder, the basis of the accuracies: pairs_right of unseen prompts by prompt_key


def run(config: RewardModelConfig, run_folder: RunFolder) -> None:
    """Train one reward model, measure it on unseen prompts, set its offset, save checkpoints/reward_model."""
    torch.manual_seed(config.seed)
    loaded = new_reward_model(config.init_from, weights_dtype(config), config)
    network = trainable(loaded, config, run_folder, head="score")
    counts: Counter[str] = Counter()
    rankings = read_rankings(config, network.tokenizer, counts, run_folder)
    demonstrations = _demonstrations(config, network.tokenizer, counts, run_folder)
    check_pairs(rankings.train, config, counts)
    check_fits(network.model, max([rankings.longest(), *map(len, demonstrations)]))
    steps = learn(network, rankings.train, config, run_folder, counts)
    metrics, reports = measure(network, rankings, config, run_folder)
    metrics["score_offset"] = network.model.config.score_offset = offset(network, demonstrations, config, run_folder)
    network.model.config.reward_metrics = metrics  # saved with the network: PPO refuses one no better than a coin

    def write(folder: Path) -> None:
        save_reward_model(network.plain(folder), network.tokenizer, folder)

    run_folder.save_checkpoint("reward_model", write, "reward_model", steps, metrics, chosen=True)
    run_folder.report(Finished(result={"checkpoint": "checkpoints/reward_model", **metrics, "report": reports}))


def learn(
    network: Trainable,
    prompts: Sequence[RankedPrompt],
    config: RewardModelConfig,
    run_folder: RunFolder,
    counts: Counter[str],
) -> int:
    """Train the network in place on the prompts' pairs; return the number of steps."""
    steps = shuffled(range(len(prompts)), config)
    warn_of_large_groups(_sizes(network.model, prompts), config.micro_batch_tokens, run_folder)

    def batches(step: int) -> list[MicroBatch]:
        return losses(network, [prompts[place] for place in steps[step]], config)

    optimize(run_folder, config, network.model, len(steps), batches, "reward_model", counts)
    return len(steps)


def losses(network: Trainable, prompts: Sequence[RankedPrompt], config: RewardModelConfig) -> list[MicroBatch]:
    """Return a step's loss by Eq. 1 in micro-batches: the mean over its prompts of each one's mean over its pairs."""
    with_pairs = max(1, sum(bool(prompt.pairs) for prompt in prompts))
    ordered_pairs = max(1, sum(pair.weight > pair.opposite_weight for prompt in prompts for pair in prompt.pairs))

    def part(batch: Sequence[RankedPrompt]) -> tuple[Tensor, dict[str, float]]:
        with precision(config.dtype):
            scores = score_groups(network.model, [prompt.group for prompt in batch], network.pad_id)
        pairs = joined(batch)
        right = sum(map(sum, pairs_right(scores.tolist(), pairs)))
        return k_wise_loss(scores, pairs, with_pairs, config.tie_margin), {"accuracy": right / ordered_pairs}

    cut = _batches(network.model, prompts, config.micro_batch_tokens)
    batches = [[prompts[place] for place in places] for places in cut]
    return [MicroBatch(sum(prompt.tokens for prompt in batch), partial(part, batch)) for batch in batches]


def measure(
    network: Trainable, rankings: Rankings, config: RewardModelConfig, run_folder: RunFolder
) -> tuple[dict[str, float], dict[str, Any]]:
    """Return loss, accuracy and calibration on unseen prompts, and reports by kind of pair, also written to files."""
    metrics: dict[str, float] = {}
    reports: dict[str, Any] = {}
    right: dict[str, dict[str, list[float]]] = {}
    for name, unseen in (("validation", rankings.validation), ("held_out_labelers", rankings.held_out_labelers)):
        count = sum(bool(prompt.pairs) for prompt in unseen)
        if not count:
            continue
        scores = score_prompts(config, network.model, unseen, network.pad_id)
        reports[name] = found = report(unseen, scores.tolist())
        by_prompt = pairs_right(scores.tolist(), joined(unseen))
        right[name] = {prompt.key: pairs for prompt, pairs in zip(unseen, by_prompt, strict=True)}
        metrics[f"loss/{name}"] = float(k_wise_loss(scores, joined(unseen), count, config.tie_margin))
        if "accuracy" in found:
            metrics[f"accuracy/{name}"] = found["accuracy"]
            metrics |= {f"accuracy/{name}_{key}": found[key] for key in ("low", "high", "pairs", "prompts")}
            metrics[f"calibration_error/{name}"] = found["calibration_error"]
    if "accuracy/validation" not in metrics:
        run_folder.report(Warned(message="no ranking of the validation or test split: held-out accuracy is not known"))
    run_folder.write_json("report.json", reports)
    run_folder.write_json(RIGHT, right, indent=None)
    return metrics, reports


def offset(
    network: Trainable, demonstrations: list[list[int]], config: RewardModelConfig, run_folder: RunFolder
) -> float:
    """Return the mean raw score of the demonstrations, which becomes 0 [InstructGPT 3.5]; 0 if there are none."""
    if not demonstrations:
        run_folder.report(
            Warned(message="no demonstration in the snapshot: score_offset stays 0, scores have no anchor")
        )
        return 0.0
    with precision(config.dtype):
        raw = score_sequences(network.model, demonstrations, network.pad_id, config.micro_batch_tokens)
    return float(raw.double().mean())


@torch.no_grad()
def score_prompts(config: RewardModelConfig, model: Any, prompts: Sequence[RankedPrompt], pad_id: int) -> Tensor:
    """Return raw logits [N] of all completions of the prompts, in order, on the CPU."""
    parts: list[Tensor] = [torch.empty(0)] * len(prompts)
    for batch in _batches(model, prompts, config.micro_batch_tokens):
        with precision(config.dtype):
            scores = score_groups(model, [prompts[index].group for index in batch], pad_id).cpu()
        for index, part in zip(batch, scores.split([len(prompts[index].completions) for index in batch]), strict=True):
            parts[index] = part
    return torch.cat(parts)


def _batches(model: Any, prompts: Sequence[RankedPrompt], tokens: int) -> list[list[int]]:
    """Return micro-batches of prompts; a prompt's completions stay together, as its pairs need their scores at once."""
    if can_be_ragged(model):
        return in_order(_sizes(model, prompts), tokens)
    return micro_batches(_sizes(model, prompts), tokens)


def _sizes(model: Any, prompts: Sequence[RankedPrompt]) -> list[int]:
    """Return the tokens computed for each prompt with its completions."""
    return [prompt.tokens if can_be_ragged(model) else prompt.padded_tokens for prompt in prompts]


def _demonstrations(
    config: RewardModelConfig, tokenizer: PreTrainedTokenizerBase, counts: Counter[str], run_folder: RunFolder
) -> list[list[int]]:
    """Return prompt + completion ids of the train demonstrations, whose mean score becomes 0."""
    path = config.data / DEMONSTRATIONS
    if not path.exists():
        return []
    encoded = [
        encode_demonstration(tokenizer, record, config.max_prompt_tokens, config.max_completion_tokens, counts)
        for record in load(config.data, DEMONSTRATIONS, DemonstrationRecord, run_folder)
        if record.use is Use.TRAIN
    ]
    return [demonstration[0] for demonstration in encoded if demonstration is not None]


if __name__ == "__main__":
    main("train_reward_model")
