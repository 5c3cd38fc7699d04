"""What may happen to a snapshot: queued, written by one worker at a time, ready for ever or failed."""

from pathlib import Path

from pydantic import ValidationError
from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from app import queue
from app.accounts.rules import record
from app.accounts.tables import Account
from app.config import settings
from app.database import utc_now
from app.errors import BadInput
from app.i18n import gettext as _
from app.rounds.tables import ONBOARDING, RoundPurpose, RoundState
from app.snapshots import queries
from app.snapshots.schemas import SnapshotFilter
from app.snapshots.tables import Snapshot, SnapshotMember, SnapshotState
from training.records import Manifest, Purpose

LEASE_SECONDS = 60
RENEW_SECONDS = 15
ATTEMPTS = 3


def folder(snapshot: Snapshot) -> Path:
    """Where a ready snapshot's files lie."""
    return settings().data_dir.absolute() / "snapshots" / snapshot.public_id


def create(
    session: Session,
    purpose: Purpose,
    filter: SnapshotFilter | dict,
    *,
    name: str = "",
    by: Account | None = None,
) -> Snapshot:
    """A queued snapshot; its filter is made explicit now, so that rounds closed later do not slip in."""
    purpose = Purpose(purpose)
    try:
        filter = SnapshotFilter.model_validate(filter).model_copy()
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", field="filter") from error
    if purpose is Purpose.PPO:
        if filter.rounds is not None:
            raise BadInput(
                _("A snapshot for PPO holds prompts, not the work of rounds; leave rounds out."), field="rounds"
            )
    else:
        if filter.prompts is not None:
            raise BadInput(_("Prompts are named only in a snapshot for PPO; choose rounds here."), field="prompts")
        filter.rounds = _closed_rounds(session, filter)
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


def _closed_rounds(session: Session, filter: SnapshotFilter) -> list[int]:
    if filter.rounds is None:
        return queries.closed_training_rounds(session)
    found = queries.rounds_by_number(session, filter.rounds)
    for number in filter.rounds:
        if number not in found:
            raise BadInput(_("There is no round %(number)s.") % {"number": number}, field="rounds")
        if found[number].purpose is RoundPurpose.DEMO:
            raise BadInput(
                _("Round %(number)s is of the demo; its answers are never trained on.") % {"number": number},
                field="rounds",
            )
        if found[number].purpose in ONBOARDING:
            raise BadInput(
                _("Round %(number)s is practice or screening; its answers are never trained on.") % {"number": number},
                field="rounds",
            )
        if found[number].state is not RoundState.CLOSED:
            raise BadInput(
                _("Round %(number)s is not closed; close it first, then its answers can be frozen.")
                % {"number": number},
                field="rounds",
            )
    return sorted(set(filter.rounds))


def claim(session: Session, id: int) -> Snapshot | None:
    """Take a queued snapshot for this worker; None if another has it or it is done."""
    claimed = session.scalar(
        update(Snapshot)
        .where(Snapshot.id == id, Snapshot.state == SnapshotState.QUEUED)
        .values(state=SnapshotState.WRITING, attempt=Snapshot.attempt + 1, lease_until=utc_now(LEASE_SECONDS))
        .returning(Snapshot.id)
    )
    return session.get_one(Snapshot, id) if claimed else None


def renew(session: Session, snapshot: Snapshot) -> bool:
    """Keep the lease of this attempt; False if it was lost."""
    return _mine(session, snapshot, lease_until=utc_now(LEASE_SECONDS))


def finish(session: Session, snapshot: Snapshot, manifest: Manifest, members: list[dict]) -> bool:
    """Make the snapshot ready with its members; False if another attempt has taken over."""
    won = _mine(
        session,
        snapshot,
        state=SnapshotState.READY,
        manifest=manifest.model_dump(mode="json"),
        content_sha256=manifest.content_sha256,
        lease_until=None,
        error="",
    )
    if won and members:
        # Every kind of member goes by itself, since the rows of one insert must have the same columns.
        for column in ("demonstration_id", "conversation_id", "comparison_id", "prompt_id"):
            rows = [{"snapshot_id": snapshot.id, **member} for member in members if column in member]
            if rows:
                session.execute(insert(SnapshotMember), rows)
    return won


def fail(session: Session, snapshot: Snapshot, error: str) -> bool:
    """Give up, with the reason; False if another attempt has taken over."""
    return _mine(session, snapshot, state=SnapshotState.FAILED, error=error, lease_until=None)


def _mine(session: Session, snapshot: Snapshot, **values) -> bool:
    changed = session.scalar(
        update(Snapshot)
        .where(
            Snapshot.id == snapshot.id,
            Snapshot.state == SnapshotState.WRITING,
            Snapshot.attempt == snapshot.attempt,
        )
        .values(**values)
        .returning(Snapshot.id)
    )
    return changed is not None


def reconcile(session: Session) -> list[Snapshot]:
    """Queue what a dead worker left and send again what never arrived; returns those that failed for good."""
    failed = []
    stale = select(Snapshot).where(
        Snapshot.state.in_([SnapshotState.QUEUED, SnapshotState.WRITING]), Snapshot.lease_until < utc_now()
    )
    for snapshot in session.scalars(stale.with_for_update(skip_locked=True)):
        if snapshot.state is SnapshotState.WRITING and snapshot.attempt >= ATTEMPTS:
            snapshot.state, snapshot.lease_until = SnapshotState.FAILED, None
            snapshot.error = _("Its worker died %(count)s times while writing it; see the worker's log.") % {
                "count": snapshot.attempt
            }
            failed.append(snapshot)
            continue
        snapshot.state, snapshot.lease_until = SnapshotState.QUEUED, utc_now(LEASE_SECONDS)
        queue.send(session, "snapshots.write", snapshot.id)
    return failed
