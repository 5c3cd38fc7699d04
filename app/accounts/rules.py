"""Rules for accounts, sessions and API tokens; every action of an admin leaves an audit entry."""

import hmac
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.accounts import queries
from app.accounts.passwords import PasswordHash, verify
from app.accounts.tables import Account, AccountKind, ApiToken, AuditEntry, Role, Scope, SignInSession
from app.config import settings
from app.database import changed_rows
from app.errors import BadInput, Conflict, NotFound
from app.kit import surface
from app.kit.i18n import N_, languages
from app.kit.i18n import gettext as _
from training.contract.records import Pool

TOKEN_PREFIX, LONGEST_TOKEN_DAYS = "plumb_", 3650
POOL_KEPT = N_("Answers given so far keep the pool they were given in.")
_CHANGING = ("name", "role", "pool", "language", "disabled_at", "avoids_sensitive", "paused")


def record(session: Session, account: Account | None, action: str, subject: str = "", **detail: object) -> None:
    """Write an audit entry: who did what to which object, and from where; `account` is None for actions without one."""
    account_id, door = account.id if account else None, surface.current.get()
    session.add(AuditEntry(account_id=account_id, action=action, subject=subject, detail=detail, surface=door))


def create_account(
    session: Session,
    *,
    username: str,
    name: str,
    password: PasswordHash,
    role: Role = Role.LABELER,
    pool: Pool = Pool.TRAIN,
    kind: AccountKind = AccountKind.PERSON,
    language: str = "en",
    by: Account | None = None,
) -> Account:
    """Create an account; `password` is a hash that passwords.hash_password() made outside the transaction."""
    if not isinstance(password, PasswordHash):
        raise ValueError("pass hash_password(password), called before the transaction: hashing takes long")
    username = username.strip().lower()
    if not re.fullmatch(r"[a-z0-9](?:[a-z0-9._@+-]{0,78}[a-z0-9])?", username):
        raise BadInput(
            _("“%(username)s” cannot be a user name: use 1 to 80 letters a-z and digits, with . _ @ + - between them.")
            % {"username": username},
            field="username",
        )
    account = Account(
        username=username,
        name=_known_name(name),
        password_hash=str(password),
        role=Role(role),
        pool=Pool(pool),
        kind=AccountKind(kind),
        language=_known_language(language),
    )
    try:
        with session.begin_nested():
            session.add(account)
    except IntegrityError as error:
        raise Conflict(
            _("An account “%(username)s” already exists; choose another user name.") % {"username": username},
            field="username",
        ) from error
    record(session, by, "account.create", account.public_id, username=username, role=account.role, pool=account.pool)
    return account


def change_account(
    session: Session,
    account: Account,
    *,
    by: Account | None,
    name: str | None = None,
    role: Role | None = None,
    pool: Pool | None = None,
    language: str | None = None,
    disabled: bool | None = None,
    avoids_sensitive: bool | None = None,
    paused: bool | None = None,
) -> Account:
    """Change the given fields; disabling also ends sessions and revokes tokens. Raises Conflict for the last admin."""
    # Lock all admins, so that the last two cannot step down at the same time.
    session.execute(select(Account.id).where(Account.role == Role.ADMIN).order_by(Account.id).with_for_update())
    account = session.get_one(Account, account.id, populate_existing=True)
    before = {key: getattr(account, key) for key in _CHANGING}
    if name is not None:
        account.name = _known_name(name)
    if role is not None:
        account.role = Role(role)
    if pool is not None:
        account.pool = Pool(pool)
    if language is not None:
        account.language = _known_language(language)
    if avoids_sensitive is not None:
        account.avoids_sensitive = avoids_sensitive
    if paused is not None:
        account.paused = paused
    if disabled is not None and disabled != bool(account.disabled_at):
        account.disabled_at = datetime.now(UTC) if disabled else None
    session.flush()
    if before["role"] is Role.ADMIN and not queries.has_admin(session, with_demo=True):
        raise Conflict(
            _("“%(username)s” is the last admin; make another account an admin first.") % {"username": account.username}
        )
    if account.disabled_at:
        close_all_sessions(session, account)
        revoke_all_tokens(session, account)
    if changed := {key: str(getattr(account, key)) for key, value in before.items() if getattr(account, key) != value}:
        record(session, by, "account.change", account.public_id, **changed)
    return account


