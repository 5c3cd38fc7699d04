"""Queries for policies."""

from collections.abc import Iterable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kit import cursors
from app.policies.tables import Policy, PolicyKind


def policy(session: Session, public_id: str) -> Policy | None:
    """Return the policy with this public id, or None."""
    return session.scalar(select(Policy).where(Policy.public_id == public_id))


def by_name(session: Session, name: str) -> Policy | None:
    """Return the policy with this name, or None."""
    return session.scalar(select(Policy).where(Policy.name == name))


def named(session: Session, names: Iterable[str]) -> dict[str, Policy]:
    """Return the existing policies with these names, by name."""
    return {one.name: one for one in session.scalars(select(Policy).where(Policy.name.in_(list(names))))}


def policies(session: Session, kind: PolicyKind | None = None) -> Sequence[Policy]:
    """Return every policy (of a kind), newest first."""
    found = select(Policy).order_by(Policy.id.desc())
    return session.scalars(found if kind is None else found.where(Policy.kind == kind)).all()


def writers(session: Session) -> list[Policy]:
    """Return the policies that can be asked for completions, newest first."""
    return [one for one in policies(session) if one.writes]


def page(session: Session, cursor: str | None, limit: int) -> tuple[Sequence[Policy], str | None]:
    """Return a page of policies, newest first, and the next cursor."""
    return cursors.page(session, select(Policy), Policy, cursor, limit)
