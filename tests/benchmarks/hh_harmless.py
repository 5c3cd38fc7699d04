"""A tiny reward model from scratch and a bag of words, on comparisons that people made (HH-RLHF, harmless-base).

    python -m tests.benchmarks.hh_harmless FOLDER

Five seeds, each with its own 2,000 pairs to learn from and 312 held out; dialogues that open alike lie in one part.
The reward model's settings were tried on 400 of seed 0's training pairs, the bag of words takes its penalty from 400 of
each seed's own. The table is printed and written to FOLDER/hh_harmless.json.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from app.comparisons.formats import ComparisonFormat, read
from app.config import ROOT
from app.kit.rows import rows
from app.prompts.imports import PromptDefaults
from training.contract.configs import BaseConfig
from training.contract.intervals import share
from training.contract.records import (
    COMPARISONS,
    DEMONSTRATIONS,
    ComparisonRecord,
    Message,
    Purpose,
    RankedCompletion,
    Split,
    write_snapshot,
)
from training.reward.model import load_reward_model, score_sequences
from training.text.formatting import encode_completion, encode_prompt
from training.text.policy import new_transformer, save_policy
from training.text.tokenizer import train_tokenizer

DATA = ROOT.parent / "shared" / "data" / "hh_harmless" / "test.jsonl.gz"
HELD_OUT, CHOOSING, SEEDS, RESAMPLES = 312, 400, 5, 10_000
NETWORK = {"vocab_size": 2048, "hidden_size": 128, "intermediate_size": 256, "layers": 2, "heads": 4}
LEARNING: dict[str, Any] = {
    "recipe": "miniature_reward_model", "max_prompt_tokens": 1500, "max_completion_tokens": 500, "batch_size": 16,
    "epochs": 1, "learning_rate": 1e-3, "warmup_steps": 20, "weight_decay": 0.1,
}  # fmt: skip
PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


class Pair(NamedTuple):
    """A prompt and two completions, of which people preferred the first."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str


def pairs() -> list[Pair]:
    """All pairs of the file, read as `plumbline import comparisons --format hh` reads them."""
    found = []
    for row in rows(DATA, as_csv=False):
        rankings, _, problems = read(row, ComparisonFormat.HH, PromptDefaults(), "hh")
        assert not problems, problems
        for ranking in rankings:
            chosen, rejected = (one.text for one in sorted(ranking.completions, key=lambda one: one.tier))
            found.append(Pair(tuple(ranking.prompt.messages), chosen, rejected))
    return found


def parted(all_pairs: Sequence[Pair], seed: int) -> tuple[list[int], list[int]]:
    """Indices to learn from and held-out ones; dialogues with the same first message are never in both."""
    opening: dict[str, list[int]] = defaultdict(list)
    for index, pair in enumerate(all_pairs):
        opening[pair.prompt[0].text].append(index)
    groups = list(opening.values())
    random.Random(seed).shuffle(groups)
    held_out, learnt = [], []
    for group in groups:
        (held_out if len(held_out) + len(group) <= HELD_OUT else learnt).extend(group)
    return learnt, held_out


# --- the reward model ---


def network_scores(all_pairs: Sequence[Pair], learnt: list[int], judged: list[int], folder: Path, seed: int) -> Any:
    """Differences of scores (chosen - rejected) of the judged pairs by a reward model that learnt from the others."""
    place = folder / "run" / "checkpoints" / "reward_model"
    if not place.exists():
        _train(all_pairs, learnt, judged, folder, seed)
    model, tokenizer, _ = load_reward_model(place)
    scores = []
    for side in ("chosen", "rejected"):
        sequences = [
            encode_prompt(tokenizer, all_pairs[i].prompt)
            + encode_completion(tokenizer, getattr(all_pairs[i], side))[: LEARNING["max_completion_tokens"]]
            for i in judged
        ]
        scores.append(score_sequences(model, sequences, tokenizer.pad_token_id))
    return scores[0] - scores[1]


