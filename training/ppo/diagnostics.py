"""Diagnostics of a PPO run: statistics of its episodes, the judge's opinion of them, and alarms."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

from transformers import PreTrainedTokenizerBase

from training.contract import events
from training.contract.intervals import grouped, mean, sure_share
from training.miniature import rubric
from training.ppo.rollout import Episodes
from training.text.formatting import decode_completion

CURVE = ("kl_nats", "sqrt_kl", "score", "reward", "judge_utility", "judge_solved")


def describe(episodes: Episodes) -> dict[str, float]:
    """Describe a batch of episodes: means per episode, the entropy per token, the share of distinct completions."""
    kl_nats = float(episodes.kl_nats.mean())
    return {
        "score": float(episodes.scores.mean()),
        "score_std": float(episodes.scores.std(correction=0)),
        "kl_nats": kl_nats,
        "sqrt_kl": math.sqrt(max(0.0, kl_nats)),
        "entropy_nats": float(-episodes.logprobs[episodes.mask].mean()),
        "completion_tokens": float(episodes.lengths.double().mean()),
        "eos_rate": float(episodes.finished.double().mean()),
        "distinct": len({tuple(episodes.completion(row)) for row in range(len(episodes))}) / len(episodes),
    }


def judged(episodes: Episodes, prompts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> dict[str, float]:
    """Judge a batch by the miniature's rubric, the ground truth behind any score; nothing learns from it."""
    judgements = _judgements(episodes, prompts, tokenizer)
    return {
        "judge_utility": fmean(judgement.utility for judgement in judgements),
        "judge_solved": fmean(judgement.solved for judgement in judgements),
    }


def _judgements(
    episodes: Episodes, prompts: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> list[rubric.Judgement]:
    return [
        rubric.judge(prompt, decode_completion(tokenizer, episodes.completion(row)))
        for row, prompt in enumerate(prompts)
    ]


def ends(
    episodes: Episodes, prompts: Sequence[str], tokenizer: PreTrainedTokenizerBase, judge: bool
) -> dict[str, float]:
    """Return the ends of 95 % intervals, `name_low` and `name_high`, of means by describe and judged, and their n.

    A prompt that was asked several times is one observation; for a single prompt, unbounded means have no interval.
    """
    asked = [tuple(episodes.prompt(row)) for row in range(len(episodes))]

    def clustered(values: Iterable[float]) -> list[list[float]]:
        return grouped(values, asked)

    found = {
        "score": mean(clustered(episodes.scores.tolist())),
        "kl_nats": mean(clustered(episodes.kl_nats.tolist())),
        "eos_rate": sure_share(clustered(episodes.finished.tolist())),
    }
    if judge:
        judgements = _judgements(episodes, prompts, tokenizer)
        utilities = clustered(judgement.utility for judgement in judgements)
        found["judge_utility"] = sure_share(utilities, rubric.EMPTY, rubric.SOLVED)
        found["judge_solved"] = sure_share(clustered(judgement.solved for judgement in judgements))
    counts = {"prompts": float(found["score"].clusters), "episodes": float(len(episodes))}
    return counts | {
        key: value for name, each in found.items() for key, value in each.named(name).items() if key != name
    }


def alarms(numbers: dict[str, float], first: dict[str, float]) -> dict[str, str]:
    """Find known shapes of a failing run in an iteration's numbers, compared with the run's first iteration."""
    found = {}

    def change(name: str) -> float:
        """Return by how much a number grew since the first iteration; 0 if either lacks it."""
        return numbers[name] - first[name] if name in numbers and name in first else 0.0

    if numbers["kl_nats"] > 50:
        found["kl"] = (
            f"KL is {numbers['kl_nats']:.0f} nats: beyond 50 what people prefer falls while the score rises; "
            "raise beta or set stop_at_kl_nats"
        )
    if numbers["kl_nats"] < -1:
        found["negative_kl"] = (
            f"KL is {numbers['kl_nats']:.1f} nats, which no two policies have: sampler and reference disagree about "
            "log-probs; try dtype=float32"
        )
    if numbers["eos_rate"] < 0.05 and first["eos_rate"] >= 0.2:
        found["eos"] = "hardly any completion ends: set missing_eos_penalty or missing_eos_score"
    if numbers["entropy_nats"] < 0.1 * first["entropy_nats"]:
        found["entropy"] = "entropy fell below a tenth of its start: the policy repeats itself; raise beta"
    if numbers.get("distinct", 1.0) < 0.25 * first.get("distinct", 0.0):
        found["same"] = "most prompts get the same few completions: the score rewards one text; raise beta"
    if numbers["completion_tokens"] < 0.25 * first["completion_tokens"]:
        found["short"] = "completions are a quarter as long as at the start: does the score reward stopping early?"
    if numbers["completion_tokens"] > 4 * first["completion_tokens"]:
        found["long"] = "completions are four times as long as at the start: does the score reward length?"
    if change("score") < -2 * first.get("score_std", math.inf):
        found["score"] = "the score fell by two standard deviations: updates are too large; lower policy_learning_rate"
    if not 0.5 <= numbers.get("ratio", 1.0) <= 2:
        found["ratio"] = f"the mean ratio is {numbers['ratio']:.2f}: updates are too large; lower policy_learning_rate"
    if numbers.get("clip_fraction", 0.0) > 0.4:
        found["clip"] = (
            f"{numbers['clip_fraction']:.0%} of the tokens are clipped: updates are too large; lower "
            "policy_learning_rate or epochs"
        )
    if abs(numbers.get("first_minibatch_ratio", 1.0) - 1) > 0.01:
        found["mismatch"] = (
            f"the first minibatch's ratio is {numbers['first_minibatch_ratio']:.3f} in place of 1: sampler and trainer "
            "disagree about log-probs; try dtype=float32"
        )
    if numbers.get("explained_variance", 0.0) < min(0.0, first.get("explained_variance", 0.0)) - 0.5:
        found["value"] = (
            "the critic predicts far worse than a constant would: lower value_learning_rate or set "
            "value_warmup_iterations"
        )
    if change("pretraining_loss") > 0.15 * first.get("pretraining_loss", math.inf):
        found["pretraining"] = "the loss on pretraining text rose by 15 %: raise gamma or pretraining_ratio"
    if change("judge_utility") < -0.1 and change("score") > 0:
        found["judge"] = (
            "the score rises and the judge's opinion falls: the policy exploits the reward model; stop earlier, raise "
            "beta, or have its samples ranked and train a fresh reward model"
        )
    return found


def over_optimisation(path: Path) -> str:
    """Return the curve in a run's events.jsonl as CSV: score, reward and any judge's opinion by KL and its root."""
    by_step: dict[int, dict[str, float]] = {}
    for event in events.read(path):
        if isinstance(event, events.Metrics):  # an iteration repeated after a kill counts once
            by_step[event.step] = {name.removeprefix("ppo/"): value for name, value in event.values.items()}
    columns = [name for name in CURVE if any(name in values for values in by_step.values())]
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["iteration", *columns])
    for step, values in sorted(by_step.items()):
        writer.writerow([step, *(values.get(name, "") for name in columns)])
    return table.getvalue()
