"""Reading accounts, sessions, tokens and the audit trail."""

import hashlib
from datetime import UTC, datetime, timedelta

from sqlalchemy import Row, func, or_, select
from sqlalchemy.orm import Session, joinedload

from app.accounts.tables import Account, AccountKind, ApiToken, AuditEntry, Role, SignInSession
from app.config import settings
from app.errors import NotFound
from app.kit import cursors
from app.kit.i18n import gettext as _

# How long an expired session still tells whose it was, so that what its owner posts is kept as a draft.
GRACE = timedelta(days=7)


def sha256(secret: str) -> str:
    """What is stored of a random secret; 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def by_username(session: Session, username: str) -> Account | None:
    """The account that signs in with this name."""
    return session.scalar(select(Account).where(Account.username == username.strip().lower()))


def get(session: Session, public_id: str) -> Account:
    """The account with this public id."""
    account = session.scalar(select(Account).where(Account.public_id == public_id))
    if account is None:
        raise NotFound(_("Account not found."))
    return account


def session_of(session: Session, token: str) -> SignInSession | None:
    """The session of this cookie, expired or not, with its account, unless that is disabled."""
    return session.scalar(
        select(SignInSession)
        .join(SignInSession.account)
        .options(joinedload(SignInSession.account))
        .where(SignInSession.token_sha256 == sha256(token), Account.disabled_at.is_(None))
    )


def ends_at(signed_in: SignInSession) -> datetime:
    """When a session ends unless it is used: at its latest end, or after having been idle."""
    return min(signed_in.expires_at, signed_in.last_used_at + timedelta(hours=settings().idle_hours))


def live_sessions(session: Session, account: Account) -> list[SignInSession]:
    """Where this account is signed in now, the newest first."""
    query = select(SignInSession).where(SignInSession.account_id == account.id).order_by(SignInSession.id.desc())
    return [one for one in session.scalars(query) if ends_at(one) > datetime.now(UTC)]


def live_token(session: Session, token: str) -> ApiToken | None:
    """The API token with this secret, with its account, while both are valid."""
    now = datetime.now(UTC)
    return session.scalar(
        select(ApiToken)
        .join(ApiToken.account)
        .options(joinedload(ApiToken.account))
        .where(
            ApiToken.token_sha256 == sha256(token),
            ApiToken.revoked_at.is_(None),
            or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > now),
            Account.disabled_at.is_(None),
        )
    )


def tokens_of(session: Session, account: Account) -> list[ApiToken]:
    """An account's API tokens, the newest first, revoked ones left out."""
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
    """Return one page of the accounts whose name or user name holds the text, the newest first, and the next cursor."""
    query = select(Account)
    if text:
        text = text.strip().lower()
        columns = (Account.username, func.lower(Account.name))
        query = query.where(or_(*(column.contains(text, autoescape=True) for column in columns)))
    return cursors.page(session, query, Account, cursor, limit)


def has_admin(session: Session, *, with_demo: bool = False) -> bool:
    """Whether there is an admin who can sign in; those who exist for the demo alone count only if asked for."""
    kinds = [AccountKind.PERSON, *([AccountKind.DEMO] if with_demo else [])]  # nobody has a simulated one's password
    query = select(Account.id).where(Account.role == Role.ADMIN, Account.disabled_at.is_(None), Account.kind.in_(kinds))
    return session.scalar(query.limit(1)) is not None


def is_empty(session: Session) -> bool:
    """Whether there is no account at all."""
    return session.scalar(select(Account.id).limit(1)) is None


def demo_people(session: Session) -> list[Account]:
    """Those of the demo who may sign in, in the order in which they were made."""
    query = select(Account).where(Account.kind == AccountKind.DEMO, Account.disabled_at.is_(None))
    return list(session.scalars(query.order_by(Account.id)))


def audit(
    session: Session, *, subject: str | None = None, before: int | None = None, limit: int = 100
) -> list[Row[AuditEntry, Account]]:
    """Audit entries with the account that acted, the newest first."""
    query = select(AuditEntry, Account).outerjoin(Account, AuditEntry.account_id == Account.id)
    if subject is not None:
        query = query.where(AuditEntry.subject == subject)
    if before is not None:
        query = query.where(AuditEntry.id < before)
    return list(session.execute(query.order_by(AuditEntry.id.desc()).limit(limit)))
