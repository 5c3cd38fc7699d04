"""Life cycle of a snapshot: queued, written by one worker at a time, then permanently ready or failed."""

from pathlib import Path

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import queue
from app.accounts.rules import record
from app.accounts.tables import Account
from app.comparisons.tables import Comparison
from app.completions.tables import Completion
from app.config import settings
from app.conversations.tables import Conversation
from app.database import changed_rows, utc_now
from app.demonstrations.tables import Demonstration
from app.errors import Conflict
from app.kit import leases
from app.kit.i18n import gettext as _
from app.prompts.tables import Finding, FindingState
from app.rounds.tables import Item
from app.snapshots.filters import explicit
from app.snapshots.schemas import SnapshotFilter
from app.snapshots.tables import Snapshot, SnapshotMember, SnapshotState
from training.contract.records import Manifest, Purpose

LEASE_SECONDS = 60
RENEW_SECONDS = 15
ATTEMPTS = 3


def folder(snapshot: Snapshot) -> Path:
    """Return the folder of a ready snapshot's files."""
    return settings().data_dir.absolute() / "snapshots" / snapshot.public_id


def create(
    session: Session,
    purpose: Purpose,
    filter: SnapshotFilter | dict,
    *,
    name: str = "",
    by: Account | None = None,
) -> Snapshot:
    """Queue a snapshot; its filter is made explicit now, so that rounds closed later are not included.

    Raises BadInput or Conflict for a filter that cannot be frozen.
    """
    purpose = Purpose(purpose)
    filter = explicit(session, purpose, filter)
    snapshot = Snapshot(
        purpose=purpose,
        name=name.strip() or f"{purpose}",
        filter=filter.model_dump(mode="json"),
        lease_until=utc_now(LEASE_SECONDS),
    )
    snapshot.created_by_id = by.id if by else None
    session.add(snapshot)
    session.flush()
    record(session, by, "snapshot.create", snapshot.public_id, purpose=purpose)
    queue.send(session, "snapshots.write", snapshot.id)
    return snapshot


def claim(session: Session, id: int) -> Snapshot | None:
    """Lease a queued snapshot for this worker; return None if another worker has it or it is done."""
    claimed = session.scalar(
        update(Snapshot)
        .where(Snapshot.id == id, Snapshot.state == SnapshotState.QUEUED)
        .values(state=SnapshotState.WRITING, attempt=Snapshot.attempt + 1, lease_until=utc_now(LEASE_SECONDS))
        .returning(Snapshot.id)
    )
    return session.get_one(Snapshot, id) if claimed else None


def renew(session: Session, snapshot: Snapshot) -> None:
    """Renew the lease of this attempt; raise LeaseLost if another attempt has taken over."""
    _mine(session, snapshot, lease_until=utc_now(LEASE_SECONDS))


def finish(session: Session, snapshot: Snapshot, manifest: Manifest, members: list[dict]) -> None:
    """Make the snapshot ready with its members; raise LeaseLost if another attempt has taken over."""
    _mine(
        session,
        snapshot,
        state=SnapshotState.READY,
        manifest=manifest.model_dump(mode="json"),
        content_sha256=manifest.content_sha256,
        lease_until=None,
        error="",
    )
    # One insert for each kind of member, since the rows of one insert must have the same columns.
    for column in ("demonstration_id", "conversation_id", "comparison_id", "prompt_id"):
        rows = [{"snapshot_id": snapshot.id, **member} for member in members if column in member]
        if rows:
            session.execute(insert(SnapshotMember), rows)
    _check_personal_data(session, snapshot)


def _check_personal_data(session: Session, snapshot: Snapshot) -> None:
    """Mark members whose prompt has open personal data by now; raise Conflict if there are any."""
    prompts = select(Finding.prompt_id).where(Finding.state == FindingState.OPEN)
    demonstrations = select(Demonstration.id).join(Demonstration.completion).where(Completion.prompt_id.in_(prompts))
    conversations = select(Conversation.id).join(Conversation.item).where(Item.prompt_id.in_(prompts))
    comparisons = select(Comparison.id).where(Comparison.prompt_id.in_(prompts))
    marked = (
        update(SnapshotMember)
        .where(
            SnapshotMember.snapshot_id == snapshot.id,
            SnapshotMember.prompt_id.in_(prompts)
            | SnapshotMember.demonstration_id.in_(demonstrations)
            | SnapshotMember.conversation_id.in_(conversations)
            | SnapshotMember.comparison_id.in_(comparisons),
        )
        .values(open_personal_data=True)
        .execution_options(synchronize_session=False)
    )
    words = _(
        "Personal data was found in prompts of this snapshot while it was being written. Review it on the “Personal "
        "data” page under Prompts, then freeze again."
    )
    try:
        found = changed_rows(session, marked)
    except IntegrityError as error:  # a member in train: the schema forbids such data there
        raise Conflict(words) from error
    if found:
        raise Conflict(words)


def fail(session: Session, snapshot: Snapshot, error: str) -> None:
    """Mark the snapshot as failed with the reason; raise LeaseLost if another attempt has taken over."""
    _mine(session, snapshot, state=SnapshotState.FAILED, error=error, lease_until=None)


def _mine(session: Session, snapshot: Snapshot, **values: object) -> None:
    held = (
        Snapshot.id == snapshot.id,
        Snapshot.state == SnapshotState.WRITING,
        Snapshot.attempt == snapshot.attempt,
    )
    leases.change(session, Snapshot, *held, **values)


def reconcile(session: Session) -> list[Snapshot]:
    """Requeue snapshots of dead workers and resend lost messages; return the snapshots that failed permanently."""
    failed = []
    stale = select(Snapshot).where(
        Snapshot.state.in_([SnapshotState.QUEUED, SnapshotState.WRITING]), Snapshot.lease_until < utc_now()
    )
    for snapshot in session.scalars(stale.with_for_update(skip_locked=True)):
        if snapshot.state is SnapshotState.WRITING and snapshot.attempt >= ATTEMPTS:
            snapshot.state, snapshot.lease_until = SnapshotState.FAILED, None
            snapshot.error = _("The worker died %(count)s times while writing this snapshot; see the worker's log.") % {
                "count": snapshot.attempt
            }
            failed.append(snapshot)
            continue
        snapshot.state, snapshot.lease_until = SnapshotState.QUEUED, utc_now(LEASE_SECONDS)
        queue.send(session, "snapshots.write", snapshot.id)
    return failed
