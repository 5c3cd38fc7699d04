"""Comparison of policies on prompts none was trained on: score, KL, length and, in the miniature, what is solved."""

import math
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import torch
from transformers import PreTrainedTokenizerBase

from training.contract.configs import EvaluateConfig
from training.contract.events import Finished, Progress, Sample, Started
from training.contract.intervals import grouped, mean, share, sure_share
from training.contract.records import PROMPTS, Message, PromptRecord, Split
from training.miniature import rubric, world
from training.networks import trial
from training.ppo.math import best_of_kl_nats, best_of_weights
from training.reward.model import load_reward_model, score_sequences
from training.run.command import main
from training.run.endpoint import Refused
from training.run.optimization import device
from training.run.run_folder import RunFolder
from training.run.snapshots import load
from training.run.sources import Drawn, PromptToSample, load_source, seed_of
from training.text.formatting import encode_document, encode_prompt, encode_prompts
from training.text.logprobs import completion_logprobs
from training.text.packing import cross_entropy, pack, pieces, read_documents
from training.text.padding import pad
from training.text.policy import check_fits, forbidden_token_ids, load_policy, max_positions
from training.text.tokenizer import load_tokenizer

T = TypeVar("T")
SHOWN = 8  # samples of each policy that are reported
TEXT_TOKENS, MICRO_BATCH_TOKENS = 2048, 8192  # of a packed row of text, and of a forward pass


