"""Reads of the prompt bank."""

from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, Select, exists, func, select
from sqlalchemy.orm import Session, selectinload

from app.lists import last_shown
from app.prompts.tables import Prompt, PromptCollection, PromptSource
from training.records import Split


def prompt(session: Session, public_id: str) -> Prompt | None:
    """One prompt."""
    return session.scalar(_whole().where(Prompt.public_id == public_id))


def _whole() -> Select[tuple[Prompt]]:
    return select(Prompt).options(selectinload(Prompt.memberships))


def by_ids(session: Session, ids: Iterable[int]) -> dict[int, Prompt]:
    """Prompts by their keys."""
    return {one.id: one for one in session.scalars(_whole().where(Prompt.id.in_(list(ids))))}


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
    found = _whole().order_by(Prompt.id.desc())
    for name, value in columns.items():
        if value is not None:
            found = found.where(in_collections([value]) if name == "collection" else getattr(Prompt, name) == value)
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
    return session.scalars(select(PromptCollection.name).distinct().order_by(PromptCollection.name)).all()


def in_collections(names: Iterable[str]) -> ColumnElement[bool]:
    """Whether a prompt is in one of these collections."""
    return exists().where(PromptCollection.prompt_id == Prompt.id, PromptCollection.name.in_(list(names)))


def members(session: Session, prompt_ids: Iterable[int]) -> set[tuple[int, str]]:
    """(prompt, collection) of every collection that these prompts are in."""
    rows = session.execute(
        select(PromptCollection.prompt_id, PromptCollection.name).where(
            PromptCollection.prompt_id.in_(list(prompt_ids))
        )
    )
    return {(id, name) for id, name in rows}
