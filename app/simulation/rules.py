"""What an admin may let simulated labelers do."""

from sqlalchemy.orm import Session

from app.accounts.rules import record
from app.accounts.tables import Account
from app.errors import BadInput
from app.kit.i18n import gettext as _
from app.queue import send
from app.simulation import queries


def start_work(session: Session, by: Account) -> int:
    """Send simulated labelers to work; returns how many pieces of work wait, raises BadInput when none does."""
    waiting = queries.waiting(queries.turns(session))
    if not waiting:
        raise BadInput(_("No miniature tasks to do; start a plan, which creates the next round."))
    record(session, by, "simulation.work", waiting=waiting)
    send(session, "simulation.work", by.id)
    return waiting
