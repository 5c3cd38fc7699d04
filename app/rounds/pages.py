"""Rounds for admins: making one, its items, how far it is, opening and closing."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import ValidationError
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from app.accounts import rules as accounts
from app.accounts.tables import Account
from app.assignments import progress as work
from app.assignments import rules as assignments
from app.completions.queries import count_by_policy
from app.conversations import queries as conversations
from app.database import reading, transaction
from app.errors import BadInput, PlumblineError
from app.guidelines.queries import newest_guidelines
from app.i18n import gettext as _
from app.kit.text import Text
from app.policies import queries as policies
from app.policies.tables import PolicyKind
from app.prompts import queries as prompts
from app.prompts.tables import PromptSource
from app.rounds import conversation_form, queries, rules
from app.rounds.schemas import RoundIn
from app.rounds.tables import ONBOARDING, ItemKind, Round, RoundPurpose
from app.web import admin, flash, form_data, fragment, is_htmx, page, redirect
from training.records import Pool, Split, UseCase

router = APIRouter(include_in_schema=False)
PAGE = 50
ITEMS = 20
FILTERS = ("collections", "splits", "use_cases", "sources")


@router.get("/admin/rounds")
def rounds(request: Request, cursor: Text | None = None):
    """All rounds and how far they are."""
    account = admin(request)
    with reading() as session:
        found, following = queries.rounds(session, cursor, PAGE)
        ids = [round.id for round in found]
        items, progress = queries.items_by_kind(session, ids), work.progress(session, ids)
    return page(request, "rounds/list.html", account, rounds=found, items=items, progress=progress, following=following)


@router.get("/admin/rounds/new")
def new_round(request: Request):
    """The form for a round."""
    given = {
        "name": "",
        "purpose": "training",
        "guideline": "",
        "overlap": "1",
        "pools": [pool.value for pool in Pool],
        "ask_comparisons": "yes",
        "comparisons": "",
        "ask_demonstrations": "",
        "about_prompts": "yes",
        "demonstrations": "",
        **conversation_form.EMPTY,
        "completions": "4",
        "policies": {},
        "fresh": "",
        "seed": "0",
        **{name: [] for name in FILTERS},
    }
    return _new_page(request, admin(request), given)


def _new_page(request: Request, account: Account, given: dict, error: PlumblineError | None = None):
    with reading() as session:
        counts = count_by_policy(session)
        writers = [one.name for one in policies.writers(session)]
        known = [one for one in policies.policies(session) if one.id in counts]
        collections = prompts.collections(session)
        guidelines = [one.name for one in newest_guidelines(session)]
    return page(
        request,
        "rounds/new.html",
        account,
        error.status if error else 200,
        given=given,
        error=error,
        policies=known,
        writers=writers,
        counts=counts,
        people=PolicyKind.PEOPLE,
        guidelines=guidelines,
        purposes=[purpose for purpose in RoundPurpose if purpose not in ONBOARDING],
        pools=list(Pool),
        options={
            "collections": collections,
            "splits": list(Split),
            "use_cases": list(UseCase),
            "sources": list(PromptSource),
        },
    )


@router.post("/admin/rounds/new")
def create(request: Request, form: Annotated[FormData, Depends(form_data)]):
    """Make a draft and its items."""
    account = admin(request)
    given = _given(form)
    try:
        new = _checked(given)
        with transaction() as session:
            made = rules.create(
                session,
                name=new.name,
                plan=new.plan,
                purpose=new.purpose,
                overlap=new.overlap,
                pools=new.pools,
                guideline=new.guideline,
                by=account,
            )
            count = rules.prepare(session, made)
    except PlumblineError as error:
        return _new_page(request, account, given, error)
    return _to(made, _("A draft with %(n)d items. Look it over, then open it.") % {"n": count})


def _given(form: FormData) -> dict:
    named = [str(name) for name in form.getlist("policy")]
    return {
        **{
            name: str(form.get(name, "")).strip()
            for name in ("name", "purpose", "guideline", "overlap", "fresh", "seed")
        },
        **{name: str(form.get(name, "")).strip() for name in ("comparisons", "demonstrations", "completions")},
        **{name: str(form.get(name, "")) for name in ("ask_comparisons", "ask_demonstrations", "about_prompts")},
        **{name: [str(value) for value in form.getlist(name)] for name in (*FILTERS, "pools")},
        **conversation_form.given(form),
        "policies": {name: str(form.get(f"count:{name}", "")).strip() for name in named},
    }


def _checked(given: dict) -> RoundIn:
    chosen = {name: given[name] for name in FILTERS} | {"fresh": bool(given["fresh"]), "seed": given["seed"] or 0}
    asked = {
        kind: {**chosen, "count": given[kind] or None}
        for kind in ("comparisons", "demonstrations")
        if given[f"ask_{kind}"]
    }
    plan = {
        **asked,
        **conversation_form.planned(given, chosen),
        "about_prompts": bool(given["about_prompts"]),
        "policies": [{"policy": name, "count": count or None} for name, count in given["policies"].items()],
        "completions": given["completions"] or 4,
        "seed": given["seed"] or 0,
    }
    try:
        return RoundIn(
            name=given["name"],
            purpose=given["purpose"] or RoundPurpose.TRAINING,
            plan=plan,
            overlap=given["overlap"] or 1,
            pools=given["pools"],
            guideline=given["guideline"] or None,
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = [str(part) for part in first["loc"]]
        field = next((part for part in reversed(where) if part in given), where[-1] if where else "plan")
        if "topics" in where:
            field = "topics"
        elif "count" in where and len(where) > 1 and where[1] in given:
            field = where[1]
        messages = {
            "name": _("Give the round a name of 1 to 120 characters."),
            "overlap": _("The overlap is a number from 1 to 50."),
            "completions": _("An item has 2 to 9 completions."),
            **conversation_form.messages(),
            "pools": _("Choose at least one pool of labelers."),
            "seed": _("The seed is a whole number from 0 on."),
            "comparisons": _("The number of prompts is 1 to 1,000,000; leave it empty for all."),
            "demonstrations": _("The number of prompts is 1 to 1,000,000; leave it empty for all."),
        }
        raise BadInput(messages.get(field, first["msg"].removeprefix("Value error, ")), field=field) from error


@router.get("/admin/rounds/{id}")
def round_(request: Request, id: str, cursor: Annotated[int, Query(ge=0, le=1_000_000)] = 0):
    """One round: its plan, how far it is, what was left out, its items."""
    account = admin(request)
    with reading() as session:
        found = rules.round_(session, id)
        shown = {
            "round": found,
            "progress": work.progress(session, [found.id])[found.id],
            "shares": work.by_labeler(session, found),
        }
        if is_htmx(request):
            return fragment(request, "rounds/one.html", "progress", account, **shown)
        items = queries.items(session, found, cursor, ITEMS + 1)
        shown |= {
            "items": items[:ITEMS],
            "following": items[ITEMS].position if len(items) > ITEMS else None,
            "counts": queries.items_by_kind(session, [found.id]).get(found.id, {}),
            "sizes": queries.sizes(session, found),
            "labelers": work.labelers(session, found.pools),
            "being_sampled": conversations.being_sampled(session, found.id),
        }
    return page(
        request,
        "rounds/one.html",
        account,
        **shown,
        cursor=cursor,
        reasons=rules.left_out_reasons(found),
        plan=_plan_in_words(found),
        comparison=ItemKind.COMPARISON,
    )


def _plan_in_words(round: Round) -> list[tuple[str, str]]:
    """The plan as (what, which) lines."""
    said = []
    for kind, label in (("comparisons", _("Prompts to compare")), ("demonstrations", _("Prompts to answer"))):
        if (wanted := round.plan.get(kind)) is None:
            continue
        parts = [", ".join(wanted[name]) for name in FILTERS if wanted.get(name)]
        if wanted.get("prompts"):
            parts.append(_("%(n)d chosen ones") % {"n": len(wanted["prompts"])})
        if wanted.get("fresh"):
            parts.append(_("new ones only"))
        most = _("at most %(n)d") % {"n": wanted["count"]} if wanted.get("count") else _("all")
        said.append((label, "; ".join([*parts, most])))
    if talks := round.plan.get("conversations"):
        said += conversation_form.in_words(talks)
    if "comparisons" in round.plan:
        shares = [
            f"{share['policy']} ({share['count']})" if share.get("count") else share["policy"]
            for share in round.plan.get("policies", [])
        ]
        said.append((_("Completions of"), ", ".join(shares) or _("every policy but people, in turn")))
        said.append((_("Completions of an item"), _("at most %(n)d") % {"n": round.plan.get("completions", 4)}))
    said.append((_("Seed"), str(round.plan.get("seed", 0))))
    return said


@router.post("/admin/rounds/{id}/prepare")
def prepare(request: Request, id: str):
    """Choose a draft's items anew."""
    return _act(request, id, "round.prepare", rules.prepare, _("The items were chosen anew."))


@router.post("/admin/rounds/{id}/open")
def open_(request: Request, id: str):
    """Let labelers work on a draft."""
    return _act(request, id, "round.open", assignments.open_round, _("The round is open; its work waits at the desk."))


@router.post("/admin/rounds/{id}/close")
def close(request: Request, id: str):
    """End an open round."""
    note = _("The round is closed; its answers can be frozen in a snapshot.")
    return _act(request, id, "round.close", assignments.close_round, note)


def _act(request: Request, id: str, name: str, act: Callable[[Session, Round], object], note: str):
    account = admin(request)
    with transaction() as session:
        found = rules.round_(session, id)
        act(session, found)
        accounts.record(session, account, name, subject=found.public_id, number=found.number)
    return _to(found, note)


@router.post("/admin/rounds/{id}/discard")
def discard(request: Request, id: str):
    """Delete a draft."""
    account = admin(request)
    with transaction() as session:
        rules.discard(session, rules.round_(session, id), account)
    response = redirect("/admin/rounds")
    flash(response, _("The draft is deleted."))
    return response


def _to(round: Round, note: str):
    response = redirect(f"/admin/rounds/{round.public_id}")
    flash(response, note)
    return response
