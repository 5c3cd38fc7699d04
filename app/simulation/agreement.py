"""Agreement between labelers, and the noise at which simulated labelers agree as often as the paper's."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from app.simulation.labelers import Labeler, tiers
from training.contract.intervals import Estimate, share

PAPER = 0.726  # among training labelers, InstructGPT section 3.4


def alike(rankings: Sequence[Mapping[str, int]]) -> list[bool]:
    """Return whether two rankings of an item order two completions alike, for each such pair without a tie."""
    return [
        (one[a] < one[b]) == (other[a] < other[b])
        for one, other in combinations(rankings, 2)
        for a, b in combinations(sorted(one.keys() & other.keys()), 2)
        if one[a] != one[b] and other[a] != other[b]
    ]


def agreement(items: Iterable[Sequence[Mapping[str, int]]]) -> Estimate | None:
    """Return the share of pairs ordered alike, with its interval clustered by item; None if no pair can be compared.

    The labelers are the same for all items: the interval is about other items, not about other labelers.
    """
    return share(alike(rankings) for rankings in items)


def calibrate(crew: Sequence[Labeler], items: Mapping[str, Sequence[str]], target: float = PAPER) -> float:
    """Return the noise scale at which the crew agrees on `target` of the pairs of these items (prompt -> texts).

    More noise never raises agreement, so bisection works; the random draws stay the same, only their scale changes.
    Raises ValueError if the labelers agree at any noise.
    """

    def agree(noise: float) -> float:
        noisy = [replace(labeler, noise=noise) for labeler in crew]
        found = agreement(
            [tiers({text: labeler.felt(prompt, text) for text in texts}) for labeler in noisy]
            for prompt, texts in items.items()
        )
        return 1.0 if found is None else found.value

    low, high = 0.0, 1.0
    while agree(high) > target:
        low, high = high, 2 * high
        if high > 64:
            raise ValueError("items: the labelers agree at any noise; there is nothing to tell apart in them")
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if agree(middle) > target else (low, middle)
    return (low + high) / 2