@dataclass
class PolicyCompletions:
    """One policy's completions: N = prompts x completions_per_prompt entries, those of a prompt adjacent."""

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
    prompts = _taken(config, _prompts(config, run_folder), run_folder)
    written: dict[str, PolicyCompletions] = {}
    for step, (name, path) in enumerate(config.policies.items(), 1):
        written[name] = _write(config, name, path, prompts, run_folder)
        for prompt, text in list(zip(prompts, written[name].texts[:: config.completions_per_prompt], strict=True))[
            :SHOWN
        ]:
            run_folder.report(Sample(step=step, prompt=prompt[-1].text, completion=text, source=name))
        run_folder.report(Progress(step=step, total_steps=len(config.policies), note=f"{name} sampled"))

    samples = config.completions_per_prompt
    policies: dict[str, dict[str, Any]] = {name: _shape(entry, samples) for name, entry in written.items()}
    if config.temperature > 0:
        for name, values in _kl(config, written, reference).items():
            policies[name] |= mean(_by_prompt(values, samples)).named("kl_nats")
            policies[name]["sqrt_kl"] = math.sqrt(max(0.0, fmean(values)))
    scores = _scores(config.reward_model, written) if config.reward_model is not None else {}
    for name, values in scores.items():
        policies[name] |= mean(_by_prompt(values, samples)).named("mean_score")
    report: dict[str, Any] = {"prompts": len(prompts), "reference": reference, "policies": policies}
    utilities: dict[str, list[float]] = {}
    if config.judge == "miniature":
        judged = {
            name: [rubric.judge(prompts[i // samples][-1].text, text) for i, text in enumerate(entry.texts)]
            for name, entry in written.items()
        }
        for name, judgements in judged.items():
            policies[name] |= solved(judgements, samples)
        utilities = {name: [judgement.utility for judgement in judgements] for name, judgements in judged.items()}
        report["win_rates"] = [
            {"policy": b, "against": a, **win_rate(utilities[b], utilities[a], samples)}
            for a, b in combinations(utilities, 2)
        ]
    if samples > 1 and config.temperature > 0:
        for name, values in scores.items():
            policies[name]["best_of"] = best_of(values, utilities.get(name), samples)
    run_folder.write_json("report.json", report)
    run_folder.report(Finished(result=report))
    print(_table(report))


def _prompts(config: EvaluateConfig, run_folder: RunFolder) -> list[tuple[Message, ...]]:
    """Return the prompts of the config's split, at most `prompts` of them."""
    if config.data is None:
        tasks = world.tasks(config.miniature_seed, config.prompts, only=Split(config.split))
        return [(Message(role="user", text=task.prompt),) for task in tasks]
    found = [one.prompt for one in load(config.data, PROMPTS, PromptRecord, run_folder) if one.use == config.split]
    if not found:
        raise ValueError(f"data: {config.data / PROMPTS} has no prompt of the {config.split} split; set another split")
    return found[: config.prompts]


def _taken(
    config: EvaluateConfig, prompts: list[tuple[Message, ...]], run_folder: RunFolder
) -> list[tuple[Message, ...]]:
    """Return the prompts that every policy's chat template accepts, so that all policies get the same prompts."""
    taken = prompts
    for name, path in config.policies.items():
        counts: Counter[str] = Counter()
        encoded = encode_prompts(load_tokenizer(path, config), taken, sys.maxsize, counts)
        run_folder.warn_counts({f"{what}, of {name}": count for what, count in counts.items()})
        taken = [prompt for prompt, ids in zip(taken, encoded, strict=True) if ids is not None]
    if not taken:
        raise ValueError("data: the chat templates refuse every prompt; set fold_system, or use other prompts")
    return taken


def _write(
    config: EvaluateConfig, name: str, path: Path, prompts: Sequence[Sequence[Message]], run_folder: RunFolder
) -> PolicyCompletions:
    """Sample completions_per_prompt completions of each prompt from the policy at `path`."""
    source = load_source(config, path, name)
    if source.model is not None:
        trial.report(run_folder, name, path, trial.findings(source.model, source.tokenizer))
    asked = [
        PromptToSample(prompt, encode_prompt(source.tokenizer, prompt), seed_of(config.seed, place))
        for place, prompt in enumerate(prompts)
    ]
    too_long = sum(len(prompt.ids) > config.max_prompt_tokens for prompt in asked)
    if too_long:  # leaving prompts out for one policy alone would compare unlike with unlike
        raise ValueError(f"max_prompt_tokens: {too_long} prompts are longer than {config.max_prompt_tokens}")
    model = source.model
    if model is None and config.text:
        model = load_policy(path, config=config)[0].to(device())
    if model is not None:
        check_fits(model, max(len(prompt.ids) for prompt in asked) + config.max_completion_tokens)
    asked = [prompt for prompt in asked for _ in range(config.completions_per_prompt)]
    by_place: dict[int, list[Drawn]] = {}
    for place, came in source.draw(asked):
        if isinstance(came, Refused):  # nor may one policy skip the prompts that its server refuses
            raise came
        by_place[place] = came
    drawn = [each for place in sorted(by_place) for each in by_place[place]]
    return PolicyCompletions(
        texts=[each.text for each in drawn],
        sequences=[prompt.ids + each.ids for prompt, each in zip(asked, drawn, strict=True)],
        prompt_lengths=[len(prompt.ids) for prompt in asked],
        finished=[each.finished for each in drawn],
        logprobs=[each.logprob for each in drawn],
        tokenizer=source.tokenizer,
        text_loss_nats=_text_loss(model, source.tokenizer, config.text) if config.text else None,
    )


@torch.no_grad()
def _text_loss(model: Any, tokenizer: PreTrainedTokenizerBase, path: Path) -> float:
    """Return the mean cross-entropy (nats per token) on a text: what fine-tuning cost the base network's own skill."""
    limit = min(TEXT_TOKENS, max_positions(model) or TEXT_TOKENS)
    sequences = [
        piece for document in read_documents(path) for piece in pieces(encode_document(tokenizer, document), limit)
    ]
    rows = pack([len(sequence) for sequence in sequences], limit)
    masks = [[True] * len(sequence) for sequence in sequences]
    forbidden = forbidden_token_ids(model, tokenizer)
    batches = cross_entropy(model, rows, sequences, masks, forbidden, tokenizer.pad_token_id, MICRO_BATCH_TOKENS)
    return sum(float(batch.compute()) for batch in batches)


def _by_prompt(values: Sequence[T], per_prompt: int) -> list[list[T]]:
    """Group values by prompt, given `per_prompt` adjacent values of each."""
    return grouped(values, (place // per_prompt for place in range(len(values))))


def _shape(written: PolicyCompletions, per_prompt: int) -> dict[str, float]:
    """Return the mean length in tokens (end-of-text included) and the share of completions that ended by themselves."""
    lengths = [len(ids) - prompt for ids, prompt in zip(written.sequences, written.prompt_lengths, strict=True)]
    shape = {
        **mean(_by_prompt(lengths, per_prompt)).named("mean_tokens"),
        **sure_share(_by_prompt(written.finished, per_prompt)).named("eos_rate"),
        "completions": len(lengths),
    }
    return shape if written.text_loss_nats is None else {**shape, "text_loss_nats": written.text_loss_nats}


def _kl(config: EvaluateConfig, written: dict[str, PolicyCompletions], reference: str) -> dict[str, list[float]]:
    """Return each policy's KL (nats) from the reference per completion, as log-ratio of its own samples."""
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


def _scores(path: Path, written: dict[str, PolicyCompletions]) -> dict[str, list[float]]:
    """Return our score (raw logit - score_offset) of each completion, by policy."""
    model, tokenizer, offset = load_reward_model(path)
    model.to(device())
    scores: dict[str, list[float]] = {}
    for name, entry in written.items():
        if entry.tokenizer.get_vocab() != tokenizer.get_vocab():
            raise ValueError(f"reward_model: {path} has another tokenizer than policy {name}")
        scores[name] = (score_sequences(model, entry.sequences, tokenizer.pad_token_id) - offset).tolist()
    return scores


def solved(judgements: Sequence[rubric.Judgement], per_prompt: int = 1) -> dict[str, Any]:
    """Return the share solved, overall and by family, and the mean utility, with 95 % intervals by prompt.

    The judgements are those of `per_prompt` adjacent completions of each prompt. `families` has the intervals of
    `solved_by_family` and the number of prompts and completions behind each share.
    """
    by_family: dict[str, list[list[bool]]] = defaultdict(list)
    prompts = _by_prompt(judgements, per_prompt)
    for of_prompt in prompts:
        by_family[of_prompt[0].family].append([judgement.solved for judgement in of_prompt])
    families = {family: sure_share(groups) for family, groups in sorted(by_family.items())}
    utilities = [[judgement.utility for judgement in of_prompt] for of_prompt in prompts]
    return {
        **sure_share(group for groups in by_family.values() for group in groups).named("solved"),
        "solved_by_family": {family: found.value for family, found in families.items()},
        "families": {
            family: {**found.named("solved"), "prompts": found.clusters, "completions": found.count}
            for family, found in families.items()
        },
        **sure_share(utilities, rubric.EMPTY, rubric.SOLVED).named("mean_utility"),
    }


def best_of(scores: Sequence[float], utilities: Sequence[float] | None, samples: int) -> list[dict[str, float]]:
    """Return mean figures of the best of n = 1, 2, 4, ... by score: the over-optimisation curve without training.

    Scores and utilities are those of `samples` adjacent completions of each prompt; KL is its upper bound.
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
        row |= mean([value] for value in means["score"]).named("score")
        if utilities is not None:
            row |= sure_share(([value] for value in means["utility"]), rubric.EMPTY, rubric.SOLVED).named("utility")
        rows.append(row)
    return rows


def win_rate(ours: Sequence[float], theirs: Sequence[float], per_prompt: int = 1) -> dict[str, float]:
    """Return how often the first is better, a draw as half, with a 95 % interval by prompt; if empty, only counts."""
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in zip(ours, theirs, strict=True)]
    found = share(_by_prompt(wins, per_prompt))
    if found is None:
        return {"prompts": 0, "completions": 0}
    counts = {"prompts": found.clusters, "completions": found.count}
    return {"win_rate": found.value, **found.ends(), **counts}


def _table(report: dict[str, Any]) -> str:
    """Format the report for the terminal."""
    lines = []
    for name, values in report["policies"].items():
        numbers = {key: value for key, value in values.items() if isinstance(value, float)}
        of = f"of {values['completions']} completions of {report['prompts']} prompts"
        lines.append(f"{name:16} {_with_ends(numbers, '.3f')}  {of}")
        for family, found in values.get("families", {}).items():
            of = f"of {found['completions']} completions of {found['prompts']} prompts"
            lines.append(" " * 17 + f"{family:10} {_with_ends(found, '.0%', 'solved')} {of}")
        for row in values.get("best_of", []):
            lines.append(" " * 17 + "best of " + _with_ends(row, ".3g"))
    for row in report.get("win_rates", []):
        lines.append(
            f"{row['policy']} against {row['against']}: {row['win_rate']:.1%} [{row['low']:.1%}, {row['high']:.1%}] "
            f"of {row['completions']} completions of {row['prompts']} prompts"
        )
    return "\n".join(lines)


def _with_ends(numbers: dict[str, float], form: str, *only: str) -> str:
    """Format each number, or those named, followed by the ends of its interval if it has one."""
    shown = []
    for name in only or [name for name in numbers if not name.endswith(("_low", "_high"))]:
        ends = [format(numbers[name + end], form) for end in ("_low", "_high") if name + end in numbers]
        shown.append(f"{name} {numbers[name]:{form}}" + (f" [{', '.join(ends)}]" if ends else ""))
    return "  ".join(shown)


if __name__ == "__main__":
    main("evaluate")
