"""Admin pages for all rounds and for creating one."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ValidationError
from starlette.datastructures import FormData

from app.accounts.tables import Account
from app.assignments import progress as work
from app.completions.queries import count_by_policy
from app.database import reading, transaction
from app.errors import BadInput, PlumblineError
from app.guidelines.queries import newest_guidelines
from app.kit.choices import ALL, number_or_all, some_or_all, ticked
from app.kit.i18n import gettext as _
from app.kit.text import Text
from app.policies import queries as policies
from app.policies.tables import PolicyKind
from app.prompts import queries as prompts
from app.prompts.tables import PromptSource
from app.rounds import conversation_form, queries, rules
from app.rounds.schemas import FILTERS, RoundIn, share
from app.rounds.tables import ONBOARDING, RoundPriority, RoundPurpose
from app.web.auth import admin
from app.web.responses import form_data, page, redirect
from training.contract.records import Pool, Split, UseCase

router = APIRouter(include_in_schema=False)
PAGE = 50
LISTS = (*FILTERS, *conversation_form.LISTS)
WHOLE = (*LISTS, "policies", "comparisons", "demonstrations", "conversations")  # a new form says all of each


@router.get("/admin/rounds")
def rounds(request: Request, cursor: Text | None = None) -> Response:
    """List all rounds with their progress."""
    account = admin(request)
    with reading() as session:
        found, following = queries.rounds(session, cursor, PAGE)
        ids = [round.id for round in found]
        shown = {
            "items": queries.items_by_kind(session, ids),
            "progress": work.progress(session, ids),
            "stuck": work.without_labeler(session, ids),
        }
    return page(request, "rounds/list.html", account, 200, rounds=found, following=following, **shown)


@router.get("/admin/rounds/new")
def new_round(request: Request) -> Response:
    """Show the form for a new round."""
    given = {
        "name": "",
        "purpose": "training",
        "guideline": "",
        "overlap": "1",
        "pools": [pool.value for pool in Pool],
        "priority": RoundPriority.NORMAL.value,
        "reserved": "0",
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
        **{name: [] for name in LISTS},
        ALL: WHOLE,
    }
    return _new_page(request, admin(request), given)


def _new_page(request: Request, account: Account, given: dict, error: PlumblineError | None = None):
    with reading() as session:
        counts = count_by_policy(session)
        writers = [one.name for one in policies.writers(session)]
        known = [one for one in policies.policies(session) if one.id in counts]
        collections = prompts.collections(session)
        all_prompts = prompts.count(session, prompts.matching(session))
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
        all_policies=sum(one.kind is not PolicyKind.PEOPLE for one in known),
        all_prompts=all_prompts,
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
def create(request: Request, form: Annotated[FormData, Depends(form_data)]) -> Response:
    """Create a draft and its items."""
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
                priority=new.priority,
                reserved_for_people=new.reserved_for_people,
                by=account,
            )
            count = rules.resample_items(session, made)
    except PlumblineError as error:
        return _new_page(request, account, given, error)
    return redirect(
        f"/admin/rounds/{made.public_id}",
        _("Created a draft with %(n)d items. Review it, then open the round.") % {"n": count},
    )


def _given(form: FormData) -> dict:
    ticked_or_numbered = {str(name): "" for name in form.getlist("policy")} | {
        name.removeprefix("count:"): str(value).strip()
        for name, value in form.items()
        if name.startswith("count:") and str(value).strip()
    }
    return {
        **{
            name: str(form.get(name, "")).strip()
            for name in ("name", "purpose", "guideline", "overlap", "priority", "reserved", "fresh", "seed")
        },
        **{name: str(form.get(name, "")).strip() for name in ("comparisons", "demonstrations", "completions")},
        **{name: str(form.get(name, "")) for name in ("ask_comparisons", "ask_demonstrations", "about_prompts")},
        **ticked(form, (*LISTS, "pools")),
        **conversation_form.given(form),
        "policies": ticked_or_numbered,
    }


def _checked(given: dict) -> RoundIn:
    named = {
        "collections": _("Collections"),
        "splits": _("Splits"),
        "use_cases": _("Use cases"),
        "sources": _("Sources"),
    }
    chosen: dict = {name: some_or_all(given, name, named[name]) or [] for name in FILTERS}
    chosen |= {"fresh": bool(given["fresh"]), "seed": given["seed"] or 0}
    policies = (some_or_all(given, "policies", _("Policies")) or []) if given["ask_comparisons"] else []
    asked = {
        kind: {**chosen, "count": number_or_all(given, kind, label)}
        for kind, label in (
            ("comparisons", _("Prompts for comparisons")),
            ("demonstrations", _("Prompts for demonstrations")),
        )
        if given[f"ask_{kind}"]
    }
    plan = {
        **asked,
        **conversation_form.planned(given, chosen),
        "about_prompts": bool(given["about_prompts"]),
        "policies": [{"policy": name, "count": given["policies"][name] or None} for name in policies],
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
            priority=given["priority"] or RoundPriority.NORMAL,
            reserved_for_people=share(given["reserved"]),
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
            "overlap": _("The overlap must be a number from 1 to 50."),
            "priority": _("The priority must be high, normal or low."),
            "completions": _("An item must have 2 to 9 completions."),
            **conversation_form.messages(),
            "pools": _("Choose at least one pool of labelers."),
            "seed": _("The seed must be a whole number, 0 or greater."),
            "comparisons": _("The number of prompts must be from 1 to 1,000,000."),
            "demonstrations": _("The number of prompts must be from 1 to 1,000,000."),
        }
        raise BadInput(messages.get(field, first["msg"].removeprefix("Value error, ")), field=field) from error
