"""Reads of the prompt bank."""

from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from app.lists import last_shown
from app.prompts.tables import Prompt, PromptSource
from training.records import Split


def prompt(session: Session, public_id: str) -> Prompt | None:
    """One prompt."""
    return session.scalar(select(Prompt).where(Prompt.public_id == public_id))


def ids_by_text(session: Session, text_sha256s: Iterable[str]) -> dict[str, int]:
    """Which of these texts are stored, and as which prompt."""
    rows = session.execute(select(Prompt.text_sha256, Prompt.id).where(Prompt.text_sha256.in_(list(text_sha256s))))
    return {digest: id for digest, id in rows}


def known_prefixes(session: Session, prefix_sha256s: Iterable[str]) -> set[str]:
    """Which of these beginnings a stored prompt has; a few-shot prompt shares its own on purpose."""
    return set(
        session.scalars(
            select(Prompt.prefix_sha256).where(
                Prompt.prefix_sha256.in_(list(prefix_sha256s)), Prompt.source != PromptSource.LABELER_FEW_SHOT
            )
        )
    )


def owners(session: Session, names: Iterable[str]) -> dict[str, tuple[Split, int]]:
    """The split of each owner and how many prompts it has, the withdrawn not counted."""
    rows = session.execute(
        select(Prompt.owner, func.min(Prompt.split), func.count().filter(Prompt.withdrawn_at.is_(None)))
        .where(Prompt.owner.in_(list(names)))
        .group_by(Prompt.owner)
    )
    return {owner: (Split(split), count) for owner, split, count in rows}


def says(session: Session, term: str) -> ColumnElement[bool]:
    """Whether a message of the prompt holds the term; the texts are compared, not their JSON."""
    if session.get_bind().dialect.name == "postgresql":
        message = func.jsonb_array_elements(Prompt.messages).column_valued("message")
        text = message.op("->>")("text")
    else:
        message = func.json_each(Prompt.messages).table_valued("value", name="message")
        text = func.json_extract(message.c.value, "$.text")
    return select(1).where(text.icontains(term, autoescape=True)).exists()


def matching(session: Session, *, q: str = "", withdrawn: bool = False, **columns: object) -> Select[tuple[Prompt]]:
    """The prompts a list asks for, newest first; `columns` are collection, split, use_case, source, owner."""
    found = select(Prompt).order_by(Prompt.id.desc())
    for name, value in columns.items():
        if value is not None:
            found = found.where(getattr(Prompt, name) == value)
    if not withdrawn:
        found = found.where(Prompt.withdrawn_at.is_(None))
    if q:
        found = found.where(says(session, q))
    return found


def page(
    session: Session, found: Select[tuple[Prompt]], cursor: str | None, limit: int
) -> tuple[Sequence[Prompt], str | None]:
    """One page of a list and the cursor of the next."""
    if cursor:
        found = found.where(Prompt.id < last_shown(session, Prompt, cursor))
    prompts = session.scalars(found.limit(limit + 1)).all()
    return prompts[:limit], prompts[limit - 1].public_id if len(prompts) > limit else None


def count(session: Session, found: Select[tuple[Prompt]]) -> int:
    """How many prompts a list has in all."""
    return session.scalar(select(func.count()).select_from(found.order_by(None).subquery())) or 0


def collections(session: Session) -> Sequence[str]:
    """The names of the collections, without the unnamed one."""
    return session.scalars(
        select(Prompt.collection).where(Prompt.collection != "").distinct().order_by(Prompt.collection)
    ).all()


def by_collection(session: Session) -> list[tuple[str, Split, int]]:
    """How many prompts each collection has in each split."""
    rows = session.execute(
        select(Prompt.collection, Prompt.split, func.count())
        .where(Prompt.withdrawn_at.is_(None))
        .group_by(Prompt.collection, Prompt.split)
        .order_by(Prompt.collection, Prompt.split)
    )
    return [tuple(row) for row in rows]
