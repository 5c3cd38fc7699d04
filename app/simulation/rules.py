"""What an admin can have simulated labelers do."""

from sqlalchemy.orm import Session

from app.accounts.rules import record
from app.accounts.tables import Account
from app.errors import BadInput
from app.kit.i18n import gettext as _
from app.queue import send
from app.simulation import queries


def start_work(session: Session, by: Account) -> int:
    """Start simulated labelers; return the number of waiting tasks, or raise BadInput if it is zero."""
    waiting = queries.waiting(queries.turns(session))
    if not waiting:
        raise BadInput(_("No miniature tasks to do; start a plan, which creates the next round."))
    record(session, by, "simulation.work", waiting=waiting)
    send(session, "simulation.work", by.id)
    return waiting
