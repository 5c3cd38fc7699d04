"""Lookup of similar prompts: those with the same first 200 characters, and near-duplicates."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy.orm import Session

from app.kit.imports import FileMemory
from app.kit.text import folded
from app.prompts import queries
from app.prompts.examination import spoken_text
from app.prompts.hygiene.near_duplicates import are_near_duplicates
from app.prompts.messages import stored
from training.contract.records import Message, Split

BAND_HOLDS = 50  # prompts; a template's prompts crowd one band, but differ in the others
COMPARED = 5  # candidates whose words are compared: those that share the most bands
NAMED_CHARACTERS = 60

Key = int | str  # a stored prompt's id; in a dry run, a new prompt's text hash


@dataclass(frozen=True)
class Kept:
    """An earlier prompt, with what is needed to compare later ones to it."""

    split: Split
    messages: tuple[Message, ...]
    prompt_id: int | None = None
    public_id: str = ""  # "" while it is not stored

    @property
    def name(self) -> str:
        """First words of the prompt, and its public id if it has one."""
        words = " ".join(self.messages[-1].text.split())
        short = words if len(words) <= NAMED_CHARACTERS else words[: NAMED_CHARACTERS - 1] + "…"
        return f"“{short}” ({self.public_id})" if self.public_id else f"“{short}”"


class Similar:
    """Finds the prompts similar to a draft: in the bank, in `memory` and in the current batch."""

    def __init__(self, session: Session, memory: FileMemory | None = None):
        self.session, self.memory = session, memory
        self.prefixes: dict[str, Key] = {}
        self.bands: defaultdict[int, list[Key]] = defaultdict(list)
        self.kept: dict[Key, Kept] = {}

    def look_up(self, prefixes: Iterable[str], bands_of: Sequence[Iterable[int]]) -> None:
        """Load what is known about a batch's prefixes and about the bands of each of its prompts."""
        prefixes = set(prefixes)
        bands = {band for bands in bands_of for band in bands} - self.bands.keys()
        self.prefixes |= queries.known_prefixes(self.session, prefixes)
        for band, id in queries.in_bands(self.session, bands):
            self.bands[band].append(id)
        if self.memory is not None:
            self._recall(self.memory, prefixes, bands)
        self._load(key for bands in bands_of for key in self._candidates(bands))

    def _recall(self, memory: FileMemory, prefixes: Iterable[str], bands: Iterable[int]) -> None:
        for key, value in memory.find([f"prefix {one}" for one in prefixes]).items():
            self.prefixes.setdefault(key.removeprefix("prefix "), value)
        for key, value in memory.find([f"band {band}" for band in bands]).items():
            self.bands[int(key.removeprefix("band "))] += orjson.loads(value)

    def _candidates(self, bands: Iterable[int]) -> list[Key]:
        shared = Counter(key for band in bands for key in self.bands.get(band, ()))
        return sorted(shared, key=lambda key: (-shared[key], str(key)))[:COMPARED]

    def _load(self, keys: Iterable[Key]) -> None:
        wanted = set(keys) - self.kept.keys()
        for id, public_id, split, messages in queries.texts(
            self.session, (key for key in wanted if isinstance(key, int))
        ):
            self.kept[id] = Kept(split, stored(messages), id, public_id)
        if self.memory is not None:
            met = self.memory.find([f"kept {key}" for key in wanted if isinstance(key, str)])
            for key, value in met.items():
                split, messages = orjson.loads(value)
                self.kept[key.removeprefix("kept ")] = Kept(Split(split), stored(messages))

    def with_prefix(self, prefix: str | None) -> Kept | None:
        """Return the prompt with this prefix hash, or None."""
        if prefix is None or (key := self.prefixes.get(prefix)) is None:
            return None
        self._load([key])
        return self.kept[key]

    def near(self, messages: Sequence[Message], bands: Iterable[int]) -> list[Kept]:
        """Return the near-duplicates of a prompt, those that share the most bands first."""
        found = (self.kept[key] for key in self._candidates(bands))
        return [one for one in found if say_nearly_the_same(one.messages, messages)]

    def near_ids(self, messages: Sequence[Message], bands: Iterable[int]) -> list[int]:
        """Return the ids of the stored near-duplicates of a prompt, in the order of `near`."""
        return [one.prompt_id for one in self.near(messages, bands) if one.prompt_id is not None]

    def enter(self, key: Key, kept: Kept, prefix: str | None, bands: Iterable[int]) -> list[int]:
        """Add a prompt to compare later ones to; returns the bands that had room for it."""
        if prefix:
            self.prefixes.setdefault(prefix, key)
        self.kept[key] = kept
        roomy = [band for band in bands if len(self.bands[band]) < BAND_HOLDS]
        for band in roomy:
            self.bands[band].append(key)
        return roomy

    def remember(self, memory: FileMemory, entered: Mapping[str, tuple[str | None, Sequence[int]]]) -> None:
        """Save the entered prompts, given as text hash -> (prefix, bands), for the rest of a dry run."""
        values = {f"prefix {prefix}": key for key, (prefix, _bands) in entered.items() if prefix}
        for key, (_prefix, bands) in entered.items():
            values |= {
                f"band {band}": orjson.dumps([one for one in self.bands[band] if isinstance(one, str)]).decode()
                for band in bands
            }
            kept = self.kept[key]
            said = [message.model_dump() for message in kept.messages]
            values[f"kept {key}"] = orjson.dumps([kept.split, said]).decode()
        memory.keep(values)


def say_nearly_the_same(one: Sequence[Message], other: Sequence[Message]) -> bool:
    """Return whether two prompts have the same roles, the same system messages, and nearly the same words."""
    if [message.role for message in one] != [message.role for message in other]:
        return False
    systems = [[folded(message.text) for message in both if message.role == "system"] for both in (one, other)]
    return systems[0] == systems[1] and are_near_duplicates(spoken_text(one), spoken_text(other))
