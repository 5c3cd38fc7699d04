"""The page of the miniature loop without the demo."""

import re

from app.accounts.tables import AccountKind
from app.database import reading
from app.plans.tables import Plan
from tests.loop import fill_round, prompts


def test_training_from_the_page_tells_the_steps(client, people):
    people.sign_in(client, people.admin())
    round = fill_round(prompts(4), comparisons=False, kind=AccountKind.SIMULATED)
    reply = client.post("/admin/simulation/plan", data=people.csrf(client) | {"round": round.public_id})
    assert re.search(r"The plan has started: \d+ steps\.", client.get(reply.headers["location"]).text)
    with reading() as session:
        assert session.query(Plan).one().config["also"] == ["simulated", "demo"]


def test_nothing_to_do_without_the_demo(client, people):
    admin = people.admin()
    people.sign_in(client, admin)
    assert "plumbline demo" in client.get("/admin/simulation").text
    reply = client.post("/api/v1/simulation/work", headers=people.bearer(admin, "accounts"))
    assert reply.status_code == 422
