"""The Celery app, its schedule, and send(), which publishes an id once its session has committed.

The database row is the source of truth for background work. Messages are acknowledged early; a duplicate finds nothing
to do, and a lost one is sent again by the reconcilers scheduled below.
"""

import logging
import os
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import cast

from celery import Celery
from celery.signals import heartbeat_sent, worker_init, worker_process_init, worker_shutting_down
from kombu.exceptions import OperationalError
from redis import Redis, RedisError
from sqlalchemy.orm import Session

from app.config import settings
from app.database import after_commit, engine
from app.kit import surface
from app.kit.surface import Surface

DEFAULT, TRAINING = "default", "training"
QUEUES = {
    DEFAULT: "imports, snapshots, next rounds and the reconcilers; beat runs inside",
    TRAINING: "jobs and model checks, one at a time for each worker",
}
RECONCILE_SECONDS = 10
WORKER_SEEN_SECONDS = 20  # a worker silent for this long counts as gone
_VISIBILITY_SECONDS = 12 * 3600  # the same in every process, because the shortest one wins

log = logging.getLogger(__name__)


def _configuration() -> dict:
    repair = {"schedule": RECONCILE_SECONDS, "options": {"queue": DEFAULT, "expires": RECONCILE_SECONDS}}
    return {
        "broker_url": settings().broker,
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": {
            "visibility_timeout": _VISIBILITY_SECONDS,
            "health_check_interval": 25,
            "socket_connect_timeout": 2,
            "socket_timeout": 5,  # longer than the second for which a waiting worker blocks
            # Without a retry limit, publishing to a dead broker would block the request forever.
            "max_retries": 1,
            "interval_start": 0.0,
            "interval_step": 0.1,
        },
        "visibility_timeout": _VISIBILITY_SECONDS,
        "result_backend_transport_options": {"visibility_timeout": _VISIBILITY_SECONDS},
        "task_default_queue": DEFAULT,
        "task_acks_late": False,
        "task_ignore_result": True,
        "task_track_started": False,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "worker_pool": "prefork",
        "worker_concurrency": 1,
        "worker_soft_shutdown_timeout": 60,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_hijack_root_logger": False,
        "beat_scheduler": "celery.beat:Scheduler",  # fixed intervals need no schedule file
        "beat_schedule": {
            name: {"task": name, **repair}
            for name in (
                "assignments.reconcile",
                "conversations.reconcile",
                "snapshots.reconcile",
                "jobs.reconcile",
                "checkpoints.reconcile",
                "plans.reconcile",
            )
        },
    }


celery = Celery(
    "plumbline",
    include=[
        "app.assignments.tasks",
        "app.conversations.tasks",
        "app.snapshots.tasks",
        "app.runs.tasks",
        "app.checkpoints.tasks",
        "app.plans.tasks",
        "app.simulation.tasks",
    ],
)
celery.add_defaults(_configuration)


def send(session: Session, name: str, id: int, queue: str = DEFAULT) -> None:
    """Publish the task `name` for row `id` after this session's commit, or never if it does not commit.

    A message sent inside a savepoint that rolls back is published too: a message without a row does nothing.
    """
    after_commit(session, lambda: _publish(name, id, queue))


def _publish(name: str, id: int, queue: str) -> None:
    try:
        celery.send_task(name, args=[id], queue=queue, retry=False)
    except (OperationalError, RedisError, OSError) as error:
        # The row is committed and remains the source of truth: the reconciler resends it once the broker is back.
        embedded_is_off = not settings().broker_url and not settings().broker_socket.exists()
        log.log(
            logging.INFO if embedded_is_off else logging.WARNING,
            "%s %s could not be sent to the queue %s: %s",
            name,
            id,
            queue,
            error,
        )


@contextmanager
def _broker() -> Iterator[Redis]:
    with celery.pool.acquire(block=True) as connection:
        yield connection.default_channel.client


def workers(queue: str) -> list[str] | None:
    """Return the names of the workers that consume `queue` now; None if the broker does not respond."""
    try:
        with _broker() as broker:
            seen = broker.zrangebyscore(_seen_key(queue), broker.time()[0] - WORKER_SEEN_SECONDS, "inf")
        return [name.decode() for name in cast("list[bytes]", seen)]  # neither decoded nor with scores
    except (OperationalError, RedisError, OSError):
        return None


def waiting(queue: str) -> int:
    """Return the number of messages waiting in a queue."""
    with _broker() as broker:
        return broker.llen(queue)


def _seen_key(queue: str) -> str:
    return f"plumbline:workers:{queue}"


_told_at = float("-inf")  # monotonic seconds


@heartbeat_sent.connect
def _tell_that_we_live(sender, **_: object) -> None:
    """Register this worker with its queues; called from the consumer loop, so a stuck worker goes silent."""
    global _told_at
    if time.monotonic() - _told_at < WORKER_SEEN_SECONDS / 4:
        return
    with suppress(OperationalError, RedisError, OSError), _broker() as broker:
        now = broker.time()[0]
        for queue in celery.amqp.queues.consume_from:
            broker.zremrangebyscore(_seen_key(queue), "-inf", now - WORKER_SEEN_SECONDS)
            broker.zadd(_seen_key(queue), {f"{socket.gethostname()}:{os.getpid()}": now})
        _told_at = time.monotonic()


# The pool's processes detect a shutdown or the worker's death by a pipe whose other end closes.
_pipe: list[int] = []


@worker_init.connect
def _open_pipe(**_: object) -> None:
    _pipe[:] = os.pipe()


@worker_process_init.connect
def _begin_in_pool(**_: object) -> None:
    """Drop what must not survive a fork: database connections and the write end of the pipe."""
    surface.current.set(Surface.WORKER)
    engine.cache_clear()
    _announce_shutdown()


@worker_shutting_down.connect
def _announce_shutdown(**_: object) -> None:
    """Close this process's write end; readers see end-of-file once all processes have closed theirs."""
    if len(_pipe) == 2:
        os.close(_pipe.pop())


def stopping() -> bool:
    """Return whether the worker around this task is shutting down or has died."""
    return bool(_pipe) and bool(select.select([_pipe[0]], [], [], 0)[0])
