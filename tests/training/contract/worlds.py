"""Made-up evaluations whose true share is known, with a given correlation between completions of a prompt."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np


@dataclass(frozen=True)
class World:
    """Beta-binomial prompts: each has a chance of its own, drawn about `p`."""

    prompts: int
    completions: int | None  # of each prompt; None: 1 to 16, another number for each
    correlation: float  # between two completions of one prompt, 0 to below 1
    p: float
    draws: float = 0.0  # share of undecided completions, 1/2 each, whatever the prompt

    @property
    def truth(self) -> float:
        """Return the share that an interval should cover."""
        return (1 - self.draws) * self.p + self.draws / 2

    def sample(self, rng: np.random.Generator) -> list[list[float]]:
        """Draw one evaluation: the values of each prompt."""
        sizes = np.full(self.prompts, self.completions) if self.completions else rng.integers(1, 17, self.prompts)
        chances = np.full(self.prompts, self.p)
        if self.correlation:
            total = 1 / self.correlation - 1
            chances = rng.beta(self.p * total, (1 - self.p) * total, self.prompts)
        values = (rng.random((self.prompts, 16)) < chances[:, None]).astype(float)
        values[rng.random(values.shape) < self.draws] = 0.5
        return [row[:size].tolist() for row, size in zip(values, sizes, strict=True)]


def grid() -> Iterator[World]:
    """Yield worlds of few and many prompts and completions, independent to nearly equal, p from 1/2 to nearly 1."""
    shapes = product((1, 2, 3, 5, 10, 20, 50, 100, 200), (1, 2, 4, 16, None), (0.0, 0.1, 0.3, 0.6, 0.95))
    chances = product((0.5, 0.7, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999), (0.0, 0.1, 0.5))
    for (prompts, completions, correlation), (p, draws) in product(list(shapes), list(chances)):
        if completions != 1 or not correlation:  # a single completion resembles no other
            yield World(prompts, completions, correlation, p, draws)
