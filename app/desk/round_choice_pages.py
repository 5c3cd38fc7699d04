"""The round that a labeler chose on the desk: it stays chosen in this browser until they choose otherwise."""

from fastapi import Request, Response

from app.accounts.tables import Account
from app.web.security import cookie_name, delete_cookie, set_cookie


def chosen(request: Request, labeler: Account) -> int | None:
    """Return the number of the round that this labeler chose, if they did."""
    whose, _colon, number = request.cookies.get(cookie_name("round"), "").partition(":")
    known = whose == labeler.public_id and number.isdecimal() and len(number) < 10
    return int(number) if known else None


def choose(request: Request, response: Response, labeler: Account, number: int | None) -> None:
    """Remember the choice of a round, or of none."""
    if number is not None:
        set_cookie(response, "round", f"{labeler.public_id}:{number}")
    elif cookie_name("round") in request.cookies:
        delete_cookie(response, "round")
