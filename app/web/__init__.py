"""The HTTP glue: who is asking, pages and fragments, redirects with a note, errors as a page or problem details."""

import base64
import hashlib
import hmac
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated
from urllib.parse import quote

from fastapi import Form, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from sqlalchemy import update
from sqlalchemy.exc import DataError, OperationalError
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException

from app.accounts import queries
from app.accounts.tables import Account, AccountKind, ApiToken, Role, SignInSession
from app.config import ROOT
from app.database import reading, transaction
from app.errors import Forbidden, NotFound, NotSignedIn, PlumblineError
from app.kit import clock, disk, i18n
from app.kit.i18n import gettext as _
from app.kit.text import UNSTORABLE, TypedText, typed
from app.web.security import cookie_name, csrf_token, delete_cookie, is_local, set_cookie, sign, split_address
from app.web.text import as_written, is_plain, markdown
from app.web.unseen import excerpt, visible

NOTED_EVERY = timedelta(minutes=10)  # that a session or a token is used
TEMPLATES = ROOT / "templates"
STATIC = ROOT / "static"
FormText = Annotated[TypedText, Form(max_length=400)]  # a one-line field of a form


# --- who is asking ---


def signed_in(request: Request) -> Account:
    """The person signed in, as a detached row; raises NotSignedIn."""
    if not hasattr(request.state, "account"):
        found = _session(request)
        request.state.account = found.account if found and queries.ends_at(found) > datetime.now(UTC) else None
        if request.state.account is not None and not _asks_for_news(request):
            _note_use(found)
    if request.state.account is None:
        raise NotSignedIn(_("Please sign in to go on."))
    i18n.set_language(request.state.account.language)
    return request.state.account


def _asks_for_news(request: Request) -> bool:
    """Whether a page asks by itself, which is no use of a session."""
    streams = "text/event-stream" in request.headers.get("accept", "")
    return request.method == "GET" and (is_htmx(request) or streams)


def _session(request: Request) -> SignInSession | None:
    """The session of the request's cookie, expired or not, where its account may be used from here; read once."""
    if not hasattr(request.state, "session"):
        found = None
        if secret := request.cookies.get(cookie_name("session")):
            with reading() as session:
                found = queries.session_of(session, secret)
        request.state.session = found if found and _may_be_used(request, found.account) else None
    return request.state.session


def session_account(request: Request) -> Account | None:
    """Whose session this is, expired ones too: who may send a large form, before it is read."""
    found = _session(request)
    return found and found.account


def _may_be_used(request: Request, account: Account) -> bool:
    """Whether the account is no demo account, whose password is known, or only this machine reaches the server."""
    return account.kind is not AccountKind.DEMO or is_local(request)


def still_signed_in(request: Request) -> Account:
    """The person signed in, read again: a long answer asks before each part; raises NotSignedIn."""
    del request.state.account, request.state.session
    return signed_in(request)


def admin(request: Request) -> Account:
    """The admin signed in; for anyone else the page does not exist."""
    account = signed_in(request)
    if account.role is not Role.ADMIN:
        raise NotFound(_("There is no such page."))
    return account


def expired_session(request: Request) -> Account | None:
    """Whose session this was, some days after it expired; it authorises nothing but keeping a draft of theirs."""
    found, now = _session(request), datetime.now(UTC)
    return found.account if found and queries.ends_at(found) <= now < queries.ends_at(found) + queries.GRACE else None


def api_account(request: Request, scope: str | None) -> Account:
    """The account of the bearer token, which must have this scope (any but `work` needs an admin); None is any."""
    kind, _space, secret = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not secret:
        raise NotSignedIn(_("Send an API token: Authorization: Bearer plumb_… (make one on your account page)."))
    token = _token(request, secret.strip())
    if token is None or not _may_be_used(request, token.account):
        raise NotSignedIn(_("This API token is unknown, revoked or expired; make a new one on your account page."))
    account = token.account
    i18n.set_language(account.language)
    if scope and scope not in token.scopes:
        raise Forbidden(
            _("This needs a token with the scope “%(scope)s”; yours has: %(scopes)s.")
            % {"scope": scope, "scopes": ", ".join(token.scopes)}
        )
    if scope not in (None, "work") and account.role is not Role.ADMIN:
        raise Forbidden(_("The scope “%(scope)s” needs an admin's account.") % {"scope": scope})
    _note_use(token)
    request.state.account = account
    return account


def _token(request: Request, secret: str) -> ApiToken | None:
    """The valid token with this secret; read once, before the body."""
    if not hasattr(request.state, "token"):
        with reading() as session:
            request.state.token = queries.live_token(session, secret)
    return request.state.token


