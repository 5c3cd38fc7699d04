"""A new reward model from all rankings of a snapshot, by Eq. 1, one batch element per prompt [InstructGPT 3.5, C.2]."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.contract.configs import RewardModelConfig
from training.contract.events import Finished, Warned
from training.contract.records import DEMONSTRATIONS, DemonstrationRecord, Use
from training.fast.shared_prefix import can_be_ragged
from training.networks import trial
from training.reward.model import (
    k_wise_loss,
    new_reward_model,
    pairs_right,
    save_reward_model,
    score_groups,
    score_sequences,
)
from training.reward.rankings import Ranked, check_pairs, joined, read_rankings, warn_of_large_groups
from training.reward.report import report
from training.run.command import main
from training.run.optimization import merged, optimize, precision, prepared, weights_dtype
from training.run.run_folder import RunFolder
from training.run.snapshots import load
from training.text.formatting import encode_demonstration
from training.text.packing import MicroBatch, in_order, micro_batches, shuffled
from training.text.policy import check_fits

RESUMABLE = True
RIGHT = "right.json"  # in the run folder, the basis of the accuracies: pairs_right of unseen prompts by prompt_key


def run(config: RewardModelConfig, run_folder: RunFolder) -> None:
    """Train one reward model, measure it on unseen prompts, set its offset, save checkpoints/reward_model."""
    torch.manual_seed(config.seed)
    model, tokenizer, adapted = _new(config, run_folder)
    counts: Counter[str] = Counter()
    rankings = read_rankings(config, tokenizer, counts, run_folder)
    demonstrations = _demonstrations(config, tokenizer, counts, run_folder)
    check_pairs(rankings.train, config, counts)
    prompts = [*rankings.train, *rankings.validation, *rankings.held_out_labelers]
    longest = max(len(prompt.prompt) + max(map(len, prompt.completions)) for prompt in prompts)
    check_fits(model, max(longest, *map(len, demonstrations), 0))
    steps = learn(config, run_folder, model, rankings.train, tokenizer.pad_token_id, counts)

    metrics: dict[str, float] = {}
    reports: dict[str, Any] = {}
    right: dict[str, dict[str, list[float]]] = {}
    for name, unseen in (("validation", rankings.validation), ("held_out_labelers", rankings.held_out_labelers)):
        if any(prompt.pairs for prompt in unseen):
            scores = score_prompts(config, model, unseen, tokenizer.pad_token_id)
            reports[name] = measured = report(unseen, scores.tolist())
            by_prompt = pairs_right(scores.tolist(), joined(unseen))
            right[name] = {prompt.key: pairs for prompt, pairs in zip(unseen, by_prompt, strict=True)}
            count = sum(bool(prompt.pairs) for prompt in unseen)
            metrics[f"loss/{name}"] = float(k_wise_loss(scores, joined(unseen), count, config.tie_margin))
            if "accuracy" in measured:
                metrics[f"accuracy/{name}"] = measured["accuracy"]
                metrics |= {f"accuracy/{name}_{key}": measured[key] for key in ("low", "high", "pairs", "prompts")}
                metrics[f"calibration_error/{name}"] = measured["calibration_error"]
    if "accuracy/validation" not in metrics:
        run_folder.report(Warned(message="no ranking of the validation or test split: held-out accuracy is not known"))
    if demonstrations:
        with precision(config.dtype):
            raw = score_sequences(model, demonstrations, tokenizer.pad_token_id, config.micro_batch_tokens)
        model.config.score_offset = float(raw.double().mean())
    else:
        run_folder.report(
            Warned(message="no demonstration in the snapshot: score_offset stays 0, scores have no anchor")
        )
    metrics["score_offset"] = model.config.score_offset
    model.config.reward_metrics = metrics  # saved with the network: PPO refuses one no better than a coin
    run_folder.write_json("report.json", reports)
    run_folder.write_json(RIGHT, right, indent=None)

    def write(folder: Path) -> None:
        save_reward_model(merged(model, adapted, folder), tokenizer, folder)

    run_folder.save_checkpoint("reward_model", write, "reward_model", steps, metrics, chosen=True)
    run_folder.report(Finished(result={"checkpoint": "checkpoints/reward_model", **metrics, "report": reports}))


def _new(config: RewardModelConfig, run_folder: RunFolder) -> tuple[Any, Any, Any]:
    """Return (model, tokenizer, the model as its adapters' owner or None) on the device, ready for training."""
    model, tokenizer = new_reward_model(config.init_from, weights_dtype(config), config)
    trial.report(run_folder, "init_from", config.init_from, trial.findings(model, tokenizer))
    model, adapted = prepared(model, config, head="score")
    return model, tokenizer, adapted


def learn(
    config: RewardModelConfig,
    run_folder: RunFolder,
    model: Any,
    prompts: Sequence[Ranked],
    pad_id: int,
    counts: Counter,
) -> int:
    """Train `model` in place on the prompts' pairs; returns the number of steps."""
    steps = shuffled(range(len(prompts)), config)

    def part(batch: Sequence[Ranked], with_pairs: int, pairs_in_step: int) -> tuple[Tensor, dict[str, float]]:
        with precision(config.dtype):
            scores = score_groups(model, [prompt.group for prompt in batch], pad_id)
        pairs = joined(batch)
        right = sum(map(sum, pairs_right(scores.tolist(), pairs)))
        loss = k_wise_loss(scores, pairs, max(1, with_pairs), config.tie_margin)
        return loss, {"accuracy": right / max(1, pairs_in_step)}

    def batches(step: int) -> list[MicroBatch]:
        of_step = [prompts[index] for index in steps[step]]
        with_pairs = sum(bool(prompt.pairs) for prompt in of_step)
        pairs_in_step = sum(pair.weight > pair.opposite_weight for prompt in of_step for pair in prompt.pairs)
        cut = [[of_step[index] for index in indices] for indices in _batches(model, of_step, config.micro_batch_tokens)]
        return [
            MicroBatch(sum(prompt.tokens for prompt in batch), partial(part, batch, with_pairs, pairs_in_step))
            for batch in cut
        ]

    warn_of_large_groups(_sizes(model, prompts), config.micro_batch_tokens, run_folder)
    optimize(run_folder, config, model, len(steps), batches, "reward_model", counts)
    return len(steps)


@torch.no_grad()
def score_prompts(config: RewardModelConfig, model: Any, prompts: Sequence[Ranked], pad_id: int) -> Tensor:
    """Return raw logits [N] of all completions of the prompts, in order, on the CPU."""
    parts: list[Tensor] = [torch.empty(0)] * len(prompts)
    for batch in _batches(model, prompts, config.micro_batch_tokens):
        with precision(config.dtype):
            scores = score_groups(model, [prompts[index].group for index in batch], pad_id).cpu()
        for index, part in zip(batch, scores.split([len(prompts[index].completions) for index in batch]), strict=True):
            parts[index] = part
    return torch.cat(parts)


def _batches(model: Any, prompts: Sequence[Ranked], tokens: int) -> list[list[int]]:
    """Return micro-batches of prompts; a prompt's completions stay together, as its pairs need their scores at once."""
    if can_be_ragged(model):
        return in_order(_sizes(model, prompts), tokens)
    return micro_batches(_sizes(model, prompts), tokens)


def _sizes(model: Any, prompts: Sequence[Ranked]) -> list[int]:
    """Return the tokens computed for each prompt with its completions."""
    return [prompt.tokens if can_be_ragged(model) else prompt.padded_tokens for prompt in prompts]


def _demonstrations(
    config: RewardModelConfig, tokenizer: object, counts: Counter[str], run_folder: RunFolder
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
