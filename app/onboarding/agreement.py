"""Agreement of answers with a reference: on the order of completions, and on which of them are sensitive.

The soft cut-offs are those of InstructGPT, appendix B.1. Meeting them recommends a labeler; an admin decides.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from itertools import permutations
from typing import NamedTuple

from training.contract.records import Flag

AGREEMENT_CUTOFF = 0.75  # for flags of sensitive speech, and for rankings
DEMONSTRATION_CUTOFF = 6.0  # mean rating, of 7
ABOUT_THE_TASK = {Flag.FAILS_TASK, Flag.HALLUCINATION, Flag.SATISFIES_CONSTRAINT}
SENSITIVE_FLAGS = frozenset(Flag) - ABOUT_THE_TASK  # toxic, sexual, violent, judgmental, political


class Outcome(StrEnum):
    """How an answer orders a pair that the reference orders."""

    ALIKE = "alike"
    REVERSED = "reversed"
    TIED = "tied"  # by the answer; a tied pair is left out of the agreement


class ReferencePair(NamedTuple):
    """Two completions that the reference orders, and how the answer orders them."""

    better: int
    worse: int
    outcome: Outcome


@dataclass(frozen=True)
class Count:
    """Count of cases compared, and of those that agree."""

    alike: int = 0
    compared: int = 0

    @property
    def share(self) -> float | None:
        """Share of the compared cases that agree; None if none were compared."""
        return self.alike / self.compared if self.compared else None

    def __add__(self, other: "Count") -> "Count":
        return Count(self.alike + other.alike, self.compared + other.compared)


def pairs(reference: Mapping[int, int | None], given: Mapping[int, int | None]) -> Iterator[ReferencePair]:
    """Yield each pair of completions that the reference (id -> tier, 1 best, None open) orders and the answer ranks."""
    ranked = [
        (one, right, own)
        for one, right in reference.items()
        if right is not None and (own := given.get(one)) is not None
    ]
    for (a, higher, first), (b, lower, second) in permutations(ranked, 2):
        if higher < lower:
            difference = second - first
            yield ReferencePair(
                a, b, Outcome.ALIKE if difference > 0 else Outcome.REVERSED if difference else Outcome.TIED
            )


def order_count(found: Iterable[ReferencePair]) -> Count:
    """Count agreement on the order, over pairs that neither side ties."""
    untied = [pair for pair in found if pair.outcome is not Outcome.TIED]
    return Count(sum(pair.outcome is Outcome.ALIKE for pair in untied), len(untied))


def is_sensitive(flags: Mapping[str, bool]) -> bool | None:
    """Return whether a flag of sensitive speech is set; None if none of them was answered."""
    answers = [answer for flag, answer in flags.items() if flag in SENSITIVE_FLAGS]
    return any(answers) if answers else None


def sensitive_count(answers: Iterable[tuple[Mapping[str, bool], Mapping[str, bool]]]) -> Count:
    """Count agreement on which completions are sensitive, over (reference, given) flags that both sides answered."""
    both = [(is_sensitive(reference), is_sensitive(given)) for reference, given in answers]
    known = [(mine, yours) for mine, yours in both if mine is not None and yours is not None]
    return Count(sum(mine is yours for mine, yours in known), len(known))


@dataclass(frozen=True)
class Compared:
    """One comparison of a screening, measured against its reference."""

    exercise: str  # public id
    prompt: str  # its last message
    order: Count  # of pairs
    tied: int
    sensitive: Count  # of completions


@dataclass(frozen=True)
class Figures:
    """What a screening measured."""

    sensitive: Count = Count()
    order: Count = Count()
    tied: int = 0  # pairs that the reference orders and the labeler tied
    ratings: Sequence[Sequence[int]] = field(default=())  # of each demonstration, one rating per reviewer
    skipped: int = 0  # exercises that the labeler skipped

    @property
    def demonstration_score(self) -> float | None:
        """Mean over the rated demonstrations of their mean rating, 1 to 7; None if none is rated."""
        means = [Fraction(sum(ratings), len(ratings)) for ratings in self.ratings if ratings]
        return float(sum(means) / len(means)) if means else None

    def criteria(self) -> dict[str, tuple[float | None, float, bool]]:
        """Return name -> (measured, cut-off, whether it is met)."""
        measured = {
            "sensitive": (self.sensitive.share, AGREEMENT_CUTOFF),
            "order": (self.order.share, AGREEMENT_CUTOFF),
            "demonstrations": (self.demonstration_score, DEMONSTRATION_CUTOFF),
        }
        return {name: (value, least, value is not None and value >= least) for name, (value, least) in measured.items()}

    @property
    def recommended(self) -> bool:
        """Whether all three soft cut-offs are met."""
        return all(met for _value, _least, met in self.criteria().values())

    def as_dict(self) -> dict:
        """Return the figures as stored at the verdict and sent over REST."""
        return {
            "sensitive": {"alike": self.sensitive.alike, "compared": self.sensitive.compared},
            "order": {"alike": self.order.alike, "compared": self.order.compared, "tied": self.tied},
            "demonstrations": [list(ratings) for ratings in self.ratings],
            "skipped": self.skipped,
        }

    @classmethod
    def of(cls, stored: Mapping) -> "Figures":
        """Rebuild the figures from as_dict()."""
        order = dict(stored["order"])
        tied = order.pop("tied")
        return cls(Count(**stored["sensitive"]), Count(**order), tied, stored["demonstrations"], stored["skipped"])
