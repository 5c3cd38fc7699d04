"""The processes of the product: the web server and the workers."""

import socket
import sys
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from app.config import settings
from app.launch.data_folder import CannotRun
from app.launch.first_admin import tell_the_first_admin


def web(listener: int | None = None) -> None:
    """Serve the web application on an inherited socket or on the configured address."""
    import uvicorn

    from app.launch.connections import ImpatientProtocol
    from app.web.monitoring import configure_logging

    configure_logging()
    _ = settings().key  # a weak key is refused before anything is served
    if listener is None:
        with suppress(SQLAlchemyError):  # /readyz reports a missing database
            tell_the_first_admin()
    config = uvicorn.Config(
        "app.main:create_app",
        factory=True,
        host=settings().host,
        port=settings().port,
        http=ImpatientProtocol,
        proxy_headers=bool(settings().trusted_proxies),
        forwarded_allow_ips=settings().trusted_proxies,
        server_header=False,
        log_config=None,
        access_log=False,  # our own log has more detail
        timeout_graceful_shutdown=3,
    )
    server = uvicorn.Server(config)
    server.run(sockets=[socket.socket(fileno=listener)] if listener is not None else None)
    sys.exit(0 if server.started else 1)


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
