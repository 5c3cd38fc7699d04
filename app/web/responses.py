"""Pages and fragments, redirects with a note for the next page, and fields of a posted form."""

from typing import Annotated, Any

import orjson
from fastapi import Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from markupsafe import Markup
from starlette.datastructures import FormData, ImmutableMultiDict

from app.accounts.tables import Account, Role
from app.kit import i18n
from app.kit.text import TypedText, typed
from app.web.security import cookie_name, csrf_token, delete_cookie, read_signed, set_cookie, set_signed
from app.web.templates import environment

FormText = Annotated[TypedText, Form(max_length=400)]  # a one-line form field
TextForm = ImmutableMultiDict[str, str]  # a form with dynamic fields and no files


async def form_data(request: Request) -> FormData:
    """Parse a form with dynamic fields, as a dependency of pages; it accesses no database."""
    form = await request.form()
    return FormData(
        [(typed(name), typed(value) if isinstance(value, str) else value) for name, value in form.multi_items()]
    )


async def text_form(request: Request) -> TextForm:
    """Parse a form without files, as form_data() does; a file in place of a text is ignored."""
    form = await form_data(request)
    return TextForm([(name, value) for name, value in form.multi_items() if isinstance(value, str)])


def as_json(content: dict[str, Any], version: int | None = None) -> Response:
    """Return JSON that needs no model to write it, as pydantic would have written it; `version` becomes the ETag."""
    body = orjson.dumps(content, option=orjson.OPT_UTC_Z)
    headers = {} if version is None else {"ETag": f'"{version}"'}
    return Response(body, headers=headers, media_type="application/json")


def is_htmx(request: Request) -> bool:
    """Return whether the request comes from htmx and expects a fragment."""
    return request.headers.get("hx-request") == "true"


# --- pages ---


def _context(request: Request, account: Account | None, context: dict) -> dict:
    token = csrf_token(request)
    return {
        "request": request,
        "path": request.url.path,
        "account": account,
        "is_admin": account is not None and account.role is Role.ADMIN,
        "language": i18n.language(),
        "csrf_token": token,
        "csrf_field": lambda: Markup('<input type="hidden" name="csrf_token" value="{}">').format(token),
        "path_for": lambda name, **parts: str(request.app.url_path_for(name, **parts)),
        "note": _read_note(request),
        **context,
    }


def _respond(request: Request, html: str, status: int) -> HTMLResponse:
    response = HTMLResponse(html, status_code=status, headers={"Vary": "Cookie, HX-Request"})
    if getattr(request.state, "new_visit", False):
        set_cookie(response, "visit", request.state.visit)
    return response


def page(request: Request, template: str, account: Account | None = None, status: int = 200, **context) -> HTMLResponse:
    """Render a whole page from its template."""
    html = environment().get_template(template).render(_context(request, account, context))
    response = _respond(request, html, status)
    if cookie_name("note") in request.cookies:
        delete_cookie(response, "note")
    return response


def fragment(
    request: Request, template: str, block: str, account: Account | None = None, status: int = 200, **context
) -> HTMLResponse:
    """Render one named block of a page's template; the block must import the macros that it needs."""
    found = environment().get_template(template)
    rendered = found.blocks[block](found.new_context(_context(request, account, context)))
    return _respond(request, "".join(rendered), status)


def polled(request: Request, template: str, block: str, account: Account, **context) -> HTMLResponse:
    """Render a whole page, or for htmx only the block that it polls."""
    if is_htmx(request):
        return fragment(request, template, block, account, **context)
    return page(request, template, account, **context)


# --- redirects and notes ---


def redirect(url: str, note: str = "") -> RedirectResponse:
    """Redirect with 303 See Other after a POST, so that reloading repeats nothing; the next page shows `note` once."""
    response = RedirectResponse(url, status_code=303)
    if note:
        flash(response, note)
    return response


def local_path(url: str | None, otherwise: str = "/") -> str:
    """Return the URL if it is a local path, else `otherwise`: nobody is redirected to another site."""
    if not url or not url.startswith("/") or url[1:2] in ("/", "\\") or any(ord(letter) < 32 for letter in url):
        return otherwise
    return url


def flash(response: Response, message: str) -> None:
    """Show a note on the next page, once."""
    set_signed(response, "note", "note", message, max_age=60)


def _read_note(request: Request) -> str | None:
    return read_signed(request, "note", "note")
