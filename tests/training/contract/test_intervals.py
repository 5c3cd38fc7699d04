"""Intervals cover what they promise, from one prompt to hundreds, and from a chance of one half to nearly 1."""

import math
import random
from functools import cache

import numpy as np
import pytest
from scipy import optimize, stats

from tests.training.contract.worlds import World, grid
from training.contract.intervals import grouped, mean, share, sure_share


def mid_p(right, count):
    """Return the ends where a binomial's mid-P tail is 2.5 %, from scipy's distribution and root finder."""

    def above(p):
        return stats.binom.sf(right, count, p) + stats.binom.pmf(right, count, p) / 2

    low = 0.0 if right == 0 else optimize.brentq(lambda p: above(p) - 0.025, 1e-12, 1 - 1e-12)
    high = 1.0 if right == count else optimize.brentq(lambda p: above(p) - 0.975, 1e-12, 1 - 1e-12)
    return low, high


@pytest.mark.parametrize(("right", "count"), [(0, 1), (1, 1), (3, 3), (1, 20), (10, 20), (199, 200), (392, 805)])
def test_one_completion_a_prompt_is_the_mid_p_interval_of_a_binomial(right, count):
    found = share([[1.0]] * right + [[0.0]] * (count - right))
    assert (found.low, found.high) == pytest.approx(mid_p(right, count), abs=1e-8)
    assert (found.value, found.count, found.clusters) == (pytest.approx(right / count), count, count)


@pytest.mark.parametrize(("right", "count"), [(1, 1), (20, 20), (0, 7), (13, 20), (70, 100)])
def test_prompts_of_one_mind_count_once_however_often_they_are_asked(right, count):
    once = share([[1.0]] * right + [[0.0]] * (count - right))
    often = share([[1.0] * 16] * right + [[0.0] * 16] * (count - right))
    assert (often.low, often.high) == pytest.approx((once.low, once.high), abs=1e-9)
    assert often.count == 16 * count


def test_one_prompt_says_by_its_width_that_it_is_one():
    for values in ([1.0], [1.0] * 16, [0.5] * 16, [0.0, 1.0] * 8, [0.3, 0.7, 0.71]):
        found = share([values])
        assert found.high - found.low >= 0.9, values
        assert mean([values])[:3] == (sum(values) / len(values), None, None)
    assert share([[1.0] * 16]).low == pytest.approx(0.05, abs=1e-9)


def test_draws_alone_are_no_certainty():
    found = share([[0.5, 0.5]] * 20)
    # Of all prompts one in seven may be lost without being among 20: 0.861^20 is 5 %, and it is worth half a win.
    missing = 1 - 0.05 ** (1 / 20)
    assert (found.low, found.high) == pytest.approx((0.5 - missing / 2, 0.5 + missing / 2), abs=1e-8)


def test_without_a_value_there_is_no_figure():
    for none in ([], [[], []]):
        assert share(none) is None
        for figure in (sure_share, mean):
            with pytest.raises(ValueError, match="no value"):
                figure(none)
    assert share([[], [1.0], []]).clusters == 1


def test_values_out_of_bounds_are_refused_and_other_bounds_are_the_same_on_another_scale():
    for wrong in (1.01, -0.01, math.nan):
        with pytest.raises(ValueError, match="groups: values lie between 0 and 1"):
            share([[0.5, wrong]])
    groups = [[1.0, 0.5], [0.0], [1.0, 1.0, 0.25], [0.75]]
    plain, scaled = share(groups), share([[2 * v - 1 for v in group] for group in groups], -1.0, 1.0)
    assert scaled[:3] == pytest.approx([2 * end - 1 for end in plain[:3]], abs=1e-9)


def test_values_are_sorted_by_their_cluster():
    assert grouped([1, 2, 3, 4, 5], "abaca") == [[1, 3, 5], [2], [4]]


def missed(world, rng, draws, interval):
    """Count how many of so many evaluations of a world have an interval without the truth."""
    count = 0
    for _ in range(draws):
        low, high = interval(world.sample(rng))
        count += not low <= world.truth <= high
    return count


@cache
def _of_sorted(groups):
    found = share(groups)
    return found.low, found.high


