"""Queries for guidelines and forms."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.accounts.tables import Account
from app.guidelines.tables import Acknowledgement, Form, FormKind, Guideline


def newest_guideline(session: Session, name: str) -> Guideline | None:
    """Return the newest version of a guideline, or None."""
    return session.scalar(select(Guideline).where(Guideline.name == name).order_by(Guideline.version.desc()).limit(1))


def newest_guidelines(session: Session) -> Sequence[Guideline]:
    """Return the newest version of every guideline, ordered by name."""
    newest = select(Guideline.name, func.max(Guideline.version).label("version")).group_by(Guideline.name).subquery()
    return session.scalars(
        select(Guideline)
        .join(newest, (Guideline.name == newest.c.name) & (Guideline.version == newest.c.version))
        .order_by(Guideline.name)
    ).all()


def versions(session: Session, name: str) -> Sequence[Guideline]:
    """Return every version of a guideline, newest first."""
    return session.scalars(select(Guideline).where(Guideline.name == name).order_by(Guideline.version.desc())).all()


def guideline(session: Session, public_id: str) -> Guideline | None:
    """Return the guideline version with this public id, or None."""
    return session.scalar(select(Guideline).where(Guideline.public_id == public_id))


def last_read(session: Session, name: str, account: Account, *, said_so: bool = False) -> Guideline | None:
    """Return the latest version that an account has read or worked under, or None; `said_so`: only confirmed ones."""
    found = (
        select(Guideline)
        .join(Acknowledgement, Acknowledgement.guideline_id == Guideline.id)
        .where(Guideline.name == name, Acknowledgement.account_id == account.id)
        .order_by(Guideline.version.desc())
        .limit(1)
    )
    return session.scalar(found.where(Acknowledgement.said_so) if said_so else found)


def newest_form(session: Session, kind: FormKind) -> Form | None:
    """Return the newest version of a form, or None."""
    return session.scalar(select(Form).where(Form.kind == kind).order_by(Form.version.desc()).limit(1))


def form(session: Session, kind: FormKind, version: int) -> Form | None:
    """Return one version of a form, or None."""
    return session.scalar(select(Form).where(Form.kind == kind, Form.version == version))


def forms(session: Session) -> Sequence[Form]:
    """Return every version of every form, by kind and newest first."""
    return session.scalars(select(Form).order_by(Form.kind, Form.version.desc())).all()
