"""The miniature loop on one page: start simulated labelers, start the next plan, follow the results."""

from fastapi import APIRouter, Request, Response

from app.assignments.closing import Unfinished
from app.database import reading, transaction
from app.kit.i18n import gettext as _
from app.kit.i18n import ngettext
from app.plans import rules as plans
from app.rounds.rules import round_
from app.simulation import queries
from app.simulation.miniature import FOR_PEOPLE
from app.simulation.rules import start_work
from app.snapshots.schemas import Also
from app.web.auth import admin
from app.web.responses import FormText, flash, fragment, page, redirect

router = APIRouter(include_in_schema=False)
# Smaller than a simulation's, so that a cycle takes minutes. On 300 prompts the reward model was no better than a coin
# flip, and PPO refused it (docs/experiments.md).
NEXT_ROUND = {
    "prompts": 1500,
    "validation_share": 0.15,
    "completions": 6,
    "mix": {"policy": 4, "previous": 1, "sft": 1},
    "priority": "high",  # before the rest of the demo, so that people who try it see the newly trained policy
    "reserved_for_people": FOR_PEOPLE,
}


@router.get("/admin/simulation")
def simulation_page(request: Request) -> Response:
    """Show the state of the loop and the next step."""
    account = admin(request)
    return page(request, "simulation/simulation.html", account, **_state())


@router.get("/admin/simulation/state")
def simulation_state(request: Request) -> Response:
    """Return the part of the page that changes."""
    account = admin(request)
    return fragment(request, "simulation/simulation.html", "state", account, **_state())


def _state() -> dict:
    with reading() as session:
        turns = queries.turns(session)
        return {
            "turns": turns,
            "base": queries.base_job(session),
            "waiting": queries.waiting(turns),
            "at_work": queries.at_work(session),
        }


@router.post("/admin/simulation/work")
def let_them_work(request: Request) -> Response:
    """Start simulated labelers on the open tasks."""
    account = admin(request)
    with transaction() as session:
        start_work(session, account)
    return redirect(
        "/admin/simulation", _("Simulated labelers have started. Their answers are marked as simulated everywhere.")
    )


@router.post("/admin/simulation/plan")
def start_plan(request: Request, round: FormText = "") -> Response:
    """Start a plan of the demo's size on a round."""
    account = admin(request)
    try:
        with transaction() as session:
            config = {"also": list(Also), "next_round": NEXT_ROUND}
            plan = plans.start(session, round_(session, round), config, account)
    except Unfinished as unfinished:  # the round's page shows the open drafts and asks for confirmation
        return redirect(
            f"/admin/rounds/{round}/close", unfinished.message + " " + _("Close the round here, then train on it.")
        )
    response = redirect(f"/admin/plans/{plan.public_id}")
    steps = len(plan.steps)
    note = ngettext("The plan has started: %(num)d step.", "The plan has started: %(num)d steps.", steps)
    flash(response, note % {"num": steps})
    return response
