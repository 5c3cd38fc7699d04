"""Policies side by side on prompts none was trained on: score, KL, length and, in the miniature, what is solved."""

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from training.command import main
from training.configs import EvaluateConfig
from training.events import Finished, Progress, Sample, Started
from training.formatting import encode_document, encode_prompt
from training.miniature import rubric, world
from training.optimization import device
from training.packing import cross_entropy, pack, pieces, read_documents
from training.policy import check_fits, completion_logprobs, forbidden_token_ids, load_policy, max_positions, pad
from training.records import PROMPTS, Message, PromptRecord, Split
from training.reward_model import load_reward_model, score_sequences, wilson
from training.rl_math import best_of_kl_nats, best_of_weights
from training.run_folder import RunFolder
from training.snapshots import load
from training.sources import Asked, load_source

SHOWN = 8  # samples of each policy that are reported
TEXT_TOKENS, MICRO_BATCH_TOKENS = 2048, 8192  # of a packed row of text, of a forward pass


@dataclass
class Written:
    """What one policy wrote: N = prompts x completions_per_prompt entries, those of a prompt next to one another."""

    texts: list[str] = field(default_factory=list)
    sequences: list[list[int]] = field(default_factory=list)  # prompt + completion ids
    prompt_lengths: list[int] = field(default_factory=list)
    finished: list[bool] = field(default_factory=list)
    logprobs: list[float | None] = field(default_factory=list)  # of the whole completion, nats; None where unknown
    tokenizer: Any = None
    text_loss_nats: float | None = None


