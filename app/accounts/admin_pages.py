"""Admin pages for accounts and the audit trail."""

import secrets
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.accounts import queries, rules
from app.accounts.password_again import check_current
from app.accounts.passwords import check_new, hash_password
from app.accounts.tables import Role
from app.assignments.leaving import change_account as change
from app.database import reading, transaction
from app.errors import BadInput, Conflict, PlumblineError, TooMany
from app.kit.i18n import gettext as _
from app.kit.text import SearchText, Text
from app.web.auth import admin
from app.web.responses import FormText, page, redirect
from app.web.security import client_address
from training.contract.records import Pool

router = APIRouter(include_in_schema=False)
PAGE = 100


def _choice(kind, value: str, field: str):
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(kind)
        raise BadInput(
            _("“%(value)s” is not one of %(known)s.") % {"value": value, "known": known}, field=field
        ) from None


def _is_admin(id: str) -> bool:
    with reading() as session:
        return queries.get(session, id).role is Role.ADMIN


@router.get("/admin")
def admin_start(request: Request) -> Response:
    """Redirect to the rounds, where the admin area starts."""
    admin(request)
    return redirect("/admin/rounds")


@router.get("/admin/accounts")
def accounts_page(request: Request, text: SearchText = "", cursor: Text | None = None) -> Response:
    """List the accounts."""
    account = admin(request)
    with reading() as session:
        found, following = queries.accounts(session, text=text, cursor=cursor, limit=PAGE)
    return page(request, "accounts/list.html", account, accounts=found, text=text, following=following)


@router.get("/admin/accounts/new")
def new_account_page(request: Request) -> Response:
    """Show the form for a new account."""
    return _new_page(request)


def _new_page(request: Request, error: PlumblineError | None = None, **given: str):
    shown = {"username": "", "name": "", "role": Role.LABELER, "pool": Pool.TRAIN, "language": "en", **given}
    account = admin(request)
    return page(
        request,
        "accounts/new.html",
        account,
        error.status if error else 200,
        given=shown,
        error=error,
        roles=[*Role],
        pools=[*Pool],
    )


@router.post("/admin/accounts/new")
def create_account(
    request: Request,
    username: FormText = "",
    name: FormText = "",
    password: FormText = "",
    role: FormText = "labeler",
    pool: FormText = "train",
    language: FormText = "en",
    current: FormText = "",
) -> Response:
    """Create an account; creating an admin requires one's own password."""
    by = admin(request)
    given = {"username": username, "name": name, "role": role, "pool": pool, "language": language}
    try:
        if role == Role.ADMIN:
            check_current(client_address(request), by, current)
        hashed = hash_password(check_new(password, username))
        with transaction() as session:
            made = rules.create_account(
                session,
                username=username,
                name=name or username,
                password=hashed,
                role=_choice(Role, role, "role"),
                pool=_choice(Pool, pool, "pool"),
                language=language,
                by=by,
            )
    except (BadInput, Conflict, TooMany) as error:
        return _new_page(request, error, **given)
    return redirect(
        "/admin/accounts",
        _("%(name)s can now sign in as “%(username)s”.") % {"name": made.name, "username": made.username},
    )


@router.get("/admin/accounts/{id}")
def account_page(request: Request, id: str) -> Response:
    """Show an account: its permissions, tokens, sessions and history."""
    return _account_page(request, id)


def _account_page(request: Request, id: str, *, error: PlumblineError | None = None, new_password: str | None = None):
    by = admin(request)
    with reading() as session:
        shown = queries.get(session, id)
        tokens = queries.tokens_of(session, shown)
        sessions = queries.live_sessions(session, shown)
        audit = queries.audit(session, subject=id, limit=20)
    response = page(
        request,
        "accounts/one.html",
        by,
        error.status if error else 200,
        shown=shown,
        tokens=tokens,
        sessions=sessions,
        audit=audit,
        error=error,
        new_password=new_password,
        roles=[*Role],
        pools=[*Pool],
    )
    if new_password:
        response.headers["Cache-Control"] = "no-store"
    return response