def _train(all_pairs: Sequence[Pair], learnt: list[int], judged: list[int], folder: Path, seed: int) -> None:
    texts = [m.text for i in learnt for m in all_pairs[i].prompt]
    texts += [text for i in learnt for text in all_pairs[i][1:]]
    tokenizer = train_tokenizer(texts, NETWORK["vocab_size"])
    torch.manual_seed(seed)
    base = folder / "base"
    save_policy(new_transformer(BaseConfig(**NETWORK), tokenizer), tokenizer, base)
    split = {**dict.fromkeys(learnt, Split.TRAIN), **dict.fromkeys(judged, Split.TEST)}
    records = [
        ComparisonRecord(
            prompt_key=str(i), prompt=all_pairs[i].prompt, split=split[i], labeler="people", pool="train",
            completions=[
                RankedCompletion(text=text, policy="hh", tier=tier) for tier, text in enumerate(all_pairs[i][1:], 1)
            ],
        )
        for i in sorted(split)
    ]  # fmt: skip
    write_snapshot(folder / "data", Purpose.RM, {COMPARISONS: records, DEMONSTRATIONS: []})
    config = folder / "config.json"
    config.write_text(json.dumps({**LEARNING, "seed": seed, "data": str(folder / "data"), "init_from": str(base)}))
    command = [sys.executable, "-m", "training.train_reward_model", str(config), "--run-folder", str(folder / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)


# --- the bag of words ---


def word_scores(all_pairs: Sequence[Pair], learnt: list[int], judged: list[int]) -> tuple[Any, float]:
    """The same differences by a logistic regression on the completions' word counts, and its L2 penalty."""
    choosing, fitted = learnt[:CHOOSING], learnt[CHOOSING:]
    words = _vocabulary(all_pairs, fitted)
    x, y = _counts(all_pairs, fitted, words), _counts(all_pairs, choosing, words)
    loss = {penalty: float(F.softplus(-y @ _regression(x, penalty)).mean()) for penalty in PENALTIES}
    penalty = min(loss, key=loss.__getitem__)
    words = _vocabulary(all_pairs, learnt)
    weights = _regression(_counts(all_pairs, learnt, words), penalty)
    return _counts(all_pairs, judged, words) @ weights, penalty


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def _vocabulary(all_pairs: Sequence[Pair], indices: list[int]) -> dict[str, int]:
    """Words of more than one completion -> column."""
    seen = Counter(word for i in indices for text in all_pairs[i][1:] for word in set(_words(text)))
    return {word: column for column, word in enumerate(sorted(word for word in seen if seen[word] > 1))}


def _counts(all_pairs: Sequence[Pair], indices: list[int], words: dict[str, int]) -> torch.Tensor:
    """Word counts of chosen less those of rejected (N, words); the prompt is the same for both."""
    counts = torch.zeros(len(indices), len(words), dtype=torch.float64)
    for row, i in enumerate(indices):
        for text, sign in ((all_pairs[i].chosen, 1.0), (all_pairs[i].rejected, -1.0)):
            for word in _words(text):
                if word in words:
                    counts[row, words[word]] += sign
    return counts


def _regression(x: torch.Tensor, penalty: float) -> torch.Tensor:
    """Weights that minimise the mean of -log sigmoid(x w) + penalty |w|^2 / 2, by L-BFGS in float64."""
    weights = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=500, tolerance_grad=1e-8, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.softplus(-x @ weights).mean() + penalty * weights.square().sum() / 2
        loss.backward()
        return loss

    optimizer.step(closure)
    return weights.detach()


# --- the table ---


def right(differences: Any) -> list[float]:
    """1 for each pair in people's order, 1/2 for one that is not parted."""
    return [1.0 if d > 0 else 0.5 if d == 0 else 0.0 for d in torch.as_tensor(differences).tolist()]


def interval(values: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """95 % bootstrap interval of a mean over (pair, value); a pair held out in several seeds is drawn whole."""
    sums: dict[int, list[float]] = defaultdict(list)
    for pair, value in values:
        sums[pair].append(value)
    total, count = np.array([sum(v) for v in sums.values()]), np.array([len(v) for v in sums.values()])
    drawn = np.random.default_rng(0).integers(len(total), size=(RESAMPLES, len(total)))
    low, high = np.quantile(total[drawn].sum(1) / count[drawn].sum(1), [0.025, 0.975])
    return float(low), float(high)


def table(folder: Path) -> Iterator[dict[str, Any]]:
    """One row a seed, then one of all seeds together."""
    all_pairs = pairs()
    every: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for seed in range(SEEDS):
        learnt, held_out = parted(all_pairs, seed)
        network = network_scores(all_pairs, learnt, held_out, folder / f"seed{seed}", seed)
        words, penalty = word_scores(all_pairs, learnt, held_out)
        shorter = [len(all_pairs[i].rejected) - len(all_pairs[i].chosen) for i in held_out]
        found = {"reward model": right(network), "bag of words": right(words), "shorter": right(shorter)}
        found["difference"] = [a - b for a, b in zip(found["reward model"], found["bag of words"], strict=True)]
        row: dict[str, Any] = {"seed": str(seed), "learnt": len(learnt), "held out": len(held_out), "L2": penalty}
        for name, values in found.items():
            of_pair = list(zip(held_out, values, strict=True))
            every[name] += of_pair
            found = share([value] for value in values) if name != "difference" else None
            row[name] = [fmean(values), *((found.low, found.high) if found else interval(of_pair))]
        yield row
    yield {"seed": "all"} | {name: [fmean(v for _, v in values), *interval(values)] for name, values in every.items()}


def hh_harmless(folder: Path) -> Iterator[tuple[str, float, str]]:
    """Share of held-out pairs in people's order, in %, mean over the seeds."""
    if not DATA.is_file():
        print(f"hh_harmless: left out, there is no {DATA}")
        return
    *_, together = table(folder / "hh_harmless")
    for name in ("reward model", "bag of words", "shorter"):
        yield f"HH-RLHF harmless-base, {name}", 100 * together[name][0], "%"


def main() -> None:
    """Train what is not trained yet, print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.hh_harmless", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.absolute()
    if not DATA.is_file():
        sys.exit(f"{DATA} is not there: the harmless-base test pairs of HH-RLHF (docs/import.md)")
    names = ("reward model", "bag of words", "difference", "shorter")
    print("| seed | " + " | ".join(names) + " | L2 |")
    made = []
    for row in table(folder):
        made.append(row)
        shown = [f"{100 * mean:.1f} % [{100 * low:.1f}, {100 * high:.1f}]" for mean, low, high in map(row.get, names)]
        print(f"| {row['seed']} | " + " | ".join(shown) + f" | {row.get('L2', '')} |", flush=True)
    spread = {name: stdev(row[name][0] for row in made[:-1]) for name in names}
    print("standard deviation over seeds: " + ", ".join(f"{name} {100 * sd:.1f}" for name, sd in spread.items()))
    (folder / "hh_harmless.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
