"""Authentication: the person behind a session cookie, or the account of a bearer token."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import Request
from sqlalchemy import ColumnElement, Update, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.accounts import queries
from app.accounts.tables import Account, AccountKind, ApiToken, Role, SignInSession
from app.database import reading, transaction
from app.errors import Forbidden, NotFound, NotSignedIn
from app.kit import i18n
from app.kit.i18n import gettext as _
from app.web.responses import is_htmx
from app.web.security import cookie_name, is_local

NOTED_EVERY = timedelta(minutes=10)  # how often the use of a session or token is recorded


def signed_in(request: Request) -> Account:
    """Return the signed-in account as a detached row; raise NotSignedIn."""
    if not hasattr(request.state, "account"):
        found = _session(request)
        if found and queries.ends_at(found) <= datetime.now(UTC):
            found = None
        request.state.account = found.account if found else None
        if found and not _asks_for_news(request):
            _note_use(found)
    if request.state.account is None:
        raise NotSignedIn(_("Please sign in to continue."))
    i18n.set_language(request.state.account.language)
    return request.state.account


def _asks_for_news(request: Request) -> bool:
    """Return whether a page polls by itself, which does not count as use of a session."""
    streams = "text/event-stream" in request.headers.get("accept", "")
    return request.method == "GET" and (is_htmx(request) or streams)


def _session(request: Request) -> SignInSession | None:
    """Return the session of the request's cookie, expired or not, if its account may be used from here; read once."""
    if not hasattr(request.state, "session"):
        found = None
        if secret := request.cookies.get(cookie_name("session")):
            with reading() as session:
                found = queries.session_of(session, secret)
        request.state.session = found if found and _may_be_used(request, found.account) else None
    return request.state.session


def session_account(request: Request) -> Account | None:
    """Return the account of the session, even an expired one: it may send a large form, checked before reading it."""
    found = _session(request)
    return found.account if found else None


def _may_be_used(request: Request, account: Account) -> bool:
    """Return whether the account may be used from here: demo accounts have known passwords and work only locally."""
    return account.kind is not AccountKind.DEMO or is_local(request)


def still_signed_in(request: Request) -> Account:
    """Read the signed-in account again, which a long response does before each part; raise NotSignedIn."""
    del request.state.account, request.state.session
    return signed_in(request)


def admin(request: Request) -> Account:
    """Return the signed-in admin; raise NotFound for anyone else, and NotSignedIn."""
    account = signed_in(request)
    if account.role is not Role.ADMIN:
        raise NotFound(_("Page not found."))
    return account


def expired_session(request: Request) -> Account | None:
    """Return the account of a session that expired within queries.GRACE; it permits nothing but saving a draft."""
    found, now = _session(request), datetime.now(UTC)
    return found.account if found and queries.ends_at(found) <= now < queries.ends_at(found) + queries.GRACE else None


def api_account(request: Request, scope: str | None) -> Account:
    """Return the bearer token's account, checking the scope (None: any); every scope except `work` needs an admin.

    Raises NotSignedIn or Forbidden.
    """
    token = _checked(request, _token(request, _secret(request)), scope)
    _note_use(token)
    return token.account


def working(
    request: Request, session: Session, *columns: ColumnElement, locks: bool = True
) -> tuple[Account, Sequence[Any]]:
    """Return the account of a bearer token with the scope `work`, checked within the request's own transaction.

    With `locks`, other requests of this labeler wait until commit. Also return the row of the columns, which may refer
    to Account and may be a moment older than the lock. Raises NotSignedIn or Forbidden.
    """
    found = queries.live_token_and(session, _secret(request), *columns, locks=locks)
    request.state.token = found and found[0]
    token = _checked(request, request.state.token, "work")
    if _is_noted_late(token):
        session.execute(_note(token))
    return token.account, found[1] if found else ()


def _secret(request: Request) -> str:
    kind, _space, secret = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not secret:
        raise NotSignedIn(_("Send an API token: Authorization: Bearer plumb_… (create one on your account page)."))
    return secret.strip()


def _checked(request: Request, token: ApiToken | None, scope: str | None) -> ApiToken:
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
    request.state.account = account
    return token


def _token(request: Request, secret: str) -> ApiToken | None:
    """Return the valid token with this secret; read once, before the body."""
    if not hasattr(request.state, "token"):
        with reading() as session:
            request.state.token = queries.live_token(session, secret)
    return request.state.token


def _note_use(used: ApiToken | SignInSession) -> None:
    # The only write that a GET may cause: it lets idle sessions end and unused tokens be found.
    if _is_noted_late(used):
        # The request does not fail on it: the disk may be full, or the database busy.
        with suppress(OperationalError), transaction() as session:
            session.execute(_note(used))


def _is_noted_late(used: ApiToken | SignInSession) -> bool:
    return used.last_used_at is None or datetime.now(UTC) - used.last_used_at > NOTED_EVERY


def _note(used: ApiToken | SignInSession) -> Update:
    # Only this column: the row may have been revoked since it was read.
    kind = type(used)
    noted = update(kind).where(kind.id == used.id).values(last_used_at=datetime.now(UTC))
    return noted.execution_options(synchronize_session=False)