def _note_use(used: ApiToken | SignInSession) -> None:
    # The one write that a GET may cause: so that sessions end when they are idle, and unused tokens can be found.
    now = datetime.now(UTC)
    if used.last_used_at is None or now - used.last_used_at > NOTED_EVERY:
        # What is asked for does not wait for it: the disk may be full, or the database busy.
        with suppress(OperationalError), transaction() as session:
            # One column of the row as it stands: it may have been revoked since it was read.
            kind = type(used)
            session.execute(update(kind).where(kind.id == used.id).values(last_used_at=now))


async def form_data(request: Request) -> FormData:
    """A dependency for pages with dynamic fields: the parsed form (it touches no database)."""
    form = await request.form()
    return FormData([(typed(name), typed(value)) for name, value in form.multi_items()])


def is_htmx(request: Request) -> bool:
    """Whether htmx asks, so that a fragment is wanted."""
    return request.headers.get("hx-request") == "true"


# --- templates ---


@lru_cache
def environment() -> Environment:
    """The templates: everything escaped, a name that is not given is an error."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n", "jinja2.ext.do"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.install_gettext_callables(i18n.gettext, i18n.ngettext, newstyle=True)
    made.filters.update(as_written=as_written, excerpt=excerpt, visible=visible)
    made.globals.update(
        markdown=markdown,
        is_plain=is_plain,
        static=static_url,
        when=when,
        time_of_day=clock.time_of_day,
        languages=i18n.languages,
        language_name=i18n.language_name,
        name_of_language=i18n.name_of_language,
    )
    return made


@lru_cache
def _static_hash(path: str) -> str:
    return hashlib.sha256((STATIC / path).read_bytes()).hexdigest()[:12]


def static_url(path: str) -> str:
    """The address of a file in static/, which changes with its content."""
    return f"/static/{path}?v={_static_hash(path)}"


def when(moment: datetime | None, otherwise: str = "–") -> Markup:
    """A time for people and machines: <time datetime="...">2026-11-21 09:30 CET</time>."""
    if moment is None:
        return Markup(escape(otherwise))
    return Markup('<time datetime="{}">{}</time>').format(
        moment.isoformat(), f"{clock.local(moment):%Y-%m-%d %H:%M %Z}"
    )


def _context(request: Request, account: Account | None, context: dict) -> dict:
    token = csrf_token(request)
    return {
        "request": request,
        "path": request.url.path,
        "account": account,
        "is_admin": account is not None and account.role is Role.ADMIN,
        "language": i18n.language(),
        "csrf_token": token,
        "csrf_field": lambda: Markup('<input type="hidden" name="csrf_token" value="{}">').format(token),
        "path_for": lambda name, **parts: str(request.app.url_path_for(name, **parts)),
        "note": _read_note(request),
        **context,
    }


def _respond(request: Request, html: str, status: int) -> HTMLResponse:
    response = HTMLResponse(html, status_code=status, headers={"Vary": "Cookie, HX-Request"})
    if getattr(request.state, "new_visit", False):
        set_cookie(response, "visit", request.state.visit)
    return response


def page(request: Request, template: str, account: Account | None = None, status: int = 200, **context) -> HTMLResponse:
    """A whole page from its template."""
    html = environment().get_template(template).render(_context(request, account, context))
    response = _respond(request, html, status)
    if cookie_name("note") in request.cookies:
        delete_cookie(response, "note")
    return response


def fragment(
    request: Request, template: str, block: str, account: Account | None = None, status: int = 200, **context
) -> HTMLResponse:
    """One named block of a page's template; what the block needs of imported macros it imports itself."""
    found = environment().get_template(template)
    rendered = found.blocks[block](found.new_context(_context(request, account, context)))
    return _respond(request, "".join(rendered), status)


# --- redirects and notes ---


def redirect(url: str) -> RedirectResponse:
    """See other: after a post, so that reloading repeats nothing."""
    return RedirectResponse(url, status_code=303)


def local_path(url: str | None, otherwise: str = "/") -> str:
    """The url if it is a path of ours, so that nobody is sent elsewhere."""
    if not url or not url.startswith("/") or url[1:2] in ("/", "\\") or any(ord(letter) < 32 for letter in url):
        return otherwise
    return url


def flash(response: Response, message: str) -> None:
    """Show a note on the next page, once."""
    text = base64.urlsafe_b64encode(json.dumps(message).encode()).decode()
    set_cookie(response, "note", f"{sign('note', text)}.{text}", max_age=60)