def check_sign_in(account: Account | None, password: str, *, local: bool) -> tuple[Account, PasswordHash | None]:
    """Return the account, and a new hash if its old one is weaker; raise BadInput for wrong credentials, not why.

    Call it outside any transaction, because it hashes. `local`: only this machine can reach the server.
    """
    right, renewed = verify(password, account.password_hash if account else None)
    if not account or not right or account.disabled_at:
        raise BadInput(_("The user name or password is wrong."), field="password")
    if account.kind is AccountKind.DEMO and not local:
        raise BadInput(
            _("Demo accounts can sign in only while Plumbline is bound to this machine (PLUMBLINE_HOST=127.0.0.1)."),
            field="username",
        )
    return account, renewed


def record_failed_sign_in(session: Session, account: Account | None, address: str) -> None:
    """Record a failed sign-in without the typed text, which may be a password in the wrong field."""
    record(session, None, "sign_in.fail", account.public_id if account else "", address=address)


def open_session(session: Session, account: Account, *, replaces: str | None = None) -> str:
    """Open a session, replacing the one with the secret `replaces`; returns the random secret for the cookie."""
    now = datetime.now(UTC)
    if replaces:
        close_session(session, replaces)
    # Delete long expired sessions here, so that no periodic cleanup is needed.
    session.execute(delete(SignInSession).where(SignInSession.expires_at < now - queries.GRACE))
    secret = secrets.token_urlsafe(32)
    expires_at = now + timedelta(hours=settings().session_hours)
    session.add(SignInSession(token_sha256=queries.sha256(secret), account_id=account.id, expires_at=expires_at))
    session.flush()
    return secret


def close_session(session: Session, secret: str) -> None:
    """Sign out: delete the session, which invalidates its cookie."""
    session.execute(delete(SignInSession).where(SignInSession.token_sha256 == queries.sha256(secret)))


def close_all_sessions(session: Session, account: Account, *, but: str | None = None) -> int:
    """End all sessions of the account except the one with the secret `but`; returns how many ended."""
    query = delete(SignInSession).where(SignInSession.account_id == account.id)
    if but:
        query = query.where(SignInSession.token_sha256 != queries.sha256(but))
    return changed_rows(session, query)


def sign_out_everywhere(
    session: Session,
    account: Account,
    *,
    by: Account | None,
    keep: str | None = None,
    keep_tokens: bool = False,
    action: str = "account.sign_out",
) -> None:
    """End all sessions except the one with the secret `keep`, and revoke the API tokens unless `keep_tokens`."""
    ended = close_all_sessions(session, account, but=keep)
    revoked = 0 if keep_tokens else revoke_all_tokens(session, account)
    record(session, by, action, account.public_id, sessions=ended, tokens=revoked)


def set_password(
    session: Session,
    account: Account,
    password: PasswordHash,
    *,
    by: Account | None,
    keep: str | None = None,
    keep_tokens: bool = False,
) -> None:
    """Set a new password; end sessions and revoke API tokens as sign_out_everywhere() does."""
    session.execute(update(Account).where(Account.id == account.id).values(password_hash=str(password)))
    sign_out_everywhere(session, account, by=by, keep=keep, keep_tokens=keep_tokens, action="account.password")


