"""How often labelers order two completions alike, and the noise at which they do so as often as the paper's did."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from app.simulation.labelers import Labeler, tiers

PAPER = 0.726  # training labelers among each other, InstructGPT section 3.4


def counts(rankings: Sequence[Mapping[str, int]]) -> tuple[int, int]:
    """(alike, all) over pairs of rankings of one item and pairs of completions that neither of the two ties."""
    alike = total = 0
    for one, other in combinations(rankings, 2):
        for a, b in combinations(sorted(one.keys() & other.keys()), 2):
            mine, theirs = one[a] - one[b], other[a] - other[b]
            if mine and theirs:
                total += 1
                alike += (mine < 0) == (theirs < 0)
    return alike, total


def agreement(items: Iterable[Sequence[Mapping[str, int]]]) -> tuple[float | None, int]:
    """Share of pairs ordered alike, and their number; None when there is no such pair."""
    alike, total = map(sum, zip((0, 0), *(counts(rankings) for rankings in items), strict=True))
    return (alike / total if total else None), total


def calibrate(crew: Sequence[Labeler], items: Mapping[str, Sequence[str]], target: float = PAPER) -> float:
    """The noise scale at which the crew would agree on these items (prompt -> texts) in `target` of the pairs.

    More noise never helps agreement, so bisection finds it; the noise itself stays the same, only its scale moves.
    """

    def agree(noise: float) -> float:
        noisy = [replace(labeler, noise=noise) for labeler in crew]
        share, _ = agreement(
            [tiers({text: labeler.felt(prompt, text) for text in texts}) for labeler in noisy]
            for prompt, texts in items.items()
        )
        return 1.0 if share is None else share

    low, high = 0.0, 1.0
    while agree(high) > target:
        low, high = high, 2 * high
        if high > 64:
            raise ValueError("items: the labelers agree whatever the noise; there is nothing to tell apart in them")
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if agree(middle) > target else (low, middle)
    return (low + high) / 2
