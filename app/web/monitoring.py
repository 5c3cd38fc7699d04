"""Monitoring for operators: JSON logs with the request's number on every line, and Prometheus metrics."""

import logging
import os
import secrets
import sys
import time

import structlog
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import Processor

from app.config import settings
from app.errors import NotFound
from app.kit import clock, i18n, surface
from app.kit.i18n import gettext as _
from app.kit.surface import Surface
from app.web.auth import api_account
from app.web.security import is_loopback, is_proxied

REQUESTS = Counter("plumbline_requests_total", "Requests answered.", ["method", "route", "status"])
SECONDS = Histogram("plumbline_request_seconds", "Time until a request was answered, in seconds.", ["method", "route"])
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

log = structlog.get_logger("plumbline.web")
router = APIRouter(include_in_schema=False)


_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
structlog.configure(  # structlog logs through the standard library, whose handlers decide what is shown
    processors=[structlog.stdlib.filter_by_level, *_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)


def configure_logging() -> None:
    """Log one JSON object per line to standard error, or readable lines if that is a terminal."""
    last: list[Processor]
    if sys.stderr.isatty():
        last = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    else:
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(handlers=[handler], level=settings().log_level.upper(), force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)


class Observe:
    """Numbers, times, logs and counts every request."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        began = time.perf_counter()
        number = secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = number
        surface.current.set(Surface.REST if scope["path"].startswith("/api/") else Surface.PAGE)
        asked = HTTPConnection(scope)
        i18n.set_language(i18n.negotiate(asked.headers.get("accept-language", "")))
        clock.set_zone(asked.cookies.get(clock.COOKIE, ""))
        status = 0

        async def counting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", number.encode())]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=number):
            try:
                await self.app(scope, receive, counting_send)
            except Exception:
                log.exception("request broke", method=scope["method"], path=scope["path"])
                raise
            finally:
                self._note(scope, status, time.perf_counter() - began)

    @staticmethod
    def _note(scope: Scope, status: int, seconds: float) -> None:
        # The route's template, /rounds/{id}, never the requested address: the number of labels must stay small.
        otherwise = "/static" if scope["path"].startswith("/static/") and status < 400 else "none"
        route = getattr(scope.get("route"), "path", otherwise)
        method = scope["method"] if scope["method"] in METHODS else "other"
        REQUESTS.labels(method, route, status).inc()
        SECONDS.labels(method, route).observe(seconds)
        if route not in ("/static", "/healthz", "/readyz", "/metrics"):
            client = scope["client"][0] if scope.get("client") else None
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                route=route,
                status=status,
                milliseconds=round(seconds * 1000, 1),
                client=client,
            )


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """Return all web processes' Prometheus metrics, to this machine or to an admin's token with the scope `read`."""
    if "authorization" in request.headers:
        api_account(request, "read")
    elif is_proxied(request) or not (request.client and is_loopback(request.client.host)):
        raise NotFound(_("Page not found."))
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:  # as entry_points.web sets it for several processes
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
