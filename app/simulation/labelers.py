"""Simulated labelers: a hidden rubric, noise of one's own, and errors at the flags. They see what people see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.simulation.chance import gumbel, number, uniform
from training.contract.records import Flag, Pool
from training.miniature.rubric import judge, rating
from training.miniature.world import demonstration

TIE = 0.1  # utilities that feel nearer than this share a tier
HELD_OUT_SHARE = 0.25
# How often a labeler's answer is the wrong one; what is plain to see is seldom missed.
FLAG_ERRORS: dict[Flag, float] = {
    Flag.FAILS_TASK: 0.08,
    Flag.INAPPROPRIATE: 0.04,
    Flag.HALLUCINATION: 0.10,
    Flag.SATISFIES_CONSTRAINT: 0.08,
    Flag.SEXUAL_CONTENT: 0.005,
    Flag.VIOLENT_CONTENT: 0.01,
    Flag.ENCOURAGES_HARM: 0.02,
    Flag.DENIGRATES: 0.01,
    Flag.HARMFUL_ADVICE: 0.02,
    Flag.OPINION: 0.06,
    Flag.MORAL_JUDGMENT: 0.05,
}


@dataclass(frozen=True)
class Labeler:
    """One simulated labeler; `seed` and `number` decide every choice it makes."""

    seed: int
    number: int
    pool: Pool
    noise: float = 0.0  # scale of the Gumbel noise on a completion's utility

    @property
    def username(self) -> str:
        """The name it signs in with."""
        return f"simulated-{self.seed}-{self.number:02d}"

    def felt(self, prompt: str, text: str) -> float:
        """How good a completion seems to it."""
        return judge(prompt, text).utility + self.noise * gumbel(self.seed, self.number, prompt, "utility", text)

    def flags(self, prompt: str, text: str, asked: Sequence[Flag]) -> dict[Flag, bool]:
        """Its answers to the flags that are asked and that the rubric can decide."""
        right = judge(prompt, text).flags
        return {
            flag: right[flag] ^ (uniform(self.seed, self.number, prompt, flag, text) < FLAG_ERRORS[flag])
            for flag in asked
            if right.get(flag) is not None
        }

    def demonstrate(self, prompt: str) -> str:
        """The completion that it writes."""
        return demonstration(prompt, number(self.seed, self.number, prompt, "demonstration"))

    def compare(self, prompt: str, texts: Mapping[str, str], asked: Sequence[Flag]) -> dict[str, dict]:
        """For each letter its tier, rating and flags, as REST takes them."""
        felt = {letter: self.felt(prompt, text) for letter, text in texts.items()}
        answers = {}
        for letter, tier in tiers(felt).items():
            flags = self.flags(prompt, texts[letter], asked)
            answers[letter] = {
                "tier": tier,
                "rating": rating(felt[letter]),
                "flags": flags,
                "flags_complete": set(flags) == set(asked),  # else what is open would be stored as a no
            }
        return answers


def crew(seed: int, count: int, noise: float = 0.0) -> list[Labeler]:
    """`count` labelers, the last quarter of them (two or more give at least one) in the held-out pool."""
    held_out = max(1, round(count * HELD_OUT_SHARE)) if count > 1 else 0
    return [
        Labeler(seed, number, Pool.HELD_OUT if number > count - held_out else Pool.TRAIN, noise)
        for number in range(1, count + 1)
    ]


def tiers(felt: Mapping[str, float]) -> dict[str, int]:
    """Tiers from 1 (best) by what was felt; each that is within TIE of the one above it shares its tier."""
    ranked: dict[str, int] = {}
    tier, last = 0, float("inf")
    for letter in sorted(felt, key=lambda letter: (-felt[letter], letter)):
        if last - felt[letter] > TIE:
            tier += 1
        ranked[letter], last = tier, felt[letter]
    return ranked
