"""Leases of rows: whoever holds one may change the row, for as long as the clock of the database says."""

import time
from collections.abc import Callable

from sqlalchemy import ColumnElement, update
from sqlalchemy.orm import Session

from app.database import Base, changed_rows


class LeaseLost(Exception):
    """Another worker holds the row now; this one must stop and write nothing more."""


def change(session: Session, table: type[Base], *held: ColumnElement[bool], **values: object) -> None:
    """Change the row that meets `held`, which says whose it is; raises LeaseLost where none does."""
    if not changed_rows(session, update(table).where(*held).values(**values)):
        raise LeaseLost(table.__tablename__)


def every(seconds: float, renew: Callable[[], object]) -> Callable[[], None]:
    """Return a function that may be called at any time, and calls `renew` if it last did so `seconds` ago."""
    renewed = time.monotonic()

    def alive() -> None:
        nonlocal renewed
        if time.monotonic() - renewed > seconds:
            renew()
            renewed = time.monotonic()

    return alive