def create_token(
    session: Session,
    account: Account,
    *,
    name: str,
    scopes: Sequence[str],
    days: int | None = 90,
    by: Account | None = None,
) -> tuple[ApiToken, str]:
    """Create an API token; returns it and its secret, which is not stored. `days=0`: never expires, admins only."""
    if not 1 <= len(name.strip()) <= 120:
        raise BadInput(
            _("Give the token a name of 1 to 120 characters, so that you can recognize it later."), field="name"
        )
    known = [scope.value for scope in Scope]
    if not scopes or (unknown := [scope for scope in scopes if scope not in known]):
        raise BadInput(
            _("Scopes: “%(given)s”; choose one or more of %(known)s.")
            % {"given": ", ".join(unknown) if scopes else "", "known": ", ".join(known)},
            field="scopes",
        )
    if account.role is not Role.ADMIN and set(scopes) - {Scope.WORK}:
        raise BadInput(_("A labeler's token can have only the scope “work”."), field="scopes")
    least = 0 if by is None or by.role is Role.ADMIN else 1
    if days is None or not least <= days <= LONGEST_TOKEN_DAYS:
        raise BadInput(
            _("Choose how many days the token is valid, 1 to %(most)d. Only an admin may choose 0: never expires.")
            % {"most": LONGEST_TOKEN_DAYS},
            field="days",
        )
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    token = ApiToken(
        account_id=account.id,
        name=name.strip(),
        prefix=secret[: len(TOKEN_PREFIX) + 4],
        token_sha256=queries.sha256(secret),
        scopes=sorted(set(scopes), key=known.index),
        expires_at=datetime.now(UTC) + timedelta(days=days) if days else None,
    )
    session.add(token)
    session.flush()
    record(session, by, "token.create", token.public_id, of=account.username, scopes=token.scopes)
    return token, secret


def revoke_all_tokens(session: Session, account: Account) -> int:
    """Revoke every API token of the account; returns how many were still valid."""
    query = update(ApiToken).where(ApiToken.account_id == account.id, ApiToken.revoked_at.is_(None))
    return changed_rows(session, query.values(revoked_at=datetime.now(UTC)))


def revoke_token(session: Session, account: Account, public_id: str, *, by: Account | None = None) -> None:
    """Revoke one of the account's tokens, or raise NotFound."""
    done = changed_rows(
        session,
        update(ApiToken)
        .where(ApiToken.public_id == public_id, ApiToken.account_id == account.id, ApiToken.revoked_at.is_(None))
        .values(revoked_at=datetime.now(UTC)),
    )
    if not done:
        raise NotFound(_("Token not found, or it has already been revoked."))
    record(session, by, "token.revoke", public_id, of=account.username)


def _known_name(name: str) -> str:
    if not 1 <= len(name.strip()) <= 120:
        raise BadInput(_("The name must have 1 to 120 characters."), field="name")
    return name.strip()


def _known_language(code: str) -> str:
    if code not in languages():
        raise BadInput(
            _("“%(code)s” is not a supported language; choose one of %(known)s.")
            % {"code": code, "known": ", ".join(languages())},
            field="language",
        )
    return code


def first_run_code() -> str:
    """Return the code that opens the first-run page from other machines; the console shows it until an admin exists."""
    return hmac.new(settings().key, b"first-run", "sha256").hexdigest()[:12]


def is_first_run_code(code: str) -> bool:
    """Return whether `code` is the one from first_run_code()."""
    return hmac.compare_digest(code.strip().encode(), first_run_code().encode())


def first_admin(session: Session, *, username: str, name: str, password: PasswordHash) -> Account:
    """Create the first admin; raises NotFound if one exists."""
    if queries.has_admin(session):
        raise NotFound(_("There is already an admin; ask them for an account."))
    return create_account(session, username=username, name=name, password=password, role=Role.ADMIN)


def cookie_seconds() -> int:
    """Return the session cookie's lifetime: it outlasts the session, so that a late post is attributed to its owner."""
    return int(settings().session_hours * 3600 + queries.GRACE.total_seconds())
