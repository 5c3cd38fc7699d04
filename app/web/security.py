"""Protection of every request: headers, CSRF checks, trusted proxies; pure ASGI, no database."""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

from fastapi import Request, Response
from itsdangerous import BadData, URLSafeSerializer
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.config import settings
from app.errors import Forbidden
from app.kit.i18n import gettext as _
from app.kit.places import is_loopback

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; manifest-src 'self'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def https() -> bool:
    """Return whether Plumbline is reached by https."""
    return settings().base_url.startswith("https://")


def cookie_name(name: str) -> str:
    """Return the full name of a cookie; under https, no other host or path can set it."""
    return f"__Host-plumbline_{name}" if https() else f"plumbline_{name}"


def set_cookie(response, name: str, value: str, *, max_age: int | None = None) -> None:
    """Set one of our cookies, hidden from scripts and not sent with posts from other sites."""
    response.set_cookie(
        cookie_name(name), value, max_age=max_age, path="/", httponly=True, samesite="lax", secure=https()
    )


def delete_cookie(response, name: str) -> None:
    """Delete one of our cookies."""
    response.delete_cookie(cookie_name(name), path="/", httponly=True, samesite="lax", secure=https())


def set_signed(response: Response, name: str, purpose: str, value: str, *, max_age: int) -> None:
    """Set a cookie that only this installation can have written, valid for one purpose."""
    set_cookie(response, name, _signer(purpose).dumps(value), max_age=max_age)


def read_signed(request: Request, name: str, purpose: str) -> str | None:
    """Return the value of a signed cookie; None if it is missing, changed or for another purpose."""
    try:
        return _signer(purpose).loads(request.cookies.get(cookie_name(name), ""))
    except BadData:
        return None


def _signer(purpose: str) -> URLSafeSerializer:
    return URLSafeSerializer(settings().key, salt=purpose)


PROXY_HEADERS = {
    "forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "x-original-host", "true-client-ip",
    "x-envoy-external-address", "cf-connecting-ip", "cf-ray", "fastly-client-ip",
}  # fmt: skip


def is_proxied(request: Request) -> bool:
    """Return whether a request came through a proxy, judged by the headers that proxies add."""
    return any(name in PROXY_HEADERS or name.startswith("x-forwarded") for name in request.headers)


def is_local(request: Request) -> bool:
    """Return whether only this machine can reach the server: bound to loopback, no proxy, requested by a loopback name.

    The name in the address bar matters, because a foreign page can make its own name resolve to 127.0.0.1.
    """
    public = urlsplit(settings().public_url).hostname or "localhost"
    names = (settings().host, public, request.url.hostname or "")
    return not is_proxied(request) and all(is_loopback(name) for name in names)


def client_address(request: Request) -> str:
    """Return the address that a request came from, behind any trusted proxies."""
    return request.client.host if request.client else "unknown"


# --- browsers that have signed in before ---

BROWSER_SECONDS = 400 * 24 * 3600  # the longest that browsers keep a cookie


def _browser_cookie(username: str) -> str:
    return "browser_" + hashlib.sha256(username.encode()).hexdigest()[:12]


def known_browser(request: Request, username: str) -> str:
    """Return the id of this browser if it has signed in with this user name before, else ""."""
    username = username.strip().lower()
    return read_signed(request, _browser_cookie(username), f"browser:{username}") or ""


def know_browser(request: Request, response: Response, username: str) -> None:
    """Remember this browser, so that it can sign in with this user name despite failed guesses elsewhere."""
    id = known_browser(request, username) or secrets.token_hex(16)
    set_signed(response, _browser_cookie(username), f"browser:{username}", id, max_age=BROWSER_SECONDS)


# --- CSRF ---


def visit(request: Request) -> str:
    """Return what the CSRF token is bound to: the session cookie, or before sign-in a cookie for this browser."""
    if not hasattr(request.state, "visit"):
        cookies = request.cookies
        known = cookies.get(cookie_name("session")) or cookies.get(cookie_name("visit"))
        request.state.new_visit = not known
        request.state.visit = known or secrets.token_urlsafe(16)
    return request.state.visit


def csrf_token(request: Request) -> str:
    """Return the CSRF token for this browser's forms."""
    return csrf_of(visit(request))


def csrf_of(visit: str) -> str:
    """Return the CSRF token that is bound to a visit."""
    return hmac.new(settings().key, f"csrf:{visit}".encode(), hashlib.sha256).hexdigest()


async def check_csrf(request: Request) -> None:
    """Raise Forbidden for an unsafe request without the token; REST uses no cookies and needs none."""
    if request.method in SAFE_METHODS or request.url.path.startswith("/api/"):
        return
    given: object = request.headers.get("x-csrf-token")
    kind = request.headers.get("content-type", "")
    if given is None and kind.startswith(("application/x-www-form-urlencoded", "multipart/form-data")):
        given = (await request.form()).get("csrf_token")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), csrf_token(request).encode()):
        if request.url.path.startswith("/assignments/") and request.headers.get("sec-fetch-site") == "same-origin":
            request.state.draft_only = True  # same-origin according to the browser: the desk only saves the text
            return
        raise Forbidden(_("This form was loaded before you signed in or out. Go back, reload the page, and try again."))


def split_address(address: str) -> SplitResult | None:
    """Return the parts of an address from a header, or None if it is not an address."""
    try:
        return urlsplit(address)
    except ValueError:
        return None


def same_origin(headers: Headers) -> bool:
    """Return whether the browser says that the request comes from our pages; without such a header, True."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is None:
        return True
    named = split_address(origin)
    return named is not None and named.netloc in (headers.get("host"), urlsplit(settings().base_url).netloc)


def _keep(scope: Scope, status: int) -> str:
    """Return the Cache-Control value: forever for a static file addressed by its hash, revalidation otherwise."""
    if scope["path"].startswith("/static/"):
        return "public, max-age=31536000, immutable" if status == 200 and b"v=" in scope["query_string"] else "no-cache"
    return "private, no-cache"  # not no-store: the Back button must not lose typed text


class RequestGuard:
    """Refuses unsafe requests from other sites, answers failures, and sets the security headers on every response."""

    def __init__(self, app: ASGIApp, refuse: Callable[[Request, Exception], Response]):
        self.app = app
        self.refuse = refuse
        self.headers = dict(HEADERS)
        if https():
            self.headers["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started = too_large = broken = False

        async def guarded_send(message: Message) -> None:
            nonlocal started, too_large
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                # FastAPI's own response to an oversized body is two words of plain text; ours says what to do.
                too_large = message["status"] == 413 and headers.get("content-type", "").startswith("text/plain")
                if too_large:
                    return
                started = True
                if broken or message["status"] in (408, 413):  # nobody reads the rest of the body
                    headers["Connection"] = "close"
                for name, value in self.headers.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", _keep(scope, message["status"]))
            if not too_large:
                await send(message)

        async def answer(error: Exception) -> None:
            response = await run_in_threadpool(self.refuse, Request(scope, receive), error)
            await response(scope, receive, guarded_send)

        takes_cookies = scope["method"] not in SAFE_METHODS and not scope["path"].startswith("/api/")
        if takes_cookies and not same_origin(Headers(scope=scope)):
            message = _("This request came from another site and was refused. Try again on Plumbline's own page.")
            return await answer(Forbidden(message))
        try:
            await self.app(scope, receive, guarded_send)
        except Exception as error:
            if not started:
                broken = True
                await answer(error)
            raise
        if too_large:
            too_large = False
            await answer(HTTPException(413))
