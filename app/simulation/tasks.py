"""Simulated labelers at work in the background, over REST like everyone else."""

from dataclasses import replace

from app.accounts.rules import create_token, revoke_token
from app.accounts.tables import Account
from app.config import settings
from app.database import transaction
from app.queue import celery, stopping
from app.simulation.agreement import calibrate
from app.simulation.labelers import crew
from app.simulation.rest import CALIBRATION_ITEMS, Api, compared, day, sign_up, texts

SEED, LABELERS = 1, 8


@celery.task(name="simulation.work")
def work(admin_id: int) -> None:
    """Do all the work that waits for simulated labelers; twice at once does no harm, as their answers are the same."""
    with transaction() as session:
        admin = session.get_one(Account, admin_id)
        token, secret = create_token(session, admin, name="simulated labelers", scopes=["accounts", "read"], days=1)
    try:
        with Api(settings().base_url, secret) as api:
            labelers = crew(SEED, LABELERS)
            asked = _some_comparisons(api)
            noise = calibrate(labelers, asked) if asked else 0.0
            desks = [api.as_(one) for one in sign_up(api, labelers)]
            for _ in day([(replace(one, noise=noise), desk) for one, desk in zip(labelers, desks, strict=True)]):
                if stopping():
                    break
    finally:
        with transaction() as session:
            revoke_token(session, admin, token.public_id)


def _some_comparisons(api: Api) -> dict[str, list[str]]:
    """Texts by prompt of comparisons that wait in the newest open training round; none where only writing waits."""
    for round in api.every("/rounds"):
        if round["state"] == "open" and round["purpose"] == "training" and round["items"].get("comparison"):
            return texts(api, compared(api, round["id"])[:CALIBRATION_ITEMS])
    return {}
