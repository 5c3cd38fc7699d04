"""Leases of rows: only the holder of a lease may change the row, until it expires by the database's clock."""

import time
from collections.abc import Callable

from sqlalchemy import ColumnElement, update
from sqlalchemy.orm import Session

from app.database import Base, changed_rows


class LeaseLost(Exception):
    """Raised if another worker holds the row; this one must stop and write nothing more."""


def change(session: Session, table: type[Base], *held: ColumnElement[bool], **values: object) -> None:
    """Change the row that matches `held`, the conditions of ownership; raise LeaseLost if none matches."""
    if not changed_rows(session, update(table).where(*held).values(**values)):
        raise LeaseLost(table.__tablename__)


def every(seconds: float, renew: Callable[[], object]) -> Callable[[], None]:
    """Return a function that calls `renew`, but at most once in `seconds`, however often it is called."""
    renewed = time.monotonic()

    def alive() -> None:
        nonlocal renewed
        if time.monotonic() - renewed > seconds:
            renew()
            renewed = time.monotonic()

    return alive
