"""Simulated labelers with a hidden rubric, individual noise and errors in flags. They see only what people see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.simulation.chance import gumbel, number, uniform
from training.contract.records import Flag, Pool
from training.miniature.rubric import judge, rating
from training.miniature.world import demonstration

TIE = 0.1  # utilities closer than this share a tier
HELD_OUT_SHARE = 0.25
# How often a labeler answers a flag wrongly; obvious ones are seldom missed.
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
    """One simulated labeler; `seed` and `number` determine all its choices."""

    seed: int
    number: int
    pool: Pool
    noise: float = 0.0  # scale of the Gumbel noise on a completion's utility

    @property
    def username(self) -> str:
        """The user name for signing in."""
        return f"simulated-{self.seed}-{self.number:02d}"

    def felt(self, prompt: str, text: str) -> float:
        """Return the perceived utility of a completion."""
        return judge(prompt, text).utility + self.noise * gumbel(self.seed, self.number, prompt, "utility", text)

    def flags(self, prompt: str, text: str, asked: Sequence[Flag]) -> dict[Flag, bool]:
        """Return answers to those flags asked that the rubric can decide."""
        right = judge(prompt, text).flags
        return {
            flag: answer ^ (uniform(self.seed, self.number, prompt, flag, text) < FLAG_ERRORS[flag])
            for flag in asked
            if (answer := right.get(flag)) is not None
        }

    def demonstrate(self, prompt: str) -> str:
        """Write a demonstration."""
        return demonstration(prompt, number(self.seed, self.number, prompt, "demonstration"))

    def compare(self, prompt: str, texts: Mapping[str, str], asked: Sequence[Flag]) -> dict[str, dict]:
        """Return the tier, rating and flags of each letter, in the format of the REST API."""
        felt = {letter: self.felt(prompt, text) for letter, text in texts.items()}
        answers = {}
        for letter, tier in tiers(felt).items():
            flags = self.flags(prompt, texts[letter], asked)
            answers[letter] = {
                "tier": tier,
                "rating": rating(felt[letter]),
                "flags": flags,
                "flags_complete": set(flags) == set(asked),  # otherwise unanswered flags would be stored as "no"
            }
        return answers


def crew(seed: int, count: int, noise: float = 0.0) -> list[Labeler]:
    """Return `count` labelers; the last quarter, at least one of two or more, is in the held-out pool."""
    held_out = max(1, round(count * HELD_OUT_SHARE)) if count > 1 else 0
    return [
        Labeler(seed, number, Pool.HELD_OUT if number > count - held_out else Pool.TRAIN, noise)
        for number in range(1, count + 1)
    ]


def tiers(felt: Mapping[str, float]) -> dict[str, int]:
    """Return tiers from 1 (best) by perceived utility; a completion within TIE of the one above shares its tier."""
    ranked: dict[str, int] = {}
    tier, last = 0, float("inf")
    for letter in sorted(felt, key=lambda letter: (-felt[letter], letter)):
        if last - felt[letter] > TIE:
            tier += 1
        ranked[letter], last = tier, felt[letter]
    return ranked
