"""Quality of a reward model on unseen prompts: accuracy by kind of pair, and calibration."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from training.reward.model import Pair, pair_accuracy
from training.reward.rankings import RankedPrompt, joined

BINS = 10


def report(prompts: Sequence[RankedPrompt], scores: Sequence[float]) -> dict[str, Any]:
    """Return accuracy over all pairs, by split, use case and tier distance, and calibration; `scores` [N] in order."""
    groups = joined(prompts)
    error, bins = calibration(scores, groups)
    by: dict[str, dict[str, list[list[Pair]]]] = {key: defaultdict(list) for key in ("split", "use_case", "distance")}
    for prompt, pairs in zip(prompts, groups, strict=True):
        by["split"][prompt.split].append(pairs)
        by["use_case"][prompt.use_case or "unknown"].append(pairs)
        at_distance: dict[int, list[Pair]] = defaultdict(list)
        for pair, distance in zip(pairs, prompt.distances, strict=True):
            at_distance[distance].append(pair)
        for distance, those in at_distance.items():
            by["distance"][str(distance)].append(those)
    return {
        **pair_accuracy(scores, groups),
        "calibration_error": error,
        "calibration": bins,
        **{
            f"by_{key}": {
                name: measured
                for name, those in sorted(parts.items())
                if (measured := pair_accuracy(scores, those))["pairs"]
            }
            for key, parts in by.items()
        },
    }


def calibration(scores: Sequence[float], groups: Sequence[Sequence[Pair]]) -> tuple[float, list[dict[str, float]]]:
    """Return (expected calibration error, bins): sigmoid(difference) as predicted for the higher score, and observed.

    The error is the mean over pairs of |predicted - observed| of the pair's bin; bins have equal width from 0.5 to 1.
    """
    found: list[list[tuple[float, float]]] = [[] for _ in range(BINS)]
    for pair in (pair for group in groups for pair in group):
        if pair.weight == pair.opposite_weight:
            continue  # a tie says nothing about which is better
        difference = scores[pair.chosen] - scores[pair.rejected]
        predicted = 1 / (1 + math.exp(-abs(difference)))
        observed = pair.weight if difference > 0 else pair.opposite_weight if difference < 0 else 0.5
        found[min(BINS - 1, int((predicted - 0.5) * 2 * BINS))].append((predicted, observed))
    total = sum(map(len, found))
    bins = []
    for number, members in enumerate(found):
        if members:
            predicted, observed = (sum(values) / len(members) for values in zip(*members, strict=True))
            bins.append(
                {
                    "from": 0.5 + number / (2 * BINS),
                    "predicted": predicted,
                    "observed": observed,
                    "pairs": float(len(members)),
                }
            )
    error = sum(b["pairs"] / total * abs(b["predicted"] - b["observed"]) for b in bins) if total else math.nan
    return error, bins
