"""Pagination by cursor: a cursor is the public id of the last row shown."""

from typing import Any, TypeVar

from sqlalchemy import Select, select
from sqlalchemy.orm import Mapped, Session

from app.database import Base
from app.errors import BadInput
from app.kit.i18n import gettext as _

Row = TypeVar("Row", bound=Base)  # with `id`, its key, and `public_id`


def page(
    session: Session,
    query: Select[Row],
    table: type[Row],
    cursor: str | None,
    limit: int,
    *,
    by: Mapped[int] | None = None,
    oldest_first: bool = False,
) -> tuple[list[Row], str | None]:
    """Return at most `limit` rows of an unordered query after `cursor`, and the next cursor.

    Rows are ordered by `by` (default: the key), newest first. Raises BadInput for a cursor that names no row.
    """
    listed: Any = table
    column = listed.id if by is None else by
    if cursor:
        last = last_shown(session, table, cursor, column)
        query = query.where(column > last if oldest_first else column < last)
    query = query.order_by(column.asc() if oldest_first else column.desc()).limit(limit + 1)
    rows: list[Any] = list(session.scalars(query))
    return rows[:limit], rows[limit - 1].public_id if len(rows) > limit else None


def last_shown(session: Session, table: type[Base], cursor: str, column: Mapped[int] | None = None) -> int:
    """Return the key (or the value in `column`) of the row that a cursor names; raise BadInput if it names none."""
    listed: Any = table
    found = session.scalar(select(listed.id if column is None else column).where(listed.public_id == cursor))
    if found is None:
        raise no_cursor(cursor)
    return found


def no_cursor(cursor: str) -> BadInput:
    """Return the error for a cursor that names no row."""
    message = _("“%(cursor)s” is not a cursor of this list; start without one.") % {"cursor": cursor}
    return BadInput(message, field="cursor")


def round_number(given: str) -> int | None:
    """Parse a filter by round; None means all rounds. Raise BadInput for other text, so that no filter is ignored."""
    if not (given := given.strip()):
        return None
    if not given.isdecimal() or len(given) > 9:
        message = _("“%(given)s” is not a round number. Enter one, for example 3, or leave it empty for all.")
        raise BadInput(message % {"given": given}, field="round")
    return int(given)
