"""How often an interval covers the truth, beside the normal one over prompts; docs/training-correctness.md has a table.

python -m tests.benchmarks.coverage --worlds 2000 --draws 300
"""

import argparse
import random
from collections import defaultdict
from collections.abc import Callable
from statistics import fmean, stdev

import numpy as np

from tests.training.contract.worlds import World, grid
from training.contract.intervals import share

LEAST = 10
Interval = Callable[[list[list[float]]], tuple[float, float]]


def clustered(groups: list[list[float]]) -> tuple[float, float]:
    """The ends of what is reported."""
    found = share(groups)
    return found.low, found.high


def normal(groups: list[list[float]]) -> tuple[float, float]:
    """Mean of the prompts' means, plus and minus 1.96 standard errors."""
    means = [fmean(group) for group in groups]
    half = 1.959964 * stdev(means) / len(means) ** 0.5 if len(means) > 1 else 0.0
    return max(0.0, fmean(means) - half), min(1.0, fmean(means) + half)


def covered(world: World, intervals: dict[str, Interval], draws: int, seed: int) -> dict[str, float]:
    """Of so many evaluations of a world, the share whose interval has the truth in it."""
    rng = np.random.default_rng(seed)
    hits = dict.fromkeys(intervals, 0)
    for _ in range(draws):
        groups = world.sample(rng)
        for name, interval in intervals.items():
            low, high = interval(groups)
            hits[name] += low - 1e-9 <= world.truth <= high + 1e-9
    return {name: hit / draws for name, hit in hits.items()}


def main() -> None:
    """Print a row for each number of prompts, then the worlds that are covered least."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.coverage", description=__doc__)
    parser.add_argument("--worlds", type=int, default=2000, help="drawn from the grid")
    parser.add_argument("--draws", type=int, default=300, help="evaluations of each world")
    given = parser.parse_args()
    intervals: dict[str, Interval] = {"ours": clustered, "normal": normal}
    rows = []
    by_prompts: dict[int, list[dict[str, float]]] = defaultdict(list)
    for seed, world in enumerate(random.Random(0).sample(list(grid()), given.worlds)):
        rows.append((world, covered(world, intervals, given.draws, seed)))
        by_prompts[world.prompts].append(rows[-1][1])
    print("| prompts | worlds | mean | lowest | under 93 % | over 99.5 % | normal: mean | lowest |")
    for prompts, found in [*sorted(by_prompts.items()), ("all", [row for _, row in rows])]:
        ours, theirs = ([each[name] for each in found] for name in ("ours", "normal"))
        under, over = (100 * fmean(test) for test in ([c < 0.93 for c in ours], [c > 0.995 for c in ours]))
        shares = [100 * value for value in (fmean(ours), min(ours), fmean(theirs), min(theirs))]
        print(
            f"| {prompts} | {len(found)} | {shares[0]:.1f} | {shares[1]:.1f} | {under:.1f} | {over:.1f} "
            f"| {shares[2]:.1f} | {shares[3]:.1f} |"
        )
    print("covered least, measured again with ten times as many draws:")
    for world, _ in sorted(rows, key=lambda row: row[1]["ours"])[:LEAST]:
        again = covered(world, {"ours": clustered}, 10 * given.draws, given.worlds)
        print(f"{100 * again['ours']:.1f} %  {world}")


if __name__ == "__main__":
    main()
