"""Running jobs in the background."""

import logging
import os
import secrets
import socket
from contextlib import suppress

from app import queue
from app.checkpoints import sampling
from app.database import reading, transaction
from app.jobs import queries, rules
from app.jobs.tables import Job
from app.kit.leases import LeaseLost
from app.plans import rules as plans
from app.queue import celery
from app.runs.supervisor import Supervisor

log = logging.getLogger(__name__)


@celery.task(name="jobs.run")
def run(id: int) -> None:
    """Run job `id` unless it is already leased or has ended."""
    with transaction() as session:
        job = rules.claim(session, id, _owner())
    if job is None:
        return
    try:
        Supervisor(job, queue.stopping).run()
    except LeaseLost:
        log.warning("job %s: attempt %s has lost its lease and stopped", job.public_id, job.attempt)


def _owner() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


@celery.task(name="jobs.take_in")
def take_in(id: int) -> None:
    """Store the completions of sampling job `id` under its checkpoint's policy."""
    with reading() as session:
        job = session.get_one(Job, id)
    log.info("job %s: %s completions are in the bank", job.public_id, sampling.take_in(job))


@celery.task(name="jobs.reconcile")
def reconcile() -> None:
    """Repair the effects of lost messages and dead workers."""
    with reading() as session:
        queue_is_empty = queries.waits(session) and queue.waiting(queue.TRAINING) == 0
        left = queries.left(session)
    for job in left:
        if rules.is_finished(job):
            _end(job.id)
    with transaction() as session:
        for job in rules.reconcile(session, queue_is_empty=queue_is_empty):
            plans.advance_after(session, job=job)


def _end(id: int) -> None:
    """Record the end of a job that finished after its supervisor died."""
    with transaction() as session:
        job = rules.take_over(session, id, _owner())
    if job is not None:
        with suppress(LeaseLost):
            Supervisor(job, queue.stopping).end(None)