def ours(groups):
    return _of_sorted(tuple(sorted(map(tuple, map(sorted, groups)))))  # few prompts give few distinct groups


def normal(groups):
    """Return the interval printed before: mean of the prompts' means, plus and minus 1.96 standard errors."""
    means = [np.mean(group) for group in groups]
    half = 1.959964 * np.std(means, ddof=1) / len(means) ** 0.5 if len(means) > 1 else 0.0
    return max(0.0, np.mean(means) - half), min(1.0, np.mean(means) + half)


def bootstrap(groups):
    """Return the percentile interval over resampled whole prompts."""
    sums, sizes = np.array([sum(group) for group in groups]), np.array([len(group) for group in groups])
    drawn = np.random.default_rng(0).integers(len(groups), size=(800, len(groups)))
    return np.quantile(sums[drawn].sum(1) / sizes[drawn].sum(1), [0.025, 0.975])


def test_95_of_100_intervals_cover_the_truth_in_every_world():
    rng, draws, over_all = np.random.default_rng(11), 150, 0
    worlds = random.Random(7).sample(list(grid()), 70)
    for world in worlds:
        found = missed(world, rng, draws, ours)
        over_all += found
        # 7 % may miss; a world fails if so many misses would occur about once in 10,000 times.
        assert stats.binomtest(found, draws, 0.07, alternative="greater").pvalue > 1e-4, (world, found)
    assert over_all / (draws * len(worlds)) <= 0.05


@pytest.mark.parametrize("world", [World(30, 4, 0.6, 0.99), World(20, 16, 0.3, 0.98), World(1, 4, 0.3, 0.9)])
def test_worlds_near_the_edge_are_those_that_a_normal_interval_misses(world):
    rng = np.random.default_rng(3)
    assert missed(world, rng, 200, normal) > 40
    assert missed(world, rng, 200, ours) <= 20


@pytest.mark.parametrize(
    "world",
    [
        World(200, 4, 0.3, 0.6),
        World(200, None, 0.6, 0.8),
        World(150, 16, 0.1, 0.5),
        World(200, 1, 0.0, 0.5, draws=0.3),
        World(200, 4, 0.6, 0.55, draws=0.5),
    ],
)
def test_where_a_bootstrap_over_prompts_is_valid_both_say_the_same(world):
    rng = np.random.default_rng(5)
    widths = []
    for _ in range(30):
        groups = world.sample(rng)
        (low, high), (other_low, other_high) = ours(groups), bootstrap(groups)
        assert (low + high) / 2 == pytest.approx((other_low + other_high) / 2, abs=0.1 * (high - low))
        widths.append((high - low) / (other_high - other_low))
    assert 0.97 < np.mean(widths) < 1.08


def test_a_mean_of_single_values_is_students_interval():
    rng = np.random.default_rng(0)
    for count in (2, 3, 30):
        values = rng.normal(3, 2, count)
        found = mean([value] for value in values.tolist())
        theirs = stats.t.interval(0.95, count - 1, values.mean(), stats.sem(values))
        assert (found.low, found.high) == pytest.approx(theirs, rel=1e-6)
        assert (found.count, found.clusters) == (count, count)


@pytest.mark.parametrize("prompts", [2, 3, 5, 20, 100])
def test_95_of_100_means_of_scores_cover_the_truth_however_few_the_prompts(prompts):
    rng = np.random.default_rng(prompts)
    draws, found = 400, 0
    for _ in range(draws):
        levels = rng.normal(-1.5, 2, prompts)
        low, high = mean((level + rng.normal(0, 1, 6)).tolist() for level in levels)[1:3]
        found += not low <= -1.5 <= high
    assert stats.binomtest(found, draws, 0.05).pvalue > 1e-3


def test_a_mean_over_prompts_of_unequal_sizes_is_as_wide_as_the_bootstraps():
    rng = np.random.default_rng(9)
    groups = [rng.normal(rng.normal(0, 3), 1, rng.integers(1, 9)).tolist() for _ in range(300)]
    found, (low, high) = mean(groups), bootstrap(groups)
    assert found.value == pytest.approx(np.mean([value for group in groups for value in group]))
    assert (found.high - found.low) / (high - low) == pytest.approx(1, abs=0.08)
