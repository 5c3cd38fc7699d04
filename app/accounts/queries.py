"""Queries for accounts, sessions, tokens and the audit trail."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, String, bindparam, func, or_, select
from sqlalchemy.orm import Session, contains_eager, joinedload

from app.accounts.tables import Account, AccountKind, ApiToken, AuditEntry, Role, SignInSession
from app.config import settings
from app.database import as_read, run, utc_now
from app.errors import NotFound
from app.kit import cursors
from app.kit.i18n import gettext as _

# How long an expired session still identifies its owner, so that text posted late is saved as a draft.
GRACE = timedelta(days=7)


def sha256(secret: str) -> str:
    """Hash a random secret for storage; 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def by_username(session: Session, username: str) -> Account | None:
    """Return the account with this user name, or None."""
    return session.scalar(select(Account).where(Account.username == username.strip().lower()))


def get(session: Session, public_id: str) -> Account:
    """Return the account with this public id, or raise NotFound."""
    account = session.scalar(select(Account).where(Account.public_id == public_id))
    if account is None:
        raise NotFound(_("Account not found."))
    return account


def session_of(session: Session, token: str) -> SignInSession | None:
    """Return a cookie's session, expired or not, with its account; None if unknown or the account is disabled."""
    return session.scalar(
        select(SignInSession)
        .join(SignInSession.account)
        .options(joinedload(SignInSession.account))
        .where(SignInSession.token_sha256 == sha256(token), Account.disabled_at.is_(None))
    )


def ends_at(signed_in: SignInSession) -> datetime:
    """Return when a session ends if it is not used: when it expires, or earlier when it has been idle too long."""
    return min(signed_in.expires_at, signed_in.last_used_at + timedelta(hours=settings().idle_hours))


def live_sessions(session: Session, account: Account) -> list[SignInSession]:
    """Return the account's sessions that have not ended, newest first."""
    query = select(SignInSession).where(SignInSession.account_id == account.id).order_by(SignInSession.id.desc())
    return [one for one in session.scalars(query) if ends_at(one) > datetime.now(UTC)]


def live_token(session: Session, token: str) -> ApiToken | None:
    """Return the API token with this secret, with its account; None unless both are valid."""
    return session.scalar(_live_token(), {"sha256": sha256(token)})


def live_token_and(
    session: Session, token: str, *columns: ColumnElement, locks: bool
) -> tuple[ApiToken, Sequence[Any]] | None:
    """Return the token as `live_token` does, of no session, and columns that may refer to Account.

    With `locks`, other requests of the account that lock it wait until commit; the columns may be a moment older.
    """
    found = run(session, _token_columns(*columns, locks=locks), {"sha256": sha256(token)}).first()
    if found is None:
        return None
    ends = len(_TOKEN), len(_TOKEN) + len(_ACCOUNT)
    made = as_read(ApiToken(**dict(zip(_TOKEN, found[: ends[0]], strict=True))))
    made.account = as_read(Account(**dict(zip(_ACCOUNT, found[ends[0] : ends[1]], strict=True))))
    return made, found[ends[1] :]


_TOKEN, _ACCOUNT = ([column.key for column in table.__mapper__.column_attrs] for table in (ApiToken, Account))


@cache
def _token_columns(*columns: ColumnElement, locks: bool) -> Select:
    """Select the same as columns, which take less time to read than objects."""
    read = [getattr(ApiToken, name) for name in _TOKEN] + [getattr(Account, name) for name in _ACCOUNT]
    found = _live(select(*read, *columns).select_from(ApiToken).join(ApiToken.account))
    return found.with_for_update(key_share=True, of=Account) if locks else found


@cache  # building it costs more than running it
def _live_token() -> Select:
    return _live(select(ApiToken).join(ApiToken.account).options(contains_eager(ApiToken.account)))


def _live(tokens: Select) -> Select:
    return tokens.where(
        ApiToken.token_sha256 == bindparam("sha256", type_=String),
        ApiToken.revoked_at.is_(None),
        or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > utc_now()),
        Account.disabled_at.is_(None),
    )


def tokens_of(session: Session, account: Account) -> list[ApiToken]:
    """Return an account's API tokens, newest first, except revoked ones."""
    return list(
        session.scalars(
            select(ApiToken)
            .where(ApiToken.account_id == account.id, ApiToken.revoked_at.is_(None))
            .order_by(ApiToken.id.desc())
        )
    )


def accounts(
    session: Session, *, text: str = "", cursor: str | None = None, limit: int = 100
) -> tuple[list[Account], str | None]:
    """Return a page of the accounts whose name or user name contains the text, newest first, and the next cursor."""
    query = select(Account)
    if text:
        text = text.strip().lower()
        columns = (Account.username, func.lower(Account.name))
        query = query.where(or_(*(column.contains(text, autoescape=True) for column in columns)))
    return cursors.page(session, query, Account, cursor, limit)


def has_admin(session: Session, *, with_demo: bool = False) -> bool:
    """Return whether an admin exists who can sign in; demo admins count only if `with_demo`."""
    kinds = [AccountKind.PERSON, *([AccountKind.DEMO] if with_demo else [])]  # not SIMULATED: nobody has its password
    query = select(Account.id).where(Account.role == Role.ADMIN, Account.disabled_at.is_(None), Account.kind.in_(kinds))
    return session.scalar(query.limit(1)) is not None


def is_empty(session: Session) -> bool:
    """Return whether no account exists."""
    return session.scalar(select(Account.id).limit(1)) is None


def demo_people(session: Session) -> list[Account]:
    """Return the demo accounts that may sign in, oldest first."""
    query = select(Account).where(Account.kind == AccountKind.DEMO, Account.disabled_at.is_(None))
    return list(session.scalars(query.order_by(Account.id)))


def audit(
    session: Session, *, subject: str | None = None, before: int | None = None, limit: int = 100
) -> list[Row[AuditEntry, Account]]:
    """Return audit entries with the account that acted, newest first."""
    query = select(AuditEntry, Account).outerjoin(Account, AuditEntry.account_id == Account.id)
    if subject is not None:
        query = query.where(AuditEntry.subject == subject)
    if before is not None:
        query = query.where(AuditEntry.id < before)
    return list(session.execute(query.order_by(AuditEntry.id.desc()).limit(limit)))
