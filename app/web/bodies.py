"""Limits on request bodies: who may send one, how large, how slowly and how many at once; checked on the headers."""

import time
from collections import Counter
from collections.abc import Callable

import anyio
from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.accounts.tables import Account, Role
from app.config import settings
from app.errors import NotSignedIn, PlumblineError, TooMany
from app.kit.i18n import gettext as _
from app.web.security import SAFE_METHODS, client_address

ANONYMOUS_BYTES = 65_536  # a sign-in needs less
# Short bodies here are read before the token is checked, which is done within the request's own transaction.
CHECKED_LATER = "/api/v1/assignments/"
FREE_SECONDS, LEAST_BYTES_PER_SECOND = 30, 10_000
MOST_UNFINISHED = 100  # incomplete bodies per client address, in all web processes together


class Bodies:
    """Rejects a body from a client that may not send it, and a body that does not arrive in time."""

    def __init__(
        self,
        app: ASGIApp,
        refuse: Callable[[Request, Exception], Response],
        who: Callable[[Request], Account | None],
        token: Callable[[Request, None], Account],
    ):
        self.app, self.refuse, self.who, self.token = app, refuse, who, token
        self.unfinished: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS:
            return await self.app(scope, receive, send)
        request = Request(scope)
        address = client_address(request)
        try:
            if self.unfinished[address] >= max(1, MOST_UNFINISHED // settings().web_server_processes):
                raise TooMany(_("Too many incomplete requests. Try again in a moment."), retry_after_seconds=5)
            most = await run_in_threadpool(self._most_bytes, request)
        except (PlumblineError, HTTPException) as error:
            response = await run_in_threadpool(self.refuse, request, error)
            response.headers["Connection"] = "close"  # nobody reads the body
            return await response(scope, receive, send)
        self.unfinished[address] += 1
        body = _Body(receive, most, lambda: self._finish(address))
        try:
            await self.app(scope, body.receive, send)
        finally:
            body.finish()

    def _finish(self, address: str) -> None:
        self.unfinished[address] -= 1
        if not self.unfinished[address]:
            del self.unfinished[address]

    def _most_bytes(self, request: Request) -> int:
        """Return the size limit of the body in bytes; raise if the client may not send it or announces a larger one."""
        length = request.headers.get("content-length", "")
        announced = int(length) if length.isdecimal() else None
        account: Account | None
        if request.url.path.startswith(CHECKED_LATER) and announced is not None and announced <= ANONYMOUS_BYTES:
            return ANONYMOUS_BYTES
        if request.url.path.startswith("/api/"):
            account = self.token(request, None)
        elif announced is not None and announced <= ANONYMOUS_BYTES:
            return ANONYMOUS_BYTES  # the account is checked where it matters
        else:
            account = self.who(request)
        if account is None:
            if announced is not None:
                raise NotSignedIn(_("Please sign in to continue."))
            return ANONYMOUS_BYTES
        if account.role is Role.ADMIN:
            return settings().max_upload_bytes + ANONYMOUS_BYTES
        if announced is not None and announced > settings().max_body_bytes:
            raise HTTPException(413)
        return settings().max_body_bytes


class _Body:
    """The receiving end of one request; aborts bodies that are too large or too slow."""

    def __init__(self, receive: Receive, most: int, on_finish: Callable[[], None]):
        self._receive, self._most, self._on_finish = receive, most, on_finish
        self._began, self._bytes, self._finished = time.monotonic(), 0, False

    def finish(self) -> None:
        """Count the body as finished, whether complete or abandoned; only the first call counts."""
        if not self._finished:
            self._finished = True
            self._on_finish()

    async def receive(self) -> Message:
        if self._finished:
            return await self._receive()
        patience = FREE_SECONDS + self._bytes / LEAST_BYTES_PER_SECOND - (time.monotonic() - self._began)
        with anyio.move_on_after(patience):
            message = await self._receive()
            self._bytes += len(message.get("body", b""))
            if self._bytes > self._most:
                raise HTTPException(413)
            if not message.get("more_body", False):
                self.finish()
            return message
        raise HTTPException(408)
