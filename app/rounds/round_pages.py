"""Admin pages for one round: its progress, and opening, closing and reopening it."""

from collections.abc import Callable
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from app.accounts import rules as accounts
from app.accounts.tables import Account
from app.assignments import closing, handing_out
from app.assignments import progress as work
from app.assignments import rules as assignments
from app.conversations import queries as conversations
from app.database import reading, transaction
from app.errors import BadInput, Conflict, PlumblineError
from app.kit.i18n import gettext as _
from app.plans import queries as plans
from app.plans.rules import reopen_round
from app.rounds import conversation_form, queries, rules
from app.rounds.schemas import FILTERS, share
from app.rounds.tables import ItemKind, Round, RoundPriority
from app.snapshots import queries as snapshots
from app.web.auth import admin
from app.web.responses import FormText, fragment, is_htmx, page, redirect

router = APIRouter(include_in_schema=False)
ITEMS = 20


@router.get("/admin/rounds/{id}")
def round_(request: Request, id: str, cursor: Annotated[int, Query(ge=0, le=1_000_000)] = 0) -> Response:
    """Show a round: its plan, progress, what was left out, and its items."""
    return _round_page(request, admin(request), id, cursor)


def _round_page(request: Request, account: Account, id: str, cursor: int = 0, error: PlumblineError | None = None):
    with reading() as session:
        found = rules.round_(session, id)
        shown = {
            "round": found,
            "progress": work.progress(session, [found.id])[found.id],
            "shares": work.by_labeler(session, found),
            "stuck": work.without_labeler(session, [found.id]).get(found.id, 0),
        }
        if is_htmx(request):
            return fragment(request, "rounds/one.html", "progress", account, 200, **shown)
        items = queries.items(session, found, cursor, ITEMS + 1)
        shown |= {
            "items": items[:ITEMS],
            "following": items[ITEMS].position if len(items) > ITEMS else None,
            "counts": queries.items_by_kind(session, [found.id]).get(found.id, {}),
            "sizes": queries.sizes(session, found),
            "labelers": work.labelers(session, found.pools),
            "being_sampled": conversations.being_sampled(session, found.id),
            "snapshots": snapshots.of_round(session, found),
            "plan_on_it": plans.of_round(session, found),
        }
    return page(
        request,
        "rounds/one.html",
        account,
        error.status if error else 200,
        error=error,
        **shown,
        cursor=cursor,
        reasons=rules.left_out_reasons(found),
        plan=_plan_in_words(found),
        comparison=ItemKind.COMPARISON,
    )


def _plan_in_words(round: Round) -> list[tuple[str, str]]:
    """Return the plan as (label, value) lines."""
    said = []
    for kind, label in (
        ("comparisons", _("Prompts for comparisons")),
        ("demonstrations", _("Prompts for demonstrations")),
    ):
        if (wanted := round.plan.get(kind)) is None:
            continue
        parts = [", ".join(wanted[name]) for name in FILTERS if wanted.get(name)]
        if wanted.get("prompts"):
            parts.append(_("%(n)d chosen prompts") % {"n": len(wanted["prompts"])})
        if wanted.get("fresh"):
            parts.append(_("only new prompts"))
        most = _("at most %(n)d") % {"n": wanted["count"]} if wanted.get("count") else _("all")
        said.append((label, "; ".join([*parts, most])))
    if talks := round.plan.get("conversations"):
        said += conversation_form.in_words(talks)
    if "comparisons" in round.plan:
        shares = [
            f"{share['policy']} ({share['count']})" if share.get("count") else share["policy"]
            for share in round.plan.get("policies", [])
        ]
        said.append((_("Policies to compare"), ", ".join(shares) or _("every policy but people, in turn")))
        said.append((_("Completions per item"), _("at most %(n)d") % {"n": round.plan.get("completions", 4)}))
    said.append((_("Seed"), str(round.plan.get("seed", 0))))
    return said


@router.post("/admin/rounds/{id}/prepare")
def prepare(request: Request, id: str) -> Response:
    """Resample a draft's items."""
    return _act(request, id, "round.prepare", rules.resample_items, _("The items were resampled."))


@router.post("/admin/rounds/{id}/open")
def open_(request: Request, id: str) -> Response:
    """Open a draft for labelers."""
    return _act(
        request,
        id,
        "round.open",
        assignments.open_round,
        _("The round is open; its tasks are now at the labelers' desks."),
    )


@router.get("/admin/rounds/{id}/close")
def ask_to_close(request: Request, id: str) -> Response:
    """Show what is unsubmitted in a round, and the button that closes it."""
    return _closing_page(request, admin(request), id)


def _closing_page(request: Request, account: Account, id: str, status: int = 200):
    with reading() as session:
        found = rules.round_(session, id)
        left = closing.open_work(session, found)
    return page(request, "rounds/close.html", account, status, round=found, left=left)


@router.post("/admin/rounds/{id}/close")
def close(request: Request, id: str, confirm: FormText = "") -> Response:
    """Close an open round; with unsubmitted drafts, only if that was confirmed."""
    note = _("The round is closed; its answers can be frozen in a snapshot.")
    try:
        return _act(request, id, "round.close", partial(closing.close, confirmed=bool(confirm)), note)
    except closing.Unfinished as unfinished:
        return _closing_page(request, admin(request), id, unfinished.status)


@router.post("/admin/rounds/{id}/reopen")
def reopen(request: Request, id: str) -> Response:
    """Reopen a closed round."""
    try:
        return _act(request, id, "round.reopen", reopen_round, _("The round is open again."))
    except Conflict as refused:
        return _round_page(request, admin(request), id, error=refused)


@router.post("/admin/rounds/{id}/handing-out")
def change(request: Request, id: str, priority: FormText = "", reserved: FormText = "") -> Response:
    """Change how a round's tasks are handed out."""
    account = admin(request)
    try:
        if priority not in set(RoundPriority):
            raise BadInput(_("The priority must be high, normal or low."), field="priority")
        with transaction() as session:
            found = rules.round_(session, id)
            chosen = RoundPriority(priority)
            handing_out.change(session, found, account, priority=chosen, reserved_for_people=share(reserved.strip()))
    except BadInput as error:
        return _round_page(request, account, id, error=error)
    return _to(found, _("Saved. The change takes effect with the next task."))


def _act(request: Request, id: str, name: str, act: Callable[[Session, Round], object], note: str):
    account = admin(request)
    with transaction() as session:
        found = rules.round_(session, id)
        act(session, found)
        accounts.record(session, account, name, subject=found.public_id, number=found.number)
    return _to(found, note)


@router.post("/admin/rounds/{id}/discard")
def discard(request: Request, id: str) -> Response:
    """Delete a draft."""
    account = admin(request)
    with transaction() as session:
        rules.discard(session, rules.round_(session, id), account)
    return redirect("/admin/rounds", _("The draft was deleted."))


def _to(round: Round, note: str):
    return redirect(f"/admin/rounds/{round.public_id}", note)
