"""Schemas of accounts, tokens and audit entries for the API."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from app.accounts.passwords import MAX_LENGTH
from app.accounts.tables import AccountKind, Role, Scope
from app.kit.surface import Surface
from app.kit.text import Text
from training.contract.records import Pool


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Row(BaseModel):
    model_config = ConfigDict(from_attributes=True, validate_by_name=True, validate_by_alias=True)


class AccountIn(_Strict):
    """A new account."""

    username: Text = Field(max_length=80)
    name: Text = Field("", max_length=120, description="Display name; defaults to the user name.")
    password: Text = Field(max_length=MAX_LENGTH)
    role: Role = Role.LABELER
    pool: Pool = Pool.TRAIN
    simulated: bool = Field(
        False, description="A program uses this account; its answers are marked as simulated everywhere."
    )
    language: Text = "en"


class AccountChange(_Strict):
    """Changes to an account; omitted fields stay as they are."""

    name: Text | None = Field(None, max_length=120)
    role: Role | None = None
    pool: Pool | None = Field(None, description="Answers given so far keep the pool they were given in.")
    language: Text | None = None
    disabled: bool | None = Field(
        None, description="Signs the account out and keeps it out; its tasks become available to others."
    )
    paused: bool | None = Field(None, description="The account can sign in but gets no new tasks.")
    avoids_sensitive: bool | None = Field(None, description="The account gets no prompts marked as sensitive.")


class OwnChange(_Strict):
    """Changes to your own account; omitted fields stay as they are."""

    name: Text | None = Field(None, max_length=120)
    language: Text | None = None
    avoids_sensitive: bool | None = Field(None, description="You get no prompts marked as sensitive.")


class PasswordIn(_Strict):
    """A new password."""

    password: Text = Field(max_length=MAX_LENGTH)
    keep_tokens: bool = Field(False, description="Keep the account's API tokens valid.")


class AccountOut(_Row):
    """An account."""

    id: str = Field(validation_alias="public_id")
    username: str
    name: str
    role: Role
    pool: Pool
    kind: AccountKind
    language: str
    avoids_sensitive: bool
    paused: bool
    disabled_at: datetime | None
    created_at: datetime


class ChangedAccountOut(AccountOut):
    """An account that was changed."""

    notes: list[str] = Field(description="Notes on what the change does not affect.")


class TokenIn(_Strict):
    """A new API token."""

    name: Text = Field(max_length=120)
    scopes: list[Scope] = Field(min_length=1)
    days: int | None = Field(
        90, description="Days until the token expires, 1 to 3650; 0 never expires. null is refused."
    )


class TokenOut(_Row):
    """An API token without its secret."""

    id: str = Field(validation_alias="public_id")
    name: str
    prefix: str
    scopes: list[str]
    expires_at: datetime | None
    last_used_at: datetime | None
    created_at: datetime


class NewTokenOut(TokenOut):
    """A newly created token; the secret is shown only once."""

    token: str


class AuditOut(BaseModel):
    """An audit entry: who did what to which object."""

    at: datetime
    by: str | None = Field(description="User name; null: done without an account (see `surface`).")
    surface: Surface | None = Field(
        description="Where it was done; null: not recorded yet at that time. A worker acts on its own."
    )
    action: str
    subject: str
    detail: dict


class AccountPage(BaseModel):
    """A page of accounts, newest first."""

    items: list[AccountOut]
    next_cursor: str | None


class AuditPage(BaseModel):
    """A page of audit entries, newest first."""

    items: list[AuditOut]
    next_cursor: str | None
