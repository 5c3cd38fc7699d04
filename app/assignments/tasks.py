"""Background tasks of assignments."""

import app.desk.kinds  # noqa: F401  late answers are of any kind, so all their rules are loaded
from app.assignments import late
from app.database import transaction
from app.queue import celery


@celery.task(name="assignments.reconcile")
def reconcile() -> None:
    """Let late answers take the slots whose lease ran out."""
    with transaction() as session:
        late.reconcile(session)
