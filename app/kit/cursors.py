"""Lists that are read page by page: a cursor is the public id of the last row that was shown."""

from typing import Any, TypeVar

from sqlalchemy import Select, select
from sqlalchemy.orm import Mapped, Session

from app.database import Base
from app.errors import BadInput
from app.kit.i18n import gettext as _

Row = TypeVar("Row", bound=Base)  # with a key, `id`, and a `public_id`


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
    """Read at most `limit` rows of a query that has no order, after `cursor`; returns them and the next cursor.

    They come in the order of `by` (the key), the newest first. Raises BadInput for a cursor that names no row.
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
    """Return the key (or this column) of the row that a cursor names; BadInput if there is none."""
    listed: Any = table
    found = session.scalar(select(listed.id if column is None else column).where(listed.public_id == cursor))
    if found is None:
        raise no_cursor(cursor)
    return found


def no_cursor(cursor: str) -> BadInput:
    """What is said of a cursor that names nothing."""
    message = _("“%(cursor)s” is not a cursor of this list; start without one.") % {"cursor": cursor}
    return BadInput(message, field="cursor")


def round_number(given: str) -> int | None:
    """The number that a filter by round names, None for all rounds; BadInput for what is none: no filter is ignored."""
    if not (given := given.strip()):
        return None
    if not given.isdecimal() or len(given) > 9:
        message = _("“%(given)s” is not a round number. Enter one, for example 3, or leave it empty for all.")
        raise BadInput(message % {"given": given}, field="round")
    return int(given)
