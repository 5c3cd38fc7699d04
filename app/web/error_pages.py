"""Error responses: problem details for REST, a short alert for htmx, a page for people."""

from contextlib import suppress
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException

from app.accounts.tables import Account
from app.errors import NotSignedIn, PlumblineError
from app.kit import disk, i18n
from app.kit.i18n import gettext as _
from app.kit.text import UNSTORABLE
from app.web.auth import api_account, signed_in
from app.web.bodies import CHECKED_LATER
from app.web.responses import fragment, is_htmx, local_path, page, redirect
from app.web.security import SAFE_METHODS, split_address


def error_response(request: Request, error: Exception) -> Response:
    """Return an error as problem details for REST, a short alert for htmx, or a page for people."""
    if isinstance(error, HTTPException | RequestValidationError):
        error = _without_token(request) or error
    account = _whose(request, error)
    if account:
        i18n.set_language(account.language)
    problem = _problem(error)
    problem["request_id"] = getattr(request.state, "request_id", None)
    status, headers = problem["status"], dict(getattr(error, "headers", None) or {})
    if hasattr(error, "retry_after_seconds"):
        headers["Retry-After"] = str(error.retry_after_seconds)
    if request.url.path.startswith("/api/"):
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
            if request.method not in SAFE_METHODS:
                headers["Connection"] = "close"
        body = {"type": "about:blank", **{key: value for key, value in problem.items() if value is not None}}
        return JSONResponse(body, status, headers, media_type="application/problem+json")
    if isinstance(error, NotSignedIn):
        return _to_sign_in(request)
    if is_htmx(request):
        # htmx also swaps errors in; they belong in the live region, not in the person's work.
        response = fragment(request, "error.html", "alert", account, status, problem=problem)
        headers |= {"HX-Retarget": "#notes", "HX-Reswap": "innerHTML"}
    else:
        response = page(request, "error.html", account, status, problem=problem)
    response.headers.update(headers)
    return response


def _without_token(request: Request) -> PlumblineError | None:
    """Return the refusal of a request whose token should have been checked before anything else, but was not."""
    if request.url.path.startswith(CHECKED_LATER) and not hasattr(request.state, "token"):
        try:
            api_account(request, None)
        except PlumblineError as refused:
            return refused
    return None


def _whose(request: Request, error: Exception) -> Account | None:
    """Return the account that sees the error, for its language and navigation; server errors look nothing up."""
    theirs = isinstance(error, HTTPException | RequestValidationError | PlumblineError)
    if theirs and not request.url.path.startswith(("/api/", "/static/")):
        with suppress(NotSignedIn):
            return signed_in(request)
    return getattr(request.state, "account", None)


def _problem(error: Exception) -> dict:
    if disk.is_full(error):
        detail = _(
            "Plumbline cannot save anything because its disk is full or failing. Keep this page open, ask an admin to "
            "free disk space (“plumbline doctor” says where), and try again."
        )
        return {"title": _("The disk is full"), "status": 507, "detail": detail}
    if isinstance(error, PlumblineError):
        return {
            "title": _(error.title),
            "status": error.status,
            "detail": _sendable(error.message),
            "field": error.field and _sendable(error.field),
            "current": getattr(error, "current", None),
        }
    if isinstance(error, RequestValidationError):
        errors = [
            {
                "field": _sendable(".".join(str(part) for part in found["loc"][1:]) or str(found["loc"][0])),
                "detail": _sendable(found["msg"]),
            }
            for found in error.errors()
        ]
        detail = "; ".join(f"{found['field']}: {found['detail']}" for found in errors)
        alone = errors[0]["field"] if len(errors) == 1 else None
        return {
            "title": _("Please check what you entered"),
            "status": 422,
            "detail": detail,
            "field": alone,
            "errors": errors,
        }
    if isinstance(error, DataError):  # the database rejected a value that no rule checked
        detail = _("Some text has a NUL character, or a number is too large to store; remove it and try again.")
        return {"title": _("Please check what you entered"), "status": 422, "detail": detail}
    if isinstance(error, HTTPException):
        titles = {404: _("Not found"), 405: _("Method not allowed"), 408: _("Request timed out"), 413: _("Too large")}
        details = {
            404: _("There is nothing at this address. Check the address, or start again from the home page."),
            405: _("This address does not accept this kind of request."),
            408: _("What you sent did not arrive in time. Send it again, or send less at once."),
            413: _("What you sent is too large. Send less at once."),
        }
        status = error.status_code
        return {
            "title": titles.get(status, _("This could not be done")),
            "status": status,
            "detail": details.get(status, str(error.detail)),
        }
    detail = _("Something broke on our side. The log has the details under the reference below. Try again in a moment.")
    return {"title": _("Something went wrong"), "status": 500, "detail": detail}


def _sendable(message: str) -> str:
    """Replace unstorable characters in a message, which may quote rejected text."""
    return UNSTORABLE.sub("\ufffd", message)


def _to_sign_in(request: Request) -> Response:
    if is_htmx(request) or request.method != "GET":
        # Go back to the page that sent the request, since the address of a POST cannot be opened.
        came_from = split_address(request.headers.get("hx-current-url") or request.headers.get("referer") or "")
        back = came_from.path + (f"?{came_from.query}" if came_from.query else "") if came_from else "/"
    else:
        back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    url = f"/sign-in?next={quote(local_path(back))}"
    if is_htmx(request):
        return Response(status_code=401, headers={"HX-Redirect": url})
    return redirect(url)