def _read_note(request: Request) -> str | None:
    signature, _dot, text = request.cookies.get(cookie_name("note"), "").partition(".")
    if not text or not hmac.compare_digest(signature.encode(), sign("note", text).encode()):
        return None
    return json.loads(base64.urlsafe_b64decode(text))


# --- errors ---


def error_response(request: Request, error: Exception) -> Response:
    """An error as problem details for REST, a short alert for htmx, a page for people."""
    account = _whose(request, error)
    if account:
        i18n.set_language(account.language)
    problem = _problem(error)
    problem["request_id"] = getattr(request.state, "request_id", None)
    status, headers = problem["status"], dict(getattr(error, "headers", None) or {})
    if hasattr(error, "retry_after_seconds"):
        headers["Retry-After"] = str(error.retry_after_seconds)
    if request.url.path.startswith("/api/"):
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        body = {"type": "about:blank", **{key: value for key, value in problem.items() if value is not None}}
        return JSONResponse(body, status, headers, media_type="application/problem+json")
    if isinstance(error, NotSignedIn):
        return _to_sign_in(request)
    if is_htmx(request):
        # htmx swaps errors too; they belong into the live region, not into what the person was working on.
        response = fragment(request, "error.html", "alert", account, status, problem=problem)
        headers |= {"HX-Retarget": "#notes", "HX-Reswap": "innerHTML"}
    else:
        response = page(request, "error.html", account, status, problem=problem)
    response.headers.update(headers)
    return response


def _whose(request: Request, error: Exception) -> Account | None:
    """Who meets the error, whose page speaks their language and leads on; where we broke, nobody is looked up."""
    theirs = isinstance(error, HTTPException | RequestValidationError | PlumblineError)
    if theirs and not request.url.path.startswith(("/api/", "/static/")):
        with suppress(NotSignedIn):
            return signed_in(request)
    return getattr(request.state, "account", None)


def _problem(error: Exception) -> dict:
    if disk.is_full(error):
        detail = _(
            "Plumbline cannot save anything, because its disk is full or fails. Keep this page open, ask an admin to "
            "free room (“plumbline doctor” says where), and try again."
        )
        return {"title": _("The disk is full"), "status": 507, "detail": detail}
    if isinstance(error, PlumblineError):
        return {
            "title": _(error.title),
            "status": error.status,
            "detail": _sendable(error.message),
            "field": error.field and _sendable(error.field),
            "current": getattr(error, "current", None),
        }
    if isinstance(error, RequestValidationError):
        errors = [
            {
                "field": _sendable(".".join(str(part) for part in found["loc"][1:]) or str(found["loc"][0])),
                "detail": _sendable(found["msg"]),
            }
            for found in error.errors()
        ]
        detail = "; ".join(f"{found['field']}: {found['detail']}" for found in errors)
        alone = errors[0]["field"] if len(errors) == 1 else None
        return {
            "title": _("Please check what you entered"),
            "status": 422,
            "detail": detail,
            "field": alone,
            "errors": errors,
        }
    if isinstance(error, DataError):  # the database refuses a value that no rule looked at
        detail = _("Some text holds a NUL character, or a number is too large to be stored; take it out.")
        return {"title": _("Please check what you entered"), "status": 422, "detail": detail}
    if isinstance(error, HTTPException):
        titles = {404: _("Not found"), 405: _("Not possible here"), 408: _("Too slow"), 413: _("Too large")}
        details = {
            404: _("There is nothing at this address. Check it, or start again from the first page."),
            405: _("This address does not take this kind of request."),
            408: _("What you sent did not arrive in time. Send it again, or less at once."),
            413: _("What you sent is larger than is accepted here. Send less at once."),
        }
        status = error.status_code
        return {
            "title": titles.get(status, _("This could not be done")),
            "status": status,
            "detail": details.get(status, str(error.detail)),
        }
    detail = _("Something broke on our side; it is written in the log under the number below. Try again in a moment.")
    return {"title": _("Something went wrong"), "status": 500, "detail": detail}


def _sendable(message: str) -> str:
    """Return a message that may quote what was refused for not being text."""
    return UNSTORABLE.sub("\ufffd", message)


def _to_sign_in(request: Request) -> Response:
    if is_htmx(request) or request.method != "GET":
        # Back to the page that asked, since the address of a post cannot be opened.
        came_from = split_address(request.headers.get("hx-current-url") or request.headers.get("referer") or "")
        back = came_from.path + (f"?{came_from.query}" if came_from.query else "") if came_from else "/"
    else:
        back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    url = f"/sign-in?next={quote(local_path(back))}"
    if is_htmx(request):
        return Response(status_code=401, headers={"HX-Redirect": url})
    return redirect(url)
