"""The miniature world's interface: instructions by seed, their splits, completions for them, and base text."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from training.contract.records import Split, UseCase
from training.miniature.answers import demonstration, flawed
from training.miniature.base_text import corpus
from training.miniature.instructions import FAMILIES, UnknownPrompt, draw, normal, parse

__all__ = ["FAMILIES", "Task", "UnknownPrompt", "corpus", "demonstration", "flawed", "split", "tasks"]


@dataclass(frozen=True)
class Task:
    """An instruction whose completions the rubric can judge; `prompt` is its one user message."""

    prompt: str
    family: str
    use_case: UseCase


def split(prompt: str) -> Split:
    """Return the split that a prompt is reserved for, by a hash of its text: 80 % train, 10 % validation, 10 % test."""
    bucket = int.from_bytes(hashlib.sha256(normal(prompt).encode()).digest()[:4], "big") % 10
    return Split.TEST if bucket == 0 else Split.VALIDATION if bucket == 1 else Split.TRAIN


def tasks(seed: int, count: int, *, families: Sequence[str] = FAMILIES, only: Split | None = None) -> list[Task]:
    """Draw `count` distinct instructions, the families taking turns; `only` keeps to one split."""
    unknown = set(families) - set(FAMILIES)
    if unknown or not families:
        raise ValueError(f"families: {sorted(unknown) or 'none given'}; choose from {', '.join(FAMILIES)}")
    rngs = {family: random.Random(f"tasks {seed} {family}") for family in families}
    found: dict[str, Task] = {}
    for number in range(count):
        family = families[number % len(families)]
        for _ in range(10_000):
            prompt = draw(rngs[family], family)
            if prompt not in found and (only is None or split(prompt) == only):
                break
        else:
            raise ValueError(
                f"count: {count} is more than the distinct prompts that family {family!r} can give; ask for fewer"
            )
        found[prompt] = Task(prompt, family, parse(prompt).use_case)
    return list(found.values())
