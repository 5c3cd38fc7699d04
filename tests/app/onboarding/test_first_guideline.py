"""The word that a guideline waits to be read stays on the desk until its labeler says that they have read it."""

import pytest

from app.database import transaction
from app.guidelines import rules as guidelines
from app.guidelines.schemas import GuidelineIn
from app.rounds.tables import ItemKind
from tests.desk import make_round

WAITS = "Please read the guideline"


@pytest.fixture
def ana(worker, client, people):
    """A labeler who is signed in."""
    made = worker("ana")
    people.sign_in(client, made.account)
    return made


def acknowledge(client, people) -> None:
    with transaction() as session:
        newest = guidelines.current_guideline(session, "training")
    page = client.get(f"/guidelines/{newest.public_id}/changes").text
    assert "I have read this guideline" in page
    sent = client.post(f"/guidelines/{newest.public_id}/acknowledge", data=people.csrf(client) | {"next": "/"})
    assert sent.status_code == 303


def test_the_first_one_waits_on_while_its_labeler_works(ana, client, people):
    make_round(3, kind=ItemKind.DEMONSTRATION)
    waits = f"{WAITS} “How to label: training” (v1)"
    assert waits in client.get("/").text
    for _ in range(2):
        ana.submit(ana.next())
        assert waits in client.get("/").text, "to work under it is not to have read it"
    acknowledge(client, people)
    assert WAITS not in client.get("/").text
    assert ana.next() is not None
    assert WAITS not in client.get("/").text


def test_so_does_a_later_one_and_what_changed_is_shown(ana, client, people):
    make_round(3, kind=ItemKind.DEMONSTRATION)
    ana.submit(ana.next())
    new = GuidelineIn(name="training", title="How to label", body="Be very kind.", what_changed="Kindness.")
    with transaction() as session:
        newest = guidelines.add_version(session, new, None)
    assert f"{WAITS} “How to label” (v2)" in client.get("/").text
    shown = client.get(f"/guidelines/{newest.public_id}/changes").text
    assert "The guideline has changed" in shown and "you have read version 1" in shown and "<ins>" in shown
    acknowledge(client, people)
    assert WAITS not in client.get("/").text


def test_rest_says_so_too(ana, client):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    ana.next()
    waits = client.get("/api/v1/onboarding", headers=ana.headers).json()["guideline"]
    assert waits is not None
    assert client.post(f"/api/v1/guidelines/{waits}/acknowledge", headers=ana.headers).status_code in (200, 204)
    assert client.get("/api/v1/onboarding", headers=ana.headers).json()["guideline"] is None
