"""Plan pages for admins: start a plan from a round, follow it, and fix it after a step has failed."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from app import queue
from app.accounts.tables import Account
from app.checkpoints import queries as checkpoint_queries
from app.checkpoints.tables import CheckpointRole
from app.database import reading, transaction
from app.errors import BadInput, PlumblineError
from app.jobs.keys import parse_keys
from app.kit.i18n import gettext as _
from app.kit.text import Text, TypedText
from app.plans import queries, rules
from app.plans.schemas import NextRound, PlanConfig, Source
from app.plans.tables import Plan, PlanState, StepKind, StepName, StepState
from app.rounds.rules import round_
from app.snapshots import queries as snapshot_queries
from app.web.auth import admin
from app.web.responses import flash, form_data, page, polled, redirect
from training.contract import recipes

router = APIRouter(include_in_schema=False)
Posted = Annotated[FormData, Depends(form_data)]
TRAININGS = {
    StepName.SFT: "train_sft",
    StepName.SFT_FOR_PPO: "train_sft",
    StepName.REWARD_MODEL: "train_reward_model",
    StepName.PPO: "train_ppo",
}
NUMBERS = ("prompts", "completions", "overlap", "demonstrations")


@router.get("/admin/plans")
def list_page(request: Request, cursor: Text | None = None) -> Response:
    """Show all plans."""
    account = admin(request)
    with reading() as session:
        plans, following = queries.listing(session, cursor)
    return page(request, "plans/list.html", account, plans=plans, following=following)


def _defaults() -> dict:
    config, wanted = PlanConfig(), NextRound()
    return {
        "name": "",
        "round": "",
        "base": "",
        **{step: getattr(config, step).recipe for step in TRAININGS},
        "also": [],
        "next_round": "on",
        "open": "on",
        "continue_from_last": "",
        **{name: str(getattr(wanted, name)) for name in NUMBERS},
        **{f"mix_{source}": str(wanted.mix.get(source, 0)) for source in Source},
        "set": "",
        "confirm": "",
    }


@router.get("/admin/plans/new")
def new_page(request: Request, round: Text = "") -> Response:
    """Show the form that starts a plan."""
    return _form(request, _defaults() | {"round": round})


def _form(request: Request, given: dict, error: PlumblineError | None = None):
    account = admin(request)
    with reading() as session:
        rounds = queries.startable_rounds(session)
        answered_by = snapshot_queries.answers_by_kind(session)
        bases, _following = checkpoint_queries.listing(session, limit=50, role=CheckpointRole.BASE)
    names = {
        step: [name for name, recipe in recipes.RECIPES.items() if recipe.verb == verb]
        for step, verb in TRAININGS.items()
    }
    return page(
        request,
        "plans/new.html",
        account,
        status=error.status if error else 200,
        given=given,
        error=error,
        rounds=rounds,
        answered_by=answered_by,
        bases=bases,
        recipes=names,
        sources=list(Source),
    )


@router.post("/admin/plans/new")
def start(request: Request, form: Posted) -> Response:
    """Start a plan and redirect to its page."""
    account = admin(request)
    # An unticked checkbox is not sent, so a missing value means empty, not the default.
    said = {key: str(form.get(key, "")) for key in _defaults()}
    given = said | {"also": form.getlist("also")}
    try:
        if not said["round"]:
            raise BadInput(_("Choose the round to train on."), field="round")
        with transaction() as session:
            round = round_(session, said["round"])
            confirmed = bool(said["confirm"])
            plan = rules.start(session, round, _config(given), account, name=said["name"], confirmed=confirmed)
    except PlumblineError as error:
        return _form(request, given, error)
    return redirect(f"/admin/plans/{plan.public_id}")


def _config(given: dict) -> dict:
    """Build the plan's config from the form; "step.key = value" lines go into their step's config."""
    config: dict = {step: {"recipe": given[step], "set": {}} for step in TRAININGS}
    for key, value in parse_keys(given["set"]).items():
        step, dot, name = key.partition(".")
        if not dot or step not in (*TRAININGS, "train_base", "sample"):
            raise BadInput(
                _("“%(key)s”: write step.key = value, where step is one of %(steps)s.")
                % {"key": key, "steps": ", ".join((*TRAININGS, "train_base", "sample"))},
                field="set",
            )
        config.setdefault(step, {}).setdefault("set", {})[name] = value
    for step in {"train_base", "sample"} & config.keys():
        config[step].setdefault("recipe", getattr(PlanConfig(), step).recipe)
    config["base"] = given["base"] or None
    config["also"] = given["also"]
    config["continue_from_last"] = bool(given["continue_from_last"])
    config["next_round"] = None
    if given["next_round"]:
        config["next_round"] = {
            **{name: given[name] for name in NUMBERS},
            "mix": {
                source: given[f"mix_{source}"] or 0 for source in Source if given[f"mix_{source}"] not in ("", "0")
            },
            "open": bool(given["open"]),
        }
    return config


@router.get("/admin/plans/{id}")
def detail_page(request: Request, id: str) -> Response:
    """Show one plan; while it runs, htmx polls the block with its progress."""
    account = admin(request)
    workers = queue.workers(queue.TRAINING)
    with reading() as session:
        plan = queries.find(session, id)
        checkpoints = {
            step.name: checkpoint_queries.chosen_of(session, step.job)
            for step in plan.steps
            if step.kind is StepKind.JOB and step.job and step.state is StepState.FINISHED
        }
    return polled(
        request,
        "plans/detail.html",
        "state",
        account,
        plan=plan,
        runs=plan.state is PlanState.RUNNING,
        failed=next((step for step in plan.steps if step.state is not StepState.FINISHED), None),
        workers=workers,
        checkpoints=checkpoints,
    )


@router.post("/admin/plans/{id}/retry")
def retry(request: Request, id: str, set: Annotated[TypedText, Form(max_length=20_000)] = "") -> Response:
    """Retry the failed step, with or without overrides."""
    return _act(
        request, id, lambda session, plan, by: rules.retry(session, plan, by, parse_keys(set)), _("The plan continues.")
    )


@router.post("/admin/plans/{id}/cancel")
def cancel(request: Request, id: str) -> Response:
    """Cancel the plan."""
    return _act(request, id, rules.cancel, _("The plan is canceled; what it has finished is kept."))


def _act(request: Request, id: str, act: Callable[[Session, Plan, Account], object], done: str):
    account = admin(request)
    response = redirect(f"/admin/plans/{id}")
    try:
        with transaction() as session:
            act(session, queries.find(session, id), account)
        flash(response, done)
    except PlumblineError as error:
        if error.status == 404:
            raise
        flash(response, error.message)
    return response
