"""Simulated labelers in the background, who use REST like everyone else."""

from app.accounts.rules import create_token, revoke_token
from app.accounts.tables import Account
from app.config import settings
from app.database import reading, transaction
from app.queue import celery, stopping
from app.simulation import queries
from app.simulation.agreement import calibrate
from app.simulation.labelers import Labeler, crew
from app.simulation.rest import CALIBRATION_ITEMS, Api, day, sign_up

SEED, LABELERS = 1, 8


@celery.task(name="simulation.work")
def work(admin_id: int) -> None:
    """Do all tasks that wait for simulated labelers; concurrent runs are harmless, as they give the same answers."""
    with transaction() as session:
        admin = session.get_one(Account, admin_id)
        token, secret = create_token(session, admin, name="simulated labelers", scopes=["accounts", "read"], days=1)
    try:
        with Api(settings().base_url, secret) as api:
            labelers = steady_crew()
            desks = [api.as_(one) for one in sign_up(api, labelers)]
            for _ in day(list(zip(labelers, desks, strict=True))):
                if stopping():
                    break
    finally:
        with transaction() as session:
            revoke_token(session, admin, token.public_id)


def steady_crew() -> list[Labeler]:
    """Return the labelers with the noise calibrated on the first comparisons, or without noise before those exist.

    Later comparisons do not change the noise.
    """
    with reading() as session:
        asked = queries.first_comparisons(session, CALIBRATION_ITEMS)
    labelers = crew(SEED, LABELERS)
    return crew(SEED, LABELERS, calibrate(labelers, asked)) if asked else labelers
