"""Examination of a prompt's text before it is stored: its language, personal data and near-duplicate keys."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import insert
from sqlalchemy.orm import Session

from app.prompts.hygiene.kinds import Hit, PersonalData
from app.prompts.hygiene.languages import language
from app.prompts.hygiene.near_duplicates import bands, signature
from app.prompts.hygiene.personal_data import find
from app.prompts.tables import Finding, NearPrompts, PromptBand, PromptSource
from training.contract.records import Message

UNCOMPARED = (PromptSource.LABELER_FEW_SHOT, PromptSource.USE_CASE)  # alike on purpose; never asked


@dataclass(frozen=True)
class Examined:
    """Results of examining a prompt."""

    language: str  # ISO 639-1; "" if unclear
    bands: tuple[int, ...] = ()  # empty for a prompt that is not compared
    hits: tuple[tuple[int, Hit], ...] = ()  # (index of the message, place in its text)

    def as_json(self) -> str:
        """Serialize for `from_json`."""
        return orjson.dumps([self.language, self.bands, [[message, *hit] for message, hit in self.hits]]).decode()

    @classmethod
    def from_json(cls, given: str) -> "Examined":
        """Parse what `as_json` returned."""
        code, keys, hits = orjson.loads(given)
        return cls(
            code,
            tuple(keys),
            tuple((message, Hit(PersonalData(kind), start, stop)) for message, kind, start, stop in hits),
        )


def examine(messages: Sequence[Message], source: PromptSource) -> Examined:
    """Examine a prompt's texts; takes a millisecond or two."""
    return Examined(
        language("\n".join(message.text for message in messages if message.role == "user")),
        keys(messages, source),
        tuple((number, hit) for number, message in enumerate(messages) for hit in find(message.text)),
    )


def keys(messages: Sequence[Message], source: PromptSource) -> tuple[int, ...]:
    """Return a prompt's bands; near-duplicates are found by a shared band."""
    return () if source in UNCOMPARED else tuple(bands(signature(spoken_text(messages))))


def spoken_text(messages: Iterable[Message]) -> str:
    """Return the text to compare for near-duplicates: all turns except the system's, which many prompts share."""
    return "\n".join(message.text for message in messages if message.role != "system")


def store_findings(session: Session, found: Iterable[tuple[int, Examined]]) -> None:
    """Store the personal data found in prompts, given as (prompt id, results), as open findings."""
    rows = [
        {"prompt_id": id, "message": message, "kind": hit.kind, "start": hit.start, "stop": hit.end}
        for id, examined in found
        for message, hit in examined.hits
    ]
    if rows:
        session.execute(insert(Finding), rows)


def store_likeness(session: Session, bands: Iterable[tuple[int, int]], near: Iterable[tuple[int, int]]) -> None:
    """Store bands, given as (band, prompt id), and links, given as (prompt id, id of an earlier near-duplicate)."""
    if rows := [{"band": band, "prompt_id": id} for band, id in bands]:
        session.connection().execute(insert(PromptBand.__table__), rows)
    if rows := [{"prompt_id": id, "near_id": other} for id, other in near]:
        session.connection().execute(insert(NearPrompts.__table__), rows)
