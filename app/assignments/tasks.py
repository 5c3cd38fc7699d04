"""Background tasks of assignments."""

import app.desk.submit  # noqa: F401  a late answer is of any kind, so the rules of all of them are loaded
from app.assignments import late
from app.database import transaction
from app.queue import celery


@celery.task(name="assignments.reconcile")
def reconcile() -> None:
    """Let late answers take the slots whose lease ran out."""
    with transaction() as session:
        late.reconcile(session)
