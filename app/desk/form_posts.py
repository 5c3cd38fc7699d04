"""Handle desk form posts: save the text as a draft even if the session expired, then lead to the next page."""

from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from app.accounts.tables import Account
from app.assignments import drafts
from app.comparisons.schemas import ComparisonContent
from app.conversations import suggesting
from app.database import transaction
from app.desk.task_view import Work, find_work
from app.errors import Forbidden, NotSignedIn, PlumblineError
from app.kit.i18n import gettext as _
from app.web.auth import expired_session, signed_in
from app.web.responses import TextForm, flash, page, redirect
from app.web.security import cookie_name, delete_cookie, set_cookie


def posting_labeler(request: Request) -> tuple[Account, str]:
    """Return who posts, and why only a draft may be saved (session expired or replaced); "" if anything may."""
    try:
        return signed_in(request), _("You signed in again in the meantime.") if _draft_only(request) else ""
    except NotSignedIn:
        if (account := expired_session(request)) is None:
            raise
        return account, _("Your session expired, and you were signed out.")


def acting(request: Request) -> Account:
    """Return who posts, for posts without text to save; raise Forbidden if the session was replaced meanwhile."""
    account = signed_in(request)
    if _draft_only(request):
        raise Forbidden(_("This page was opened before you signed in again. Reload it and repeat the step."))
    return account


def _draft_only(request: Request) -> bool:
    return getattr(request.state, "draft_only", False)


def keep(
    session: Session, labeler: Account, id: str, form: TextForm, *, force: bool = False
) -> tuple[Work, drafts.Saved]:
    """Save the form as the draft; unless `force`, raise Conflict if the draft changed meanwhile."""
    work = find_work(session, id, labeler)
    content, kept = work.with_form(form), work.content
    stale = work.draft.version != seen_version(form)
    if stale and content == kept:  # a double click: the first one saved it
        return work, drafts.Saved(work.draft.version, work.draft.updated_at)
    # Two texts: keep both.
    if stale and force and not isinstance(content, ComparisonContent) and not isinstance(kept, ComparisonContent):
        texts = dict.fromkeys(text for text in (kept.text, content.text) if text.strip())
        content = content.model_copy(update={"text": "\n\n".join(texts)})
    saved = drafts.save(
        session,
        work.assignment,
        labeler,
        content.model_dump(mode="json"),
        version=work.draft.version if force else seen_version(form),
        active_seconds=active_seconds(form),
    )
    return work, saved


def _number(form: TextForm, name: str, otherwise: int) -> int:
    given = form.get(name, "")
    return int(given) if given.isdecimal() and len(given) < 10 else otherwise


def seen_version(form: TextForm) -> int:
    """Return the draft version that the labeler saw; -1, which no draft has, if the form names none."""
    return _number(form, "version", -1)


def active_seconds(form: TextForm) -> float:
    """Return the seconds that the page has counted; drafts.worked() caps impossible values."""
    given = form.get("active_seconds", "")
    return float(given[:10]) if given.isdecimal() else 0.0


def kept_for_later(request: Request, labeler: Account, id: str, form: TextForm, why: str) -> Response:
    """Save the post as a draft and redirect to its task, through sign-in if the session expired."""
    if form.get("labeler") != labeler.public_id:
        return _written_by_another(request, labeler, form)
    with transaction() as session:
        keep(session, labeler, id, form, force=True)
    url = f"/assignments/{id}"
    return redirect(
        url if _draft_only(request) else f"/sign-in?next={quote(url)}",
        why + " " + _("What you wrote is kept as a draft; continue from here."),
    )


def _written_by_another(request: Request, labeler: Account, form: TextForm) -> Response:
    """Refuse a post from a page that another account opened in a shared browser; show the text without saving it."""
    refused = Forbidden(
        _("Somebody else opened this page, so nothing was saved. Sign in as the writer of this text and send it again.")
    )
    if from_script(request):
        return JSONResponse({"detail": refused.message}, refused.status)
    written = form.get("text") or form.get("notes", "")
    account = labeler if _draft_only(request) else None
    return page(request, "desk/refused.html", account, refused.status, message=refused.message, written=written)


def from_script(request: Request) -> bool:
    """Return whether a script posts, which expects JSON, rather than a form."""
    return request.headers.get("accept", "").startswith("application/json")


# --- The page after a post ---


def to_message(labeler: Account, id: str, do: str, text: str) -> Response:
    """Redirect to the message being written, or to an earlier one (at:<number>); `suggest` first makes a suggestion."""
    at = f"?at={quote(do.removeprefix('at:'))}" if do.startswith("at:") else ""
    response = redirect(f"/assignments/{id}{at}")
    if do == "back" and text.strip():
        flash(
            response, _("The editor is not empty: add its text as a message or clear it, then reopen the last message.")
        )
    elif do == "add" and not text.strip():
        flash(response, _("Write the message first, or use a suggestion."))
    elif do == "suggest":
        try:
            suggesting.suggest(labeler, id)
        except PlumblineError as error:
            if error.status == 404:
                raise
            flash(response, error.message)
    return response


def chosen_round(request: Request, labeler: Account) -> int | None:
    """Return the number of the round that this labeler chose, or None."""
    whose, _colon, number = request.cookies.get(cookie_name("round"), "").partition(":")
    known = whose == labeler.public_id and number.isdecimal() and len(number) < 10
    return int(number) if known else None


def choose_round(request: Request, response: Response, labeler: Account, number: int | None) -> None:
    """Store the chosen round in a cookie; None clears the choice."""
    if number is not None:
        set_cookie(response, "round", f"{labeler.public_id}:{number}")
    elif cookie_name("round") in request.cookies:
        delete_cookie(response, "round")
