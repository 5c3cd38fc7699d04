"""Who is asking: the person behind a session's cookie, or the account of a bearer token."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

from fastapi import Request
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from app.accounts import queries
from app.accounts.tables import Account, AccountKind, ApiToken, Role, SignInSession
from app.database import reading, transaction
from app.errors import Forbidden, NotFound, NotSignedIn
from app.kit import i18n
from app.kit.i18n import gettext as _
from app.web.responses import is_htmx
from app.web.security import cookie_name, is_local

NOTED_EVERY = timedelta(minutes=10)  # that a session or a token is used


def signed_in(request: Request) -> Account:
    """The person signed in, as a detached row; raises NotSignedIn."""
    if not hasattr(request.state, "account"):
        found = _session(request)
        request.state.account = found.account if found and queries.ends_at(found) > datetime.now(UTC) else None
        if request.state.account is not None and not _asks_for_news(request):
            _note_use(found)
    if request.state.account is None:
        raise NotSignedIn(_("Please sign in to continue."))
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
        raise NotFound(_("Page not found."))
    return account


def expired_session(request: Request) -> Account | None:
    """Whose session this was, some days after it expired; it authorises nothing but keeping a draft of theirs."""
    found, now = _session(request), datetime.now(UTC)
    return found.account if found and queries.ends_at(found) <= now < queries.ends_at(found) + queries.GRACE else None


def api_account(request: Request, scope: str | None) -> Account:
    """The account of the bearer token, which must have this scope (any but `work` needs an admin); None is any."""
    kind, _space, secret = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not secret:
        raise NotSignedIn(_("Send an API token: Authorization: Bearer plumb_… (create one on your account page)."))
    token = _token(request, secret.strip())
    if token is None or not _may_be_used(request, token.account):
        raise NotSignedIn(_("This API token is unknown, revoked or expired; create a new one on your account page."))
    account = token.account
    i18n.set_language(account.language)
    if scope and scope not in token.scopes:
        raise Forbidden(
            _("This needs a token with the scope “%(scope)s”; yours has: %(scopes)s.")
            % {"scope": scope, "scopes": ", ".join(token.scopes)}
        )
    if scope not in (None, "work") and account.role is not Role.ADMIN:
        raise Forbidden(_("The scope “%(scope)s” needs an admin account.") % {"scope": scope})
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
