"""Accounts, their sessions and API tokens, and the audit trail."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.database import Base, JSONColumn, UTCDateTime, choice, public_id, utc_now
from app.kit.surface import Surface
from training.contract.records import Pool


class Role(StrEnum):
    """What an account may do."""

    LABELER = "labeler"  # works on assignments
    ADMIN = "admin"  # runs rounds, jobs and accounts


class AccountKind(StrEnum):
    """Who uses an account."""

    PERSON = "person"
    SIMULATED = "simulated"  # a program; its answers are marked as simulated everywhere
    DEMO = "demo"  # exists only for the demo; signs in only while the server is bound to loopback


class SurveyState(StrEnum):
    """Whether an account was asked to take the voluntary survey; whether and what they answered is never stored."""

    NOT_ASKED = "not_asked"
    OFFERED = "offered"  # the desk asks once
    ASKED = "asked"


class Scope(StrEnum):
    """What an API token can be used for; every scope except `work` needs an admin's account."""

    WORK = "work"  # a labeler's day: assignments, demonstrations, comparisons
    READ = "read"  # read everything
    WRITE = "write"  # prompts, policies, completions, rounds, snapshots
    JOBS = "jobs"  # start and cancel jobs and plans
    ACCOUNTS = "accounts"  # people and their tokens; implies all other scopes, since it can create tokens with them


class Account(Base):
    """A person or program that signs in."""

    __tablename__ = "accounts"

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=public_id)
    username: Mapped[str] = mapped_column(String(80), unique=True)  # lower case
    name: Mapped[str] = mapped_column(String(120))
    password_hash: Mapped[str] = mapped_column(Text)
    role: Mapped[Role] = mapped_column(choice(Role))
    pool: Mapped[Pool] = mapped_column(choice(Pool), default=Pool.TRAIN)
    kind: Mapped[AccountKind] = mapped_column(choice(AccountKind), default=AccountKind.PERSON)
    language: Mapped[str] = mapped_column(String(16), default="en")
    avoids_sensitive: Mapped[bool] = mapped_column(default=False)  # gets no prompts marked as sensitive
    paused: Mapped[bool] = mapped_column(default=False)  # can sign in, but gets no new assignments
    survey: Mapped[SurveyState] = mapped_column(choice(SurveyState), default=SurveyState.NOT_ASKED)
    disabled_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())


class SignInSession(Base):
    """A signed-in browser; only the hash of its random id is stored."""

    __tablename__ = "sign_in_sessions"

    id: Mapped[int] = mapped_column(primary_key=True)
    token_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime)
    last_used_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())  # accurate to a few minutes
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())
    account: Mapped[Account] = relationship()


class ApiToken(Base):
    """A bearer token for the REST API, with scopes; only its hash is stored."""

    __tablename__ = "api_tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=public_id)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(120))
    prefix: Mapped[str] = mapped_column(String(16))
    token_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[str]] = mapped_column(JSONColumn)
    expires_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())
    account: Mapped[Account] = relationship()


class AuditEntry(Base):
    """Who did what to which object; never changed."""

    __tablename__ = "audit_entries"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now(), index=True)
    account_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id", ondelete="SET NULL"))
    action: Mapped[str] = mapped_column(String(80))  # "round.open"
    subject: Mapped[str] = mapped_column(String(120), default="")  # public id of the object
    detail: Mapped[dict] = mapped_column(JSONColumn, default=dict)
    surface: Mapped[Surface | None] = mapped_column(choice(Surface))  # None: from a version that did not record it
