"""Background tasks that sample alternatives."""

import logging

from sqlalchemy.exc import OperationalError

from app.conversations import sampling
from app.database import transaction
from app.queue import celery

log = logging.getLogger(__name__)


@celery.task(name="conversations.sample")
def sample(id: int) -> None:
    """Sample alternatives `id`, unless another worker is sampling them or has."""
    try:
        sampling.sample(id)
    except OperationalError as error:  # the database is unreachable: they are queued again once the lease ends
        log.warning("alternatives %s wait for the database: %s", id, error)


@celery.task(name="conversations.reconcile")
def reconcile() -> None:
    """Repair what a lost message or a dead worker left behind."""
    with transaction() as session:
        sampling.reconcile(session)