def run(config: EvaluateConfig, run_folder: RunFolder) -> None:
    """Sample from every policy, measure, write report.json."""
    reference = config.reference or next(iter(config.policies))
    if reference not in config.policies:
        raise ValueError(f"reference: no policy is named {reference!r}; choose from {', '.join(config.policies)}")
    run_folder.report(Started(verb=config.verb, total_steps=len(config.policies)))
    prompts = _prompts(config, run_folder)
    written: dict[str, Written] = {}
    for step, (name, path) in enumerate(config.policies.items(), 1):
        written[name] = _write(config, name, path, prompts)
        for prompt, text in list(zip(prompts, written[name].texts[:: config.completions_per_prompt], strict=True))[
            :SHOWN
        ]:
            run_folder.report(Sample(step=step, prompt=prompt[-1].text, completion=text, source=name))
        run_folder.report(Progress(step=step, total_steps=len(config.policies), note=f"{name} sampled"))

    policies: dict[str, dict[str, Any]] = {name: _shape(entry) for name, entry in written.items()}
    if config.temperature > 0:
        for name, values in _kl(config, written, reference).items():
            policies[name]["kl_nats"] = fmean(values)
            policies[name]["sqrt_kl"] = math.sqrt(max(0.0, fmean(values)))
    scores = _scores(config, written) if config.reward_model is not None else {}
    for name, values in scores.items():
        policies[name]["mean_score"] = fmean(values)
    report: dict[str, Any] = {"prompts": len(prompts), "reference": reference, "policies": policies}
    utilities: dict[str, list[float]] = {}
    if config.judge == "miniature":
        judged = {
            name: [
                rubric.judge(prompts[i // config.completions_per_prompt][-1].text, text)
                for i, text in enumerate(entry.texts)
            ]
            for name, entry in written.items()
        }
        for name, judgements in judged.items():
            policies[name] |= _solved(judgements)
        utilities = {name: [judgement.utility for judgement in judgements] for name, judgements in judged.items()}
        report["win_rates"] = [
            {"policy": b, "against": a, **win_rate(utilities[b], utilities[a], config.completions_per_prompt)}
            for a, b in combinations(utilities, 2)
        ]
    if config.completions_per_prompt > 1 and config.temperature > 0:
        for name, values in scores.items():
            policies[name]["best_of"] = best_of(values, utilities.get(name), config.completions_per_prompt)
    run_folder.write_text("report.json", json.dumps(report, indent=2) + "\n")
    run_folder.report(Finished(result=report))
    print(_table(report))


def _prompts(config: EvaluateConfig, run_folder: RunFolder) -> list[tuple[Message, ...]]:
    """The prompts of the config's split, at most `prompts` of them."""
    if config.data is None:
        tasks = world.tasks(config.miniature_seed, config.prompts, only=Split(config.split))
        return [(Message(role="user", text=task.prompt),) for task in tasks]
    found = [one.prompt for one in load(config.data, PROMPTS, PromptRecord, run_folder) if one.use == config.split]
    if not found:
        raise ValueError(f"data: {config.data / PROMPTS} has no prompt of the {config.split} split; set another split")
    return found[: config.prompts]


def _write(config: EvaluateConfig, name: str, path: Path, prompts: Sequence[Sequence[Message]]) -> Written:
    """Sample completions_per_prompt completions of each prompt from the policy at `path`."""
    source = load_source(config, path, name)
    asked = [Asked(prompt, encode_prompt(source.tokenizer, prompt)) for prompt in prompts]
    too_long = sum(len(prompt.ids) > config.max_prompt_tokens for prompt in asked)
    if too_long:  # leaving one out for one policy alone would compare unlike with unlike
        raise ValueError(f"max_prompt_tokens: {too_long} prompts are longer than {config.max_prompt_tokens}")
    model = source.model
    if model is None and config.text:
        model = load_policy(path)[0].to(device())
    if model is not None:
        check_fits(model, max(len(prompt.ids) for prompt in asked) + config.max_completion_tokens)
    asked = [prompt for prompt in asked for _ in range(config.completions_per_prompt)]
    drawn = source.draw(asked)
    return Written(
        texts=[each.text for each in drawn],
        sequences=[prompt.ids + each.ids for prompt, each in zip(asked, drawn, strict=True)],
        prompt_lengths=[len(prompt.ids) for prompt in asked],
        finished=[each.finished for each in drawn],
        logprobs=[each.logprob for each in drawn],
        tokenizer=source.tokenizer,
        text_loss_nats=_text_loss(model, source.tokenizer, config.text) if config.text else None,
    )


@torch.no_grad()
def _text_loss(model: Any, tokenizer: Any, path: Path) -> float:
    """Mean cross-entropy (nats a token) on a text: what fine-tuning has cost of the base network's own skill."""
    limit = min(TEXT_TOKENS, max_positions(model) or TEXT_TOKENS)
    sequences = [
        piece for document in read_documents(path) for piece in pieces(encode_document(tokenizer, document), limit)
    ]
    rows = pack([len(sequence) for sequence in sequences], limit)
    masks = [[True] * len(sequence) for sequence in sequences]
    forbidden = forbidden_token_ids(model, tokenizer)
    batches = cross_entropy(model, rows, sequences, masks, forbidden, tokenizer.pad_token_id, MICRO_BATCH_TOKENS)
    return sum(float(batch.compute()) for batch in batches)


def _shape(written: Written) -> dict[str, float]:
    """Mean length in tokens (end-of-text included) and the share of completions that ended by themselves."""
    lengths = [len(ids) - prompt for ids, prompt in zip(written.sequences, written.prompt_lengths, strict=True)]
    shape = {"mean_tokens": fmean(lengths), "eos_rate": fmean(written.finished), "completions": len(lengths)}
    return shape if written.text_loss_nats is None else {**shape, "text_loss_nats": written.text_loss_nats}


def _kl(config: EvaluateConfig, written: dict[str, Written], reference: str) -> dict[str, list[float]]:
    """KL (nats) of each policy from the reference per completion, as log-ratio of what the policy itself sampled."""
    model, tokenizer = load_policy(config.policies[reference])
    model.to(device())
    forbidden = forbidden_token_ids(model, tokenizer)
    ratios: dict[str, list[float]] = {}
    for name, entry in written.items():
        if entry.tokenizer.get_vocab() != tokenizer.get_vocab() or None in entry.logprobs:
            continue  # no common tokens or no log-probs, no KL
        ratios[name] = []
        for start in range(0, len(entry.sequences), config.batch_size):
            rows = entry.sequences[start : start + config.batch_size]
            prompts = torch.tensor(entry.prompt_lengths[start : start + config.batch_size], device=model.device)
            ids, mask = pad(rows, tokenizer.pad_token_id, device=model.device)
            with torch.no_grad():
                logprobs = completion_logprobs(
                    model, ids, mask, prompts, mask.sum(1) - prompts, forbidden, temperature=config.temperature
                )
            ratios[name] += [
                own - other
                for own, other in zip(
                    entry.logprobs[start : start + config.batch_size], logprobs.double().sum(1).tolist(), strict=True
                )
            ]
    return ratios


def _scores(config: EvaluateConfig, written: dict[str, Written]) -> dict[str, list[float]]:
    """Our score (raw logit - score_offset) of each completion."""
    model, tokenizer, offset = load_reward_model(config.reward_model)
    model.to(device())
    scores: dict[str, list[float]] = {}
    for name, entry in written.items():
        if entry.tokenizer.get_vocab() != tokenizer.get_vocab():
            raise ValueError(f"reward_model: {config.reward_model} has another tokenizer than policy {name}")
        scores[name] = (score_sequences(model, entry.sequences, tokenizer.pad_token_id) - offset).tolist()
    return scores


def _solved(judgements: Sequence[rubric.Judgement]) -> dict[str, Any]:
    """Share solved, overall with its interval and by family, and the mean utility."""
    families: dict[str, list[bool]] = defaultdict(list)
    for judgement in judgements:
        families[judgement.family].append(judgement.solved)
    share = fmean(judgement.solved for judgement in judgements)
    low, high = wilson(share, len(judgements))
    return {
        "solved": share,
        "solved_low": low,
        "solved_high": high,
        "solved_by_family": {family: fmean(solved) for family, solved in sorted(families.items())},
        "mean_utility": fmean(judgement.utility for judgement in judgements),
    }


def best_of(scores: Sequence[float], utilities: Sequence[float] | None, samples: int) -> list[dict[str, float]]:
    """What the best of n = 1, 2, 4, ... by score is like: the over-optimisation curve that needs no training.

    Scores and utilities are those of `samples` completions of each prompt, side by side; KL is its upper bound.
    """
    rows = []
    for n in (2**power for power in range(samples.bit_length())):
        weights = best_of_weights(samples, n)
        means: dict[str, list[float]] = {"score": [], "utility": []}
        for start in range(0, len(scores), samples):
            order = sorted(range(start, start + samples), key=scores.__getitem__)
            for name, values in (("score", scores), ("utility", utilities)):
                if values is not None:
                    means[name].append(sum(w * values[i] for w, i in zip(weights, order, strict=True)))
        kl_nats = best_of_kl_nats(n)
        row = {"n": n, "kl_nats": kl_nats, "sqrt_kl": math.sqrt(kl_nats)}
        rows.append(row | {name: fmean(values) for name, values in means.items() if values})
    return rows


def win_rate(ours: Sequence[float], theirs: Sequence[float], per_prompt: int = 1) -> dict[str, float]:
    """How often the first is better, a draw as half, with a 95 % interval over prompts (normal, se = sd / sqrt(n))."""
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in zip(ours, theirs, strict=True)]
    by_prompt = [fmean(wins[start : start + per_prompt]) for start in range(0, len(wins), per_prompt)]
    rate, count = fmean(by_prompt), len(by_prompt)
    spread = sum((win - rate) ** 2 for win in by_prompt) / max(1, count - 1)
    half = 1.959964 * math.sqrt(spread / count)
    return {"win_rate": rate, "low": max(0.0, rate - half), "high": min(1.0, rate + half), "prompts": count}


def _table(report: dict[str, Any]) -> str:
    """The report for a reader of the terminal."""
    lines = []
    for name, values in report["policies"].items():
        numbers = "  ".join(f"{key} {value:.3f}" for key, value in values.items() if isinstance(value, float))
        lines.append(f"{name:16} {numbers}")
        families = values.get("solved_by_family", {})
        if families:
            lines.append(" " * 17 + "  ".join(f"{family} {share:.0%}" for family, share in families.items()))
        for row in values.get("best_of", []):
            lines.append(" " * 17 + "best of " + "  ".join(f"{key} {number:.3g}" for key, number in row.items()))
    for row in report.get("win_rates", []):
        lines.append(
            f"{row['policy']} against {row['against']}: {row['win_rate']:.1%} [{row['low']:.1%}, {row['high']:.1%}]"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main("evaluate")
