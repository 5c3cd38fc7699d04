"""Writing snapshots in the background."""

import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path

from sqlalchemy.exc import OperationalError

from app.database import engine, reading, transaction
from app.errors import PlumblineError
from app.kit.leases import LeaseLost, every
from app.plans import rules as plans
from app.queue import celery
from app.snapshots import rules
from app.snapshots.freezing import Freezer
from app.snapshots.schemas import SnapshotFilter
from app.snapshots.tables import Snapshot

log = logging.getLogger(__name__)


@celery.task(name="snapshots.write")
def write(id: int) -> None:
    """Write snapshot `id`, unless another worker is writing it or it is done."""
    with transaction() as session:
        snapshot = rules.claim(session, id)
    if snapshot is None:
        return
    place = rules.folder(snapshot)
    for left in place.parent.glob(f".{snapshot.public_id}.*.new"):  # left by an attempt that died
        shutil.rmtree(left, ignore_errors=True)
    draft = place.with_name(f".{snapshot.public_id}.{snapshot.attempt}.new")
    try:
        _freeze(snapshot, draft)
    except LeaseLost:
        log.warning("snapshot %s: the lease of attempt %s was lost", snapshot.public_id, snapshot.attempt)
    except OperationalError as error:  # the database is down or busy: once the lease ends, the snapshot is requeued
        log.warning("snapshot %s waits for the database: %s", snapshot.public_id, error)
    except PlumblineError as error:  # what it would hold changed after it was queued
        log.warning("snapshot %s cannot be written: %s", snapshot.public_id, error.message)
        _fail(snapshot, error.message)
    except Exception as error:
        log.exception("snapshot %s could not be written", snapshot.public_id)
        _fail(snapshot, f"{type(error).__name__}: {error}")
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _fail(snapshot: Snapshot, error: str) -> None:
    with suppress(LeaseLost), transaction() as session:
        rules.fail(session, snapshot, error)
        plans.advance_after(session, snapshot=snapshot)


def _freeze(snapshot: Snapshot, draft: Path) -> None:
    def renew() -> None:
        with transaction() as session:
            rules.renew(session, snapshot)

    with reading() as session:
        if engine().dialect.name == "postgresql":  # SQLite reads one consistent state anyway
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        freezer = Freezer(
            session, snapshot.purpose, SnapshotFilter.model_validate(snapshot.filter), every(rules.RENEW_SECONDS, renew)
        )
        manifest = freezer.write(draft)
    for path in [*draft.iterdir(), draft]:
        _sync(path)
    with transaction() as session:
        rules.finish(session, snapshot, manifest, freezer.members)
        # Moved while the row is ours and before it is committed as ready: a ready snapshot always has its folder.
        place = rules.folder(snapshot)
        shutil.rmtree(place, ignore_errors=True)  # left by an attempt that died between here and its commit
        draft.rename(place)
        _sync(place.parent)
        plans.advance_after(session, snapshot=snapshot)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@celery.task(name="snapshots.reconcile")
def reconcile() -> None:
    """Repair what a lost message or a dead worker left behind."""
    with transaction() as session:
        for snapshot in rules.reconcile(session):
            plans.advance_after(session, snapshot=snapshot)
