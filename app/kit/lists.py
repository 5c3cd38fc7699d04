"""Lists that are read page by page, the newest first: a cursor is the public id of the last row that was shown."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.database import Base
from app.errors import BadInput
from app.kit.i18n import gettext as _


def last_shown(session: Session, table: type[Base], cursor: str) -> int:
    """Key of the row that a cursor names; BadInput if there is none, so that a wrong cursor is no empty list."""
    key = session.scalar(select(table.id).where(table.public_id == cursor))
    if key is None:
        raise no_cursor(cursor)
    return key


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
