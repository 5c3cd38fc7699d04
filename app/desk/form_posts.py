"""Handle desk form posts: who posts, what is kept as a draft whatever happened to the session, where a post leads."""

from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from app.accounts.tables import Account
from app.assignments import drafts
from app.comparisons.schemas import ComparisonContent
from app.conversations import suggesting
from app.database import transaction
from app.desk.task_view import Work, find_work
from app.errors import Forbidden, NotSignedIn, PlumblineError
from app.kit.i18n import gettext as _
from app.web.auth import expired_session, signed_in
from app.web.responses import flash, page, redirect
from app.web.security import cookie_name, delete_cookie, set_cookie


def posting_labeler(request: Request) -> tuple[Account, str]:
    """Who posts and, if nothing but the draft may be kept, why: the session has expired, or is another one by now."""
    try:
        return signed_in(request), _("You signed in again in the meantime.") if _draft_only(request) else ""
    except NotSignedIn:
        if (account := expired_session(request)) is None:
            raise
        return account, _("Your session expired, and you were signed out.")


def acting(request: Request) -> Account:
    """Who posts, where there is no text to keep."""
    account = signed_in(request)
    if _draft_only(request):
        raise Forbidden(_("This page was opened before you signed in again. Reload it and repeat the step."))
    return account


def _draft_only(request: Request) -> bool:
    return getattr(request.state, "draft_only", False)


def keep(
    session: Session, labeler: Account, id: str, form: FormData, *, force: bool = False
) -> tuple[Work, drafts.Saved]:
    """Keep what the form says as the draft; unless `force`, only if nobody else changed the same thing meanwhile."""
    work = find_work(session, id, labeler)
    content = work.with_form(form)
    stale = work.draft.version != seen_version(form)
    if stale and content == work.content:  # a double click: the first one has kept it
        return work, drafts.Saved(work.draft.version, work.draft.updated_at)
    if stale and force and not isinstance(content, ComparisonContent):  # two texts: keep both
        texts = dict.fromkeys(text for text in (work.content.text, content.text) if text.strip())
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


def _number(form: FormData, name: str, otherwise: int) -> int:
    given = form.get(name, "")
    return int(given) if given.isdecimal() and len(given) < 10 else otherwise


def seen_version(form: FormData) -> int:
    """Which version of the draft the labeler saw; one that never is if the form does not tell."""
    return _number(form, "version", -1)


def active_seconds(form: FormData) -> float:
    """For how long the page has counted; the rule of drafts cuts what cannot be."""
    given = form.get("active_seconds", "")
    return float(given[:10]) if given.isdecimal() else 0.0


def kept_for_later(request: Request, labeler: Account, id: str, form: FormData, why: str) -> Response:
    """What was posted is the draft now; the person loads the page again, signing in first where that is needed."""
    if form.get("labeler") != labeler.public_id:
        return _written_by_another(request, labeler, form)
    with transaction() as session:
        keep(session, labeler, id, form, force=True)
    url = f"/assignments/{id}"
    response = redirect(url if _draft_only(request) else f"/sign-in?next={quote(url)}")
    flash(response, why + " " + _("What you wrote is kept as a draft; continue from here."))
    return response


def _written_by_another(request: Request, labeler: Account, form: FormData) -> Response:
    """In a shared browser: the page was opened by somebody else than who is signed in now; it is shown, not kept."""
    refused = Forbidden(
        _("Somebody else opened this page, so nothing was saved. Sign in as the writer of this text and send it again.")
    )
    if from_script(request):
        return JSONResponse({"detail": refused.message}, refused.status)
    written = form.get("text") or form.get("notes", "")
    account = labeler if _draft_only(request) else None
    return page(request, "desk/refused.html", account, refused.status, message=refused.message, written=written)


def from_script(request: Request) -> bool:
    """Whether a script posts, which wants JSON, and not a form."""
    return request.headers.get("accept", "").startswith("application/json")


# --- where a post leads ---


def to_message(labeler: Account, id: str, do: str, text: str) -> Response:
    """To the message being written or, after at:<number>, to an earlier one; `suggest` asks for a suggestion first."""
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
    """Return the number of the round that this labeler chose, if they did."""
    whose, _colon, number = request.cookies.get(cookie_name("round"), "").partition(":")
    known = whose == labeler.public_id and number.isdecimal() and len(number) < 10
    return int(number) if known else None


def choose_round(request: Request, response: Response, labeler: Account, number: int | None) -> None:
    """Remember the choice of a round, or of none."""
    if number is not None:
        set_cookie(response, "round", f"{labeler.public_id}:{number}")
    elif cookie_name("round") in request.cookies:
        delete_cookie(response, "round")
