"""Which prompts are alike: those that begin with the same 200 characters, and those that say nearly the same."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy.orm import Session

from app.kit.imports import FileMemory
from app.kit.text import folded
from app.prompts import queries
from app.prompts.examination import said
from app.prompts.hygiene.near_duplicates import are_near_duplicates
from training.contract.records import Message, Split

BAND_HOLDS = 50  # prompts; those of one template crowd a band, and their other bands tell them apart
COMPARED = 5  # candidates whose words are compared, those with the most bands in common
NAMED_CHARACTERS = 60

Key = int | str  # of a stored prompt its id, of one that a dry run met its text's hash


@dataclass(frozen=True)
class Kept:
    """A prompt that stands already, as far as another one may be like it."""

    split: Split
    messages: tuple[Message, ...]
    prompt_id: int | None = None
    public_id: str = ""  # while it is not stored

    @property
    def name(self) -> str:
        """Its first words, and its id if it has one."""
        words = " ".join(self.messages[-1].text.split())
        short = words if len(words) <= NAMED_CHARACTERS else words[: NAMED_CHARACTERS - 1] + "…"
        return f"“{short}” ({self.public_id})" if self.public_id else f"“{short}”"


class Similar:
    """Knows the prompts of the bank, of `memory` and of the batch at hand that a draft may be like."""

    def __init__(self, session: Session, memory: FileMemory | None = None):
        self.session, self.memory = session, memory
        self.prefixes: dict[str, Key] = {}
        self.bands: defaultdict[int, list[Key]] = defaultdict(list)
        self.kept: dict[Key, Kept] = {}

    def look_up(self, prefixes: Iterable[str], bands_of: Sequence[Iterable[int]]) -> None:
        """Get ready for a batch: what is known of its prefixes, and of the bands of each of its prompts."""
        prefixes = set(prefixes)
        bands = {band for bands in bands_of for band in bands} - self.bands.keys()
        self.prefixes |= queries.known_prefixes(self.session, prefixes)
        for band, id in queries.in_bands(self.session, bands):
            self.bands[band].append(id)
        if self.memory is not None:
            self._recall(prefixes, bands)
        self._load(key for bands in bands_of for key in self._candidates(bands))

    def _recall(self, prefixes: Iterable[str], bands: Iterable[int]) -> None:
        for key, value in self.memory.find([f"prefix {one}" for one in prefixes]).items():
            self.prefixes.setdefault(key.removeprefix("prefix "), value)
        for key, value in self.memory.find([f"band {band}" for band in bands]).items():
            self.bands[int(key.removeprefix("band "))] += orjson.loads(value)

    def _candidates(self, bands: Iterable[int]) -> list[Key]:
        shared = Counter(key for band in bands for key in self.bands.get(band, ()))
        return sorted(shared, key=lambda key: (-shared[key], str(key)))[:COMPARED]

    def _load(self, keys: Iterable[Key]) -> None:
        wanted = set(keys) - self.kept.keys()
        for id, public_id, split, messages in queries.texts(
            self.session, (key for key in wanted if isinstance(key, int))
        ):
            self.kept[id] = Kept(split, _messages(messages), id, public_id)
        if self.memory is not None:
            met = self.memory.find([f"kept {key}" for key in wanted if isinstance(key, str)])
            for key, value in met.items():
                split, messages = orjson.loads(value)
                self.kept[key.removeprefix("kept ")] = Kept(Split(split), _messages(messages))

    def with_prefix(self, prefix: str | None) -> Kept | None:
        """The prompt that begins with these 200 characters, if there is one."""
        if prefix is None or (key := self.prefixes.get(prefix)) is None:
            return None
        self._load([key])
        return self.kept[key]

    def near(self, messages: Sequence[Message], bands: Iterable[int]) -> list[Kept]:
        """The prompts that say nearly the same, the likest first."""
        found = (self.kept[key] for key in self._candidates(bands))
        return [one for one in found if say_nearly_the_same(one.messages, messages)]

    def enter(self, key: Key, kept: Kept, prefix: str | None, bands: Iterable[int]) -> list[int]:
        """Know a prompt from now on; returns the bands under which it can be found."""
        if prefix:
            self.prefixes.setdefault(prefix, key)
        self.kept[key] = kept
        roomy = [band for band in bands if len(self.bands[band]) < BAND_HOLDS]
        for band in roomy:
            self.bands[band].append(key)
        return roomy

    def remember(self, entered: Mapping[str, tuple[str | None, Sequence[int]]]) -> None:
        """Keep what was entered, given as text hash -> (prefix, bands), for the rest of a dry run."""
        values: dict[str, object] = {f"prefix {prefix}": key for key, (prefix, _bands) in entered.items() if prefix}
        for key, (_prefix, bands) in entered.items():
            values |= {
                f"band {band}": orjson.dumps([one for one in self.bands[band] if isinstance(one, str)])
                for band in bands
            }
            kept = self.kept[key]
            values[f"kept {key}"] = orjson.dumps([kept.split, [message.model_dump() for message in kept.messages]])
        self.memory.keep(values)


def _messages(given: Iterable[Mapping[str, str]]) -> tuple[Message, ...]:
    return tuple(Message.model_construct(**one) for one in given)


def say_nearly_the_same(one: Sequence[Message], other: Sequence[Message]) -> bool:
    """Whether two prompts have the same turns, the same system message, and nearly the same words."""
    if [message.role for message in one] != [message.role for message in other]:
        return False
    systems = [[folded(message.text) for message in both if message.role == "system"] for both in (one, other)]
    return systems[0] == systems[1] and are_near_duplicates(said(one), said(other))
