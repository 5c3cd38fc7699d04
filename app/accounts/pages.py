"""Pages for signing in and out, creating the first admin, and one's own account."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response

from app.accounts import limits, queries, rules
from app.accounts.password_again import check_current
from app.accounts.passwords import DEMO_PASSWORD, check_new, hash_password
from app.accounts.tables import Account, Role, Scope
from app.database import reading, transaction
from app.errors import BadInput, NotFound, PlumblineError, TooMany
from app.kit.i18n import gettext as _
from app.kit.i18n import set_language
from app.kit.text import Text, TypedText
from app.web.auth import signed_in
from app.web.responses import FormText, flash, local_path, page, redirect
from app.web.security import (
    client_address,
    cookie_name,
    delete_cookie,
    is_local,
    know_browser,
    known_browser,
    set_cookie,
)

router = APIRouter(include_in_schema=False)


def _begin(request: Request, response: Response, account: Account, secret: str) -> Response:
    set_cookie(response, "session", secret, max_age=rules.cookie_seconds())
    know_browser(request, response, account.username)
    return response


def _secret(request: Request) -> str | None:
    return request.cookies.get(cookie_name("session"))


# --- signing in and out ---


@router.get("/sign-in")
def sign_in_page(request: Request, next: Text = "/") -> Response:
    """Show the sign-in form (on this machine with demo buttons), or the first-run form if no account exists."""
    with reading() as session:
        nobody = queries.is_empty(session)
    return first_run_page(request) if nobody else _sign_in_form(request, next)


def _sign_in_form(request: Request, next: str, username: str = "", error: PlumblineError | None = None):
    with reading() as session:
        demo = queries.demo_people(session) if is_local(request) else []
        shown = {"demo": demo, "first_run": not queries.has_admin(session)}
    status = error.status if error else 200
    shown |= {"next": local_path(next), "username": username, "error": error}
    return page(request, "accounts/sign_in.html", None, status, **shown)


@router.post("/sign-in")
def sign_in(
    request: Request, username: FormText = "", password: FormText = "", next: FormText = "/", demo: FormText = ""
) -> Response:
    """Sign in and redirect to the requested page; `demo` is the user name of a demo account."""
    if demo:
        username, password = demo, DEMO_PASSWORD
    with reading() as session:
        account = queries.by_username(session, username)
    browser, address = known_browser(request, username), client_address(request)
    try:
        limits.count_attempt(username, address, account=account, browser=browser)
        account, renewed = rules.check_sign_in(account, password, local=is_local(request))
    except (BadInput, TooMany) as error:
        if isinstance(error, BadInput):
            with transaction() as session:
                rules.record_failed_sign_in(session, account, address)
        response = _sign_in_form(request, next, username, error)
        if isinstance(error, TooMany):
            response.headers["Retry-After"] = str(error.retry_after_seconds)
        return response
    limits.forget_attempts(username, address, account=account, browser=browser)
    with transaction() as session:
        if renewed:
            session.get_one(Account, account.id).password_hash = str(renewed)
        secret = rules.open_session(session, account, replaces=_secret(request))
    return _begin(request, redirect(local_path(next)), account, secret)


@router.post("/sign-out")
def sign_out(request: Request) -> Response:
    """End this session."""
    if secret := _secret(request):
        with transaction() as session:
            rules.close_session(session, secret)
    response = redirect("/sign-in")
    delete_cookie(response, "session")
    return response


# --- the first admin ---


def _check_first_run(request: Request) -> None:
    with reading() as session:
        if queries.has_admin(session):
            raise NotFound(_("There is already an admin; ask them for an account."))


@router.get("/first-run")
def first_run_page(request: Request, code: Text = "") -> Response:
    """Show the form that creates the first admin; raises NotFound once one exists."""
    _check_first_run(request)
    shown = {"code": code, "local": is_local(request), "username": "", "name": "", "error": None}
    return page(request, "accounts/first_run.html", None, 200, **shown)


@router.post("/first-run")
def first_run(
    request: Request, username: FormText = "", name: FormText = "", password: FormText = "", code: FormText = ""
) -> Response:
    """Create the first admin and sign them in."""
    _check_first_run(request)
    local = is_local(request)
    try:
        if not local:
            limits.count_attempt("first-run", client_address(request))
        if not local and not rules.is_first_run_code(code):
            raise BadInput(_("This is not the code that Plumbline printed when it started."), field="code")
        hashed = hash_password(check_new(password, username))
        with transaction() as session:
            account = rules.first_admin(session, username=username, name=name, password=hashed)
            secret = rules.open_session(session, account)
    except (BadInput, TooMany) as error:
        shown = {"code": code, "local": local, "username": username, "name": name, "error": error}
        return page(request, "accounts/first_run.html", None, error.status, **shown)
    response = _begin(request, redirect("/admin/accounts"), account, secret)
    flash(response, _("You are the first admin. Create accounts for the others here."))
    return response


# --- one's own account ---


def _own_page(
    request: Request,
    account: Account,
    *,
    error: PlumblineError | None = None,
    made: str | None = None,
    form: str = "",
):
    with reading() as session:
        sessions = queries.live_sessions(session, account)
        tokens = queries.tokens_of(session, account)
    mine = queries.sha256(_secret(request) or "")
    scopes = [*Scope] if account.role is Role.ADMIN else [Scope.WORK]
    status = error.status if error else 200
    shown = {
        "sessions": sessions,
        "tokens": tokens,
        "mine": mine,
        "scopes": scopes,
        "error": error,
        "made": made,
        "form": form,
    }
    response = page(request, "accounts/account.html", account, status, **shown)
    if made:
        response.headers["Cache-Control"] = "no-store"
    return response


@router.get("/account")
def account_page(request: Request) -> Response:
    """Show one's name, language, password, sessions and API tokens."""
    return _own_page(request, signed_in(request))


