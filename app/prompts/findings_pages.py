"""Admin pages for deciding on personal data found in prompts."""

from enum import StrEnum
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from starlette.datastructures import FormData

from app.database import reading, transaction
from app.errors import BadInput
from app.kit.i18n import gettext as _
from app.kit.i18n import ngettext
from app.kit.text import Text
from app.prompts import findings
from app.prompts.findings import Action, Shown
from app.prompts.hygiene.kinds import PersonalData
from app.web.auth import admin
from app.web.responses import form_data, local_path, page, redirect

router = APIRouter(include_in_schema=False)
Posted = Annotated[FormData, Depends(form_data)]
PLACE = "/admin/prompts/personal-data"
PAGE = 50
E = TypeVar("E", bound=StrEnum)


@router.get(PLACE)
def waiting(request: Request, kind: Text = "", cursor: Text | None = None) -> Response:
    """List open findings, of all kinds or one."""
    account = admin(request)
    wanted = _one_of(PersonalData, kind) if kind else None
    with reading() as session:
        found, following = findings.page(session, wanted, cursor, PAGE)
        counts, newest = findings.counts(session), findings.newest(session)
    return page(
        request,
        "prompts/personal_data.html",
        account,
        found=[Shown.of(one) for one in found],
        counts=counts,
        kind=wanted,
        waiting=counts.get(wanted, 0) if wanted else sum(counts.values()),
        newest=newest,
        following=following,
    )


def _one_of(values: type[E], word: str) -> E:
    try:
        return values(word)
    except ValueError as error:
        raise BadInput(
            _("“%(word)s” is not one of: %(known)s.") % {"word": word, "known": ", ".join(values)}
        ) from error


@router.post(PLACE)
def decide_all(request: Request, form: Posted) -> Response:
    """Make the same decision on all open findings, of all kinds or one."""
    account = admin(request)
    kind = str(form.get("kind", ""))
    count = findings.decide_all(
        _one_of(PersonalData, kind) if kind else None,
        _one_of(Action, str(form.get("action", ""))),
        str(form.get("until", "")),
        account,
    )
    return redirect(
        PLACE, ngettext("One finding was decided.", "%(num)d findings were decided.", count) % {"num": count}
    )


@router.post(PLACE + "/{id}")
def decide(request: Request, id: str, form: Posted) -> Response:
    """Decide on one finding and return to the page it was shown on."""
    account = admin(request)
    action = _one_of(Action, str(form.get("action", "")))
    with transaction() as session:
        findings.decide(session, findings.find(session, id), action, account)
    return redirect(local_path(str(form.get("back", "")), PLACE), _done(action))


def _done(action: Action) -> str:
    return {
        Action.MASK: _("Masked: the prompt no longer contains the found text."),
        Action.ALLOW: _("Allowed: the found text stays in the prompt."),
        Action.DROP: _("The prompt is withdrawn: new rounds and snapshots leave it out."),
        Action.REOPEN: _("The finding is open again."),
    }[action]
