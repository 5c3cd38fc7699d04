"""How much personal data is found, and how much of what is found is none, by kind.

    make bench ONLY=personal_data

The labelled texts, tests/app/prompts/hygiene/personal_data.jsonl, are invented: prompts as people write them, in many
languages, and texts that look similar and hold nothing. The detectors were made with one half in sight ("develop"); the
figures are of the other ("held"). In secrets one letter is escaped, so that scanners of repositories raise no alarm.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from app.config import ROOT
from app.prompts.hygiene.personal_data import Hit, PersonalData, find

LABELLED = ROOT / "tests/app/prompts/hygiene/personal_data.jsonl"


class Example(NamedTuple):
    """A text and the personal data in it."""

    text: str
    hits: list[Hit]


class Score(NamedTuple):
    """Of one kind: hits that were found and are right, wrong hits, and hits that were not found."""

    right: int
    wrong: int
    missed: int

    @property
    def recall(self) -> float:
        return self.right / (self.right + self.missed)

    @property
    def precision(self) -> float:
        return self.right / (self.right + self.wrong)


def examples(half: str) -> list[Example]:
    """The labelled texts of a half: "develop" or "held"."""
    rows = map(json.loads, LABELLED.read_text().splitlines())
    return [_example(row["text"], row["hits"]) for row in rows if row["half"] == half]


def _example(text: str, labels: list[list[str]]) -> Example:
    hits, place = [], 0
    for kind, said in labels:
        start = text.index(said, place)
        place = start + len(said)
        hits.append(Hit(PersonalData(kind), start, place))
    return Example(text, hits)


def scores(labelled: Iterable[Example]) -> dict[PersonalData, Score]:
    """Compare what is found with the labels: a hit is right if its kind is, and half of both in common."""
    right, wrong, missed = Counter(), Counter(), Counter()
    for text, hits in labelled:
        found = find(text)
        for hit in hits:
            same = next((one for one in found if _is_same(one, hit)), None)
            (missed if same is None else right)[hit.kind] += 1
            if same is not None:
                found.remove(same)
        wrong.update(one.kind for one in found)
    return {kind: Score(right[kind], wrong[kind], missed[kind]) for kind in {*right, *wrong, *missed}}


def _is_same(one: Hit, other: Hit) -> bool:
    common = min(one.end, other.end) - max(one.start, other.start)
    return one.kind == other.kind and 2 * common >= max(one.end, other.end) - min(one.start, other.start)


def total(by_kind: dict[PersonalData, Score]) -> Score:
    """All kinds together."""
    return Score(*map(sum, zip(*by_kind.values(), strict=True)))


def personal_data(_: Path) -> Iterator[tuple[str, float, str]]:
    """Recall and precision of each kind and of all, on the half that was not looked at."""
    by_kind = scores(examples("held"))
    for kind in PersonalData:
        if kind in by_kind:
            found = by_kind[kind]
            yield f"{kind.label()}: recall, n = {found.right + found.missed}", 100 * found.recall, "%"
            yield f"{kind.label()}: precision, {found.wrong} wrong", 100 * found.precision, "%"
    found = total(by_kind)
    yield f"all: recall, n = {found.right + found.missed}", 100 * found.recall, "%"
    yield f"all: precision, {found.wrong} wrong", 100 * found.precision, "%"
