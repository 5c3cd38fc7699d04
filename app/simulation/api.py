"""Simulated labelers over REST."""

from fastapi import APIRouter, Request

from app.database import transaction
from app.simulation.rules import start_work
from app.web.auth import api_account

router = APIRouter(tags=["simulation"])


@router.post("/api/v1/simulation/work", status_code=202, summary="Start Simulated Labelers")
def let_them_work(request: Request) -> dict[str, int]:
    """Let simulated labelers do the tasks of the miniature rounds; returns how many tasks there are to do."""
    by = api_account(request, "accounts")
    with transaction() as session:
        return {"waiting": start_work(session, by)}
