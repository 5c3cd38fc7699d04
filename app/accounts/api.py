"""Accounts, tokens and the audit trail over REST."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from app.accounts import queries, rules
from app.accounts.passwords import check_new, hash_password
from app.accounts.schemas import (
    AccountChange,
    AccountIn,
    AccountOut,
    AccountPage,
    AuditPage,
    ChangedAccountOut,
    NewTokenOut,
    OwnChange,
    PasswordIn,
    TokenIn,
    TokenOut,
)
from app.accounts.tables import AccountKind
from app.assignments.leaving import change_account as change
from app.database import reading, transaction
from app.kit.i18n import gettext as _
from app.kit.text import SearchText, Text
from app.web.auth import api_account

router = APIRouter(tags=["accounts"])
Limit = Annotated[int, Query(ge=1, le=500)]
Cursor = Annotated[int | None, Query(ge=0, lt=2**31)]


@router.get("/api/v1/accounts")
def list_accounts(
    request: Request, text: SearchText = "", cursor: Text | None = None, limit: Limit = 100
) -> AccountPage:
    """List accounts, newest first; `text` matches part of the name or user name."""
    api_account(request, "accounts")
    with reading() as session:
        found, following = queries.accounts(session, text=text, cursor=cursor, limit=limit)
    return AccountPage(items=[AccountOut.model_validate(one) for one in found], next_cursor=following)


@router.post("/api/v1/accounts", status_code=201)
def create_account(request: Request, given: AccountIn) -> AccountOut:
    """Create an account."""
    by = api_account(request, "accounts")
    hashed = hash_password(check_new(given.password, given.username))
    with transaction() as session:
        account = rules.create_account(
            session,
            username=given.username,
            name=given.name or given.username,
            password=hashed,
            role=given.role,
            pool=given.pool,
            kind=AccountKind.SIMULATED if given.simulated else AccountKind.PERSON,
            language=given.language,
            by=by,
        )
        session.refresh(account)
    return AccountOut.model_validate(account)


@router.get("/api/v1/accounts/me", summary="Read Own Account")
def read_me(request: Request) -> AccountOut:
    """Return the account of the token used; any scope is enough."""
    return AccountOut.model_validate(api_account(request, None))


@router.patch("/api/v1/accounts/me", summary="Change Own Account")
def change_me(request: Request, given: OwnChange) -> AccountOut:
    """Change your own name or language, or opt out of sensitive prompts."""
    account = api_account(request, "work")
    with transaction() as session:
        account = rules.change_account(session, account, by=account, **given.model_dump(exclude_unset=True))
    return AccountOut.model_validate(account)


@router.get("/api/v1/accounts/{id}")
def read_account(request: Request, id: str) -> AccountOut:
    """Return one account."""
    api_account(request, "accounts")
    with reading() as session:
        return AccountOut.model_validate(queries.get(session, id))


@router.patch("/api/v1/accounts/{id}")
def change_account(request: Request, id: str, given: AccountChange) -> ChangedAccountOut:
    """Change an account; `disabled` signs it out, keeps it out, revokes its tokens and frees its tasks."""
    by = api_account(request, "accounts")
    with transaction() as session:
        account = queries.get(session, id)
        pool = account.pool
        account = change(session, account, by=by, **given.model_dump(exclude_unset=True))
    notes = [_(rules.POOL_KEPT)] if account.pool is not pool else []
    return ChangedAccountOut(**AccountOut.model_validate(account).model_dump(by_alias=True), notes=notes)


@router.post("/api/v1/accounts/{id}/password", status_code=204)
def set_password(request: Request, id: str, given: PasswordIn) -> None:
    """Set a new password, sign the account out everywhere, and revoke its API tokens."""
    by = api_account(request, "accounts")
    with reading() as session:
        account = queries.get(session, id)
    hashed = hash_password(check_new(given.password, account.username))
    with transaction() as session:
        rules.set_password(session, account, hashed, by=by, keep_tokens=given.keep_tokens)


@router.post("/api/v1/accounts/{id}/sign-out", status_code=204)
def sign_out_everywhere(request: Request, id: str, keep_tokens: bool = False) -> None:
    """End all of an account's sessions and revoke its API tokens; `keep_tokens` keeps them valid."""
    by = api_account(request, "accounts")
    with transaction() as session:
        rules.sign_out_everywhere(session, queries.get(session, id), by=by, keep_tokens=keep_tokens)


@router.get("/api/v1/accounts/{id}/tokens")
def list_tokens(request: Request, id: str) -> list[TokenOut]:
    """List an account's tokens, except revoked ones."""
    api_account(request, "accounts")
    with reading() as session:
        found = queries.tokens_of(session, queries.get(session, id))
    return [TokenOut.model_validate(token) for token in found]


@router.post("/api/v1/accounts/{id}/tokens", status_code=201)
def create_token(request: Request, id: str, given: TokenIn) -> NewTokenOut:
    """Create a token for an account; only this response contains the secret."""
    by = api_account(request, "accounts")
    with transaction() as session:
        token, secret = rules.create_token(
            session, queries.get(session, id), name=given.name, scopes=[*given.scopes], days=given.days, by=by
        )
        session.refresh(token)
    return NewTokenOut(**TokenOut.model_validate(token).model_dump(), token=secret)


@router.delete("/api/v1/accounts/{id}/tokens/{token_id}", status_code=204)
def revoke_token(request: Request, id: str, token_id: str) -> None:
    """Revoke a token at once."""
    by = api_account(request, "accounts")
    with transaction() as session:
        rules.revoke_token(session, queries.get(session, id), token_id, by=by)


@router.get("/api/v1/audit")
def read_audit(request: Request, subject: Text | None = None, cursor: Cursor = None, limit: Limit = 100) -> AuditPage:
    """List who did what, newest first; `subject` filters by the public id of the object."""
    api_account(request, "accounts")
    with reading() as session:
        found = queries.audit(session, subject=subject, before=cursor, limit=limit + 1)
    items = [
        {
            "at": entry.at,
            "by": account.username if account else None,
            "surface": entry.surface,
            "action": entry.action,
            "subject": entry.subject,
            "detail": entry.detail,
        }
        for entry, account in found[:limit]
    ]
    return AuditPage(items=items, next_cursor=str(found[limit - 1][0].id) if len(found) > limit else None)
