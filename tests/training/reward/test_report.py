"""Breakdowns count each pair where it belongs; calibration is right where odds are right by construction."""

import math

import numpy as np
import pytest

from training.contract.records import Split
from training.reward.model import Pair
from training.reward.rankings import RankedPrompt
from training.reward.report import calibration, report


def test_each_pair_is_counted_where_it_belongs():
    prompts = [
        RankedPrompt(
            [1],
            Split.VALIDATION,
            "chat",
            [[1], [2], [3]],
            [Pair(0, 1), Pair(0, 2), Pair(1, 2)],
            [1, 2, 1],
        ),
        RankedPrompt([2], Split.TEST, "chat", [[1], [2]], [Pair(1, 0)], [1]),
        RankedPrompt([3], Split.TEST, None, [[1], [2]], [Pair(0, 1, 1.0, 1.0)], [0]),
    ]
    scores = [3.0, 1.0, 2.0, 5.0, 4.0, 0.0, 0.0]  # right, right, wrong; wrong; a tie
    found = report(prompts, scores)
    assert (found["accuracy"], found["pairs"], found["prompts"]) == (0.5, 4, 2)
    shares = {
        key: {name: (measured["accuracy"], measured["pairs"]) for name, measured in found[f"by_{key}"].items()}
        for key in ("split", "use_case", "distance")
    }
    assert shares == {
        "split": {"test": (0.0, 1), "validation": (pytest.approx(2 / 3), 3)},
        "use_case": {"chat": (0.5, 4)},
        "distance": {"1": (pytest.approx(1 / 3), 3), "2": (1.0, 1)},
    }


def judged(temperature, seed=0, count=40_000):
    """Draw pairs with odds sigmoid(difference), and scores of a model whose differences are `temperature` as large."""
    rng = np.random.default_rng(seed)
    differences = rng.normal(0, 1.5, count)
    first = rng.random(count) < 1 / (1 + np.exp(-differences))
    scores = np.stack([differences * temperature, np.zeros(count)], 1).ravel().tolist()
    return scores, [[Pair(2 * i, 2 * i + 1) if first[i] else Pair(2 * i + 1, 2 * i)] for i in range(count)]


def test_odds_that_are_right_are_found_calibrated():
    error, bins = calibration(*judged(1.0))
    assert error < 0.01
    assert sum(found["pairs"] for found in bins) == 40_000
    for found in bins:
        assert found["from"] <= found["predicted"] <= found["from"] + 0.05
        assert found["observed"] == pytest.approx(found["predicted"], abs=4 * math.sqrt(0.25 / found["pairs"]))


@pytest.mark.parametrize(("temperature", "sign"), [(3.0, 1), (0.3, -1)])
def test_too_sure_and_too_shy_are_found_out(temperature, sign):
    error, bins = calibration(*judged(temperature))
    gaps = [sign * (found["predicted"] - found["observed"]) for found in bins if found["pairs"] > 500]
    assert error > 0.08 and sum(gap > 0 for gap in gaps) >= len(gaps) - 1


def test_a_judges_doubt_is_what_is_observed():
    error, (only,) = calibration([math.log(3), 0.0], [[Pair(0, 1, 0.75, 0.25)]])
    assert error == pytest.approx(0, abs=1e-12) and only["observed"] == 0.75
