"""A few dozen prompts with authored completions, so that a person's first ranking is worth reading."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from training.contract.records import UseCase

_FILE = Path(__file__).with_suffix(".json")


@dataclass(frozen=True)
class ReadablePrompt:
    """A prompt with four to nine (policy, text) of clearly different quality; none if a person is to write one."""

    prompt: str
    use_case: UseCase
    completions: tuple[tuple[str, str], ...] = ()


@cache
def _data() -> dict:
    return json.loads(_FILE.read_text(encoding="utf-8"))


def readable() -> list[ReadablePrompt]:
    """Return the prompts to rank, each with its completions."""
    return [
        ReadablePrompt(row["prompt"], UseCase(row["use_case"]), tuple(map(tuple, row["completions"])))
        for row in _data()["prompts"]
    ]


def to_demonstrate() -> list[ReadablePrompt]:
    """Return the prompts for which a person is to write a completion."""
    return [ReadablePrompt(prompt, UseCase(use_case)) for prompt, use_case in _data()["to_demonstrate"]]
