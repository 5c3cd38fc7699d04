"""Signing in and out."""

from typing import Annotated

from fastapi import APIRouter, Form, Request

from app.accounts import queries, rules
from app.database import reading, transaction
from app.errors import BadInput
from app.security import cookie_name, delete_cookie, is_local, set_cookie
from app.web import local_path, page, redirect

router = APIRouter(include_in_schema=False)
Text = Annotated[str, Form(max_length=400)]


@router.get("/sign-in")
def sign_in_page(request: Request, next: str = "/"):
    """The sign-in form."""
    return page(request, "accounts/sign_in.html", next=local_path(next), username="", error=None)


@router.post("/sign-in")
def sign_in(request: Request, username: Text = "", password: Text = "", next: Text = "/"):
    """Sign in and go on to where the person wanted to be."""
    with reading() as session:
        account = queries.by_username(session, username)
    try:
        renewed = rules.check_sign_in(account, password, local=is_local(request))
    except BadInput as error:
        return page(
            request, "accounts/sign_in.html", status=422, next=local_path(next), username=username, error=error.message
        )
    with transaction() as session:
        if renewed:
            session.merge(account).password_hash = str(renewed)
        secret = rules.open_session(session, account)
    response = redirect(local_path(next))
    set_session_cookie(response, secret)
    return response


@router.post("/sign-out")
def sign_out(request: Request):
    """End this session."""
    if secret := request.cookies.get(cookie_name("session")):
        with transaction() as session:
            rules.close_session(session, secret)
    response = redirect("/sign-in")
    delete_cookie(response, "session")
    return response


def set_session_cookie(response, secret: str) -> None:
    """Keep the session in the browser, past its expiry, so that a late post is known as its owner's."""
    set_cookie(response, "session", secret, max_age=rules.cookie_seconds())