@router.post("/account")
def change_own(request: Request, name: FormText = "", language: FormText = "en") -> Response:
    """Change one's name and language."""
    account = signed_in(request)
    try:
        with transaction() as session:
            rules.change_account(session, account, by=account, name=name, language=language)
    except BadInput as error:
        return _own_page(request, account, error=error)
    set_language(language)
    return _done(_("Saved."))


@router.post("/account/sensitive")
def change_sensitive(request: Request, show: FormText = "") -> Response:
    """Opt out of sensitive prompts, or back in."""
    account = signed_in(request)
    with transaction() as session:
        rules.change_account(session, account, by=account, avoids_sensitive=not show)
    return _done(_("Saved."))


@router.post("/account/password")
def change_own_password(
    request: Request, current: FormText = "", password: FormText = "", keep_tokens: FormText = ""
) -> Response:
    """Change one's password, sign out everywhere else, and revoke one's API tokens unless `keep_tokens`."""
    account = signed_in(request)
    try:
        check_current(client_address(request), account, current)
        hashed = hash_password(check_new(password, account.username))
    except (BadInput, TooMany) as error:
        return _own_page(request, account, error=error, form="password")
    with transaction() as session:
        rules.set_password(session, account, hashed, by=account, keep=_secret(request), keep_tokens=bool(keep_tokens))
    if keep_tokens:
        return _done(_("Password changed. You are signed out everywhere else; your API tokens still work."))
    return _done(_("Password changed. You are signed out everywhere else, and your API tokens are revoked."))


@router.post("/account/sign-out-everywhere")
def sign_out_elsewhere(request: Request, keep_tokens: FormText = "") -> Response:
    """End all of one's other sessions, and revoke one's API tokens unless `keep_tokens`."""
    account = signed_in(request)
    with transaction() as session:
        rules.sign_out_everywhere(session, account, by=account, keep=_secret(request), keep_tokens=bool(keep_tokens))
    if keep_tokens:
        return _done(_("You are signed out everywhere else. Your API tokens still work."))
    return _done(_("You are signed out everywhere else, and your API tokens are revoked."))


@router.post("/account/tokens")
def create_own_token(
    request: Request,
    name: FormText = "",
    days: FormText = "90",
    scopes: Annotated[Sequence[TypedText], Form()] = (),
    current: FormText = "",
) -> Response:
    """Create an API token and show its secret once; requires the current password."""
    account = signed_in(request)
    try:
        check_current(client_address(request), account, current)
        if not days.isdecimal():
            raise BadInput(_("“%(days)s” is not a number of days.") % {"days": days}, field="days")
        with transaction() as session:
            _token, secret = rules.create_token(
                session, account, name=name, scopes=list(scopes), days=int(days), by=account
            )
    except (BadInput, TooMany) as error:
        return _own_page(request, account, error=error, form="tokens")
    return _own_page(request, account, made=secret)


@router.post("/account/tokens/{id}/revoke")
def revoke_own_token(request: Request, id: str) -> Response:
    """Revoke one of one's API tokens."""
    account = signed_in(request)
    with transaction() as session:
        rules.revoke_token(session, account, id, by=account)
    return _done(_("The token is revoked."))


def _done(note: str) -> Response:
    return redirect("/account", note)