@router.post("/admin/accounts/{id}")
def change_account(
    request: Request,
    id: str,
    name: FormText = "",
    role: FormText = "",
    pool: FormText = "",
    language: FormText = "en",
    current: FormText = "",
) -> Response:
    """Change an account's name, role, pool and language; promoting to admin requires one's own password."""
    by = admin(request)
    try:
        if role == Role.ADMIN and not _is_admin(id):
            check_current(client_address(request), by, current)
        with transaction() as session:
            account = queries.get(session, id)
            before = account.pool
            account = change(
                session,
                account,
                by=by,
                name=name,
                role=_choice(Role, role, "role"),
                pool=_choice(Pool, pool, "pool"),
                language=language,
            )
    except (BadInput, Conflict, TooMany) as error:
        return _account_page(request, id, error=error)
    said = [_("Saved."), *([_(rules.POOL_KEPT)] if account.pool is not before else [])]
    return _done(id, " ".join(said))


@router.post("/admin/accounts/{id}/disable")
def disable_account(request: Request, id: str) -> Response:
    """Sign an account out and keep it out."""
    return _change(
        request,
        id,
        _("The account is disabled and signed out, its API tokens are revoked, and its tasks are available to others."),
        disabled=True,
    )


@router.post("/admin/accounts/{id}/enable")
def enable_account(request: Request, id: str) -> Response:
    """Let a disabled account sign in again."""
    return _change(request, id, _("The account can sign in again."), disabled=False)


@router.post("/admin/accounts/{id}/pause")
def pause_account(request: Request, id: str) -> Response:
    """Pause an account: it gets no new assignments."""
    return _change(
        request, id, _("Paused: they get no new tasks, but can finish those they have started."), paused=True
    )


@router.post("/admin/accounts/{id}/resume")
def resume_account(request: Request, id: str) -> Response:
    """Resume an account: it gets new assignments again."""
    return _change(request, id, _("Resumed: they get new tasks again."), paused=False)


def _change(request: Request, id: str, note: str, **changes: bool):
    by = admin(request)
    try:
        with transaction() as session:
            change(session, queries.get(session, id), by=by, **changes)
    except Conflict as error:
        return _account_page(request, id, error=error)
    return _done(id, note)


@router.post("/admin/accounts/{id}/password")
def reset_password(request: Request, id: str, current: FormText = "") -> Response:
    """Set a random password, shown once, sign the account out everywhere, and revoke its API tokens.

    Resetting an admin's password requires one's own.
    """
    by = admin(request)
    try:
        if _is_admin(id):
            check_current(client_address(request), by, current)
    except (BadInput, TooMany) as error:
        return _account_page(request, id, error=error)
    password = secrets.token_urlsafe(12)
    hashed = hash_password(password)
    with transaction() as session:
        rules.set_password(session, queries.get(session, id), hashed, by=by)
    return _account_page(request, id, new_password=password)


@router.post("/admin/accounts/{id}/sign-out")
def sign_out_everywhere(request: Request, id: str) -> Response:
    """End all of an account's sessions and revoke its API tokens."""
    by = admin(request)
    with transaction() as session:
        rules.sign_out_everywhere(session, queries.get(session, id), by=by)
    return _done(id, _("The account is signed out everywhere, and its API tokens are revoked."))


@router.post("/admin/accounts/{id}/tokens/{token_id}/revoke")
def revoke_token(request: Request, id: str, token_id: str) -> Response:
    """Revoke one of an account's API tokens."""
    by = admin(request)
    with transaction() as session:
        rules.revoke_token(session, queries.get(session, id), token_id, by=by)
    return _done(id, _("The token is revoked."))


def _done(id: str, note: str):
    return redirect(f"/admin/accounts/{id}", note)


@router.get("/admin/audit")
def audit_page(request: Request, before: Annotated[int | None, Query(ge=0, lt=2**31)] = None) -> Response:
    """Show the audit trail, newest first."""
    account = admin(request)
    with reading() as session:
        found = queries.audit(session, before=before, limit=PAGE + 1)
    following = found[PAGE - 1][0].id if len(found) > PAGE else None
    return page(request, "accounts/audit.html", account, audit=found[:PAGE], following=following)
