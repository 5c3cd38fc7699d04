"""The processes of the product: the web server and the workers."""

import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from app.config import settings
from app.launch.data_folder import CannotRun
from app.launch.first_admin import tell_the_first_admin

if TYPE_CHECKING:
    from fastapi import FastAPI


def web(listener: int | None = None, processes: int | None = None) -> None:
    """Serve the web application on an inherited socket or on the configured address, in as many processes."""
    import uvicorn
    from uvicorn.config import STARTUP_FAILURE
    from uvicorn.supervisors import Multiprocess

    from app.launch.connections import ImpatientProtocol

    if processes:
        os.environ["PLUMBLINE_WEB_PROCESSES"] = str(processes)
        settings.cache_clear()
    count = settings().web_server_processes
    metrics = _share_metrics() if count > 1 else None
    from app.web.monitoring import configure_logging  # after it is known where the metrics are

    configure_logging()
    _ = settings().key  # a weak key is refused before anything is served
    if listener is None:
        with suppress(SQLAlchemyError):  # /readyz reports a missing database
            tell_the_first_admin()
    config = uvicorn.Config(
        "app.launch.entry_points:application",
        factory=True,
        host=settings().host,
        port=settings().port,
        workers=count,
        http=ImpatientProtocol,
        proxy_headers=bool(settings().trusted_proxies),
        forwarded_allow_ips=settings().trusted_proxies,
        server_header=False,
        log_config=None,
        access_log=False,  # our own log has more detail
        timeout_graceful_shutdown=3,
    )
    sockets = [socket.socket(fileno=listener)] if listener is not None else None
    if count == 1:
        server = uvicorn.Server(config)
        server.run(sockets=sockets)
        sys.exit(0 if server.started else 1)
    supervisor = Multiprocess(config, sockets=sockets or [config.bind_socket()])
    supervisor.run()
    if metrics:
        shutil.rmtree(metrics, ignore_errors=True)
    sys.exit(1 if any(one.exitcode == STARTUP_FAILURE for one in supervisor.processes) else 0)


def application() -> "FastAPI":
    """Create the application of one web process, which logs as the others do and ends with its parent."""
    from app.main import create_app
    from app.web.monitoring import configure_logging

    configure_logging()
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_end_with_parent, args=[parent.pid], daemon=True).start()
    return create_app()


def _end_with_parent(parent: int | None) -> None:
    while os.getppid() == parent:  # it may have ended while this process was starting
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def _share_metrics() -> str:
    """Let the metrics of all web processes add up, in files of a folder that this returns."""
    folder = tempfile.mkdtemp(prefix="plumbline-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    return folder


def worker(queue: str) -> None:
    """Consume a queue; beat runs inside the default worker. Raise CannotRun for an unknown queue."""
    from app.queue import QUEUES, TRAINING, celery
    from app.web.monitoring import configure_logging

    if queue not in QUEUES:
        raise CannotRun(f"there is no queue {queue}; use --queue {' or --queue '.join(QUEUES)}")
    configure_logging()
    settings().make_data_dir()
    _ = settings().key  # a weak key is refused before anything is frozen under it
    arguments = [
        "worker",
        "-Q",
        queue,
        "-n",
        f"{queue}@%h",
        "--loglevel",
        "INFO",
        "--without-gossip",
        "--without-mingle",
    ]
    if queue != TRAINING:
        arguments += ["--beat", "--concurrency", "2"]
    celery.worker_main(arguments)
