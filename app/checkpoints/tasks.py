"""Model checks in the background."""

from sqlalchemy.exc import NoResultFound

from app import queue
from app.checkpoints import queries, rules
from app.checkpoints.tables import Checkpoint
from app.checkpoints.trying import broke_off, tried
from app.database import reading, transaction
from app.kit.i18n import gettext as _
from app.queue import celery


@celery.task(name="checkpoints.try_network")
def try_network(id: int) -> None:
    """Check the model of checkpoint `id` unless that has been done."""
    try:
        with reading() as session:
            checkpoint = session.get_one(Checkpoint, id)
            known, folder = checkpoint.trial, rules.folder(checkpoint)
    except NoResultFound:
        return
    if known is None:
        trial = tried(folder) or broke_off(
            _("torch is not installed on this worker")
        )  # otherwise the check would be requested again and again
        with transaction() as session:
            session.get_one(Checkpoint, id).trial = trial


@celery.task(name="checkpoints.reconcile")
def reconcile() -> None:
    """Request lost model checks again while the training queue is empty."""
    if queue.waiting(queue.TRAINING) == 0:
        with transaction() as session:
            for checkpoint in queries.untried(session):
                queue.send(session, "checkpoints.try_network", checkpoint.id, queue.TRAINING)
