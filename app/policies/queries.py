"""Reads of policies."""

from collections.abc import Iterable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kit import cursors
from app.policies.tables import Policy, PolicyKind


def policy(session: Session, public_id: str) -> Policy | None:
    """One policy."""
    return session.scalar(select(Policy).where(Policy.public_id == public_id))


def by_name(session: Session, name: str) -> Policy | None:
    """The policy of that name."""
    return session.scalar(select(Policy).where(Policy.name == name))


def named(session: Session, names: Iterable[str]) -> dict[str, Policy]:
    """The policies of these names that there are."""
    return {one.name: one for one in session.scalars(select(Policy).where(Policy.name.in_(list(names))))}


def policies(session: Session, kind: PolicyKind | None = None) -> Sequence[Policy]:
    """Every policy (of a kind), newest first."""
    found = select(Policy).order_by(Policy.id.desc())
    return session.scalars(found if kind is None else found.where(Policy.kind == kind)).all()


def writers(session: Session) -> list[Policy]:
    """The policies that can be asked for completions, newest first."""
    return [one for one in policies(session) if one.writes]


def page(session: Session, cursor: str | None, limit: int) -> tuple[Sequence[Policy], str | None]:
    """One page of the policies, newest first, and the cursor of the next."""
    return cursors.page(session, select(Policy), Policy, cursor, limit)
