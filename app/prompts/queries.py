"""Queries for the prompt bank."""

import json
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import ARRAY, BigInteger, ColumnElement, Select, any_, bindparam, exists, func, select
from sqlalchemy.orm import Session, selectinload

from app.prompts.tables import NearPrompts, Prompt, PromptBand, PromptCollection, PromptSource
from training.contract.records import Split

UNCLEAR = "und"  # ISO 639-2 code for an unclear language, stored as ""


def prompt(session: Session, public_id: str) -> Prompt | None:
    """Return the prompt with this public id, or None."""
    return session.scalar(_whole().where(Prompt.public_id == public_id))


def _whole() -> Select[Prompt]:
    return select(Prompt).options(selectinload(Prompt.memberships))


def by_ids(session: Session, ids: Iterable[int]) -> dict[int, Prompt]:
    """Return prompts by id."""
    return {one.id: one for one in session.scalars(_whole().where(Prompt.id.in_(list(ids))))}


def ids_by_text(session: Session, text_sha256s: Iterable[str]) -> dict[str, int]:
    """Map the hashes of stored texts, original or masked, to prompt ids."""
    wanted = list(text_sha256s)
    found: dict[str, int] = {}
    for column in (Prompt.masked_sha256, Prompt.text_sha256):
        rows = session.execute(select(column, Prompt.id).where(column.in_(wanted)).order_by(Prompt.id.desc()))
        found |= {digest: id for digest, id in rows if digest is not None}
    return found


def splits(session: Session, ids: Iterable[int]) -> Iterable[tuple[int, Split]]:
    """Return (id, split) of these prompts."""
    wanted = list(ids)
    rows = session.execute(select(Prompt.id, Prompt.split).where(Prompt.id.in_(wanted))) if wanted else ()
    return ((id, split) for id, split in rows)


def known_prefixes(session: Session, prefix_sha256s: Iterable[str]) -> dict[str, int]:
    """Map prefix hashes to the first prompt with each, except few-shot prompts, which share prefixes on purpose."""
    rows = session.execute(
        select(Prompt.prefix_sha256, func.min(Prompt.id))
        .where(Prompt.prefix_sha256.in_(list(prefix_sha256s)), Prompt.source != PromptSource.LABELER_FEW_SHOT)
        .group_by(Prompt.prefix_sha256)
    )
    return {prefix: id for prefix, id in rows if prefix is not None}


def in_bands(session: Session, bands: Iterable[int]) -> Iterable[tuple[int, int]]:
    """Return (band, prompt id) of every prompt stored under one of these bands, oldest prompt first."""
    numbers = list(bands)  # thousands: sent as one parameter, where IN would need one each
    if session.get_bind().dialect.name == "postgresql":
        asked = PromptBand.band == any_(bindparam(None, numbers, type_=ARRAY(BigInteger)))
    else:
        asked = PromptBand.band.in_(select(func.json_each(json.dumps(numbers)).table_valued("value").c.value))
    rows = session.execute(select(PromptBand.band, PromptBand.prompt_id).where(asked).order_by(PromptBand.prompt_id))
    return ((band, id) for band, id in rows)


def texts(session: Session, ids: Iterable[int]) -> Iterable[tuple[int, str, Split, list[dict]]]:
    """Return (id, public id, split, messages) of these prompts."""
    rows = session.execute(
        select(Prompt.id, Prompt.public_id, Prompt.split, Prompt.messages).where(Prompt.id.in_(list(ids)))
    )
    return ((id, public_id, split, messages) for id, public_id, split, messages in rows)


def unexamined(session: Session, limit: int) -> Sequence[Prompt]:
    """Return prompts that are not examined yet, oldest first."""
    return session.scalars(select(Prompt).where(Prompt.language.is_(None)).order_by(Prompt.id).limit(limit)).all()


def owners(session: Session, names: Iterable[str]) -> dict[str, tuple[Split, int]]:
    """Return each owner's split and number of prompts, withdrawn ones not counted."""
    rows = session.execute(
        select(Prompt.owner, func.min(Prompt.split), func.count().filter(Prompt.withdrawn_at.is_(None)))
        .where(Prompt.owner.in_(list(names)))
        .group_by(Prompt.owner)
    )
    return {owner: (Split(split), count) for owner, split, count in rows}


def says(session: Session, term: str) -> ColumnElement[bool]:
    """Return a condition: a message's text (not its JSON) contains the term."""
    if session.get_bind().dialect.name == "postgresql":
        message = func.jsonb_array_elements(Prompt.messages).column_valued("message")
        text: ColumnElement = message.op("->>")("text")
    else:
        each = func.json_each(Prompt.messages).table_valued("value", name="message")
        text = func.json_extract(each.c.value, "$.text")
    return select(1).where(text.icontains(term, autoescape=True)).exists()


def matching(
    session: Session, *, q: str = "", withdrawn: bool = False, columns: Mapping[str, object] | None = None
) -> Select[Prompt]:
    """Build the query for a list of prompts; `columns` are the other fields of PromptQuery."""
    found = _whole()
    for name, value in (columns or {}).items():
        if name == "collection" and value is not None:
            found = found.where(in_collections([str(value)]))
        elif value is not None:
            found = found.where(getattr(Prompt, name) == ("" if (name, value) == ("language", UNCLEAR) else value))
    if not withdrawn:
        found = found.where(Prompt.withdrawn_at.is_(None))
    if q:
        found = found.where(says(session, q))
    return found


def count(session: Session, found: Select[Prompt]) -> int:
    """Count all prompts that a query matches."""
    return session.scalar(select(func.count()).select_from(found.subquery())) or 0


def collections(session: Session) -> Sequence[str]:
    """Return the names of all collections, sorted."""
    return session.scalars(select(PromptCollection.name).distinct().order_by(PromptCollection.name)).all()


def languages(session: Session) -> Sequence[str]:
    """Return the languages that prompts are written in, sorted."""
    found = session.scalars(select(Prompt.language).where(Prompt.language.is_not(None)).distinct())
    return sorted(language for language in found if language is not None)


def near(session: Session, prompt: Prompt) -> Sequence[Prompt]:
    """Return a prompt's near-duplicates, oldest first."""
    after = select(NearPrompts.prompt_id).where(NearPrompts.near_id == prompt.id)
    before = select(NearPrompts.near_id).where(NearPrompts.prompt_id == prompt.id)
    return session.scalars(select(Prompt).where(Prompt.id.in_(after.union(before))).order_by(Prompt.id)).all()


def in_collections(names: Iterable[str]) -> ColumnElement[bool]:
    """Return a condition for queries of prompts: the prompt is in one of these collections."""
    return exists().where(PromptCollection.prompt_id == Prompt.id, PromptCollection.name.in_(list(names)))


def members(session: Session, prompt_ids: Iterable[int]) -> set[tuple[int, str]]:
    """Return (prompt id, collection) for every collection that these prompts are in."""
    rows = session.execute(
        select(PromptCollection.prompt_id, PromptCollection.name).where(
            PromptCollection.prompt_id.in_(list(prompt_ids))
        )
    )
    return {(id, name) for id, name in rows}
