"""The same screen for training and evaluation, for questions and whole conversations: what comes first is said."""

import pytest
from sqlalchemy import update

from app.database import transaction
from app.guidelines.rules import current_guideline
from app.prompts.tables import Prompt
from app.rounds.tables import Round, RoundPurpose
from tests.app.desk.pages.plain_browser import Browser
from tests.conftest import fresh_database
from tests.desk import make_round

HELPFUL = "Helpfulness comes first, then truthfulness and harmlessness."
HARMLESS = "Truthfulness and harmlessness come first, then helpfulness."
TALK = [
    {"role": "system", "text": "Answer briefly."},
    {"role": "user", "text": "How do I bake bread?"},
    {"role": "assistant", "text": "With flour."},
    {"role": "user", "text": "And without yeast?"},
]


@pytest.fixture(params=["sqlite"])
def database(request, tmp_path, monkeypatch):
    """Pages are looked at on SQLite only."""
    yield from fresh_database(request, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "guideline, asked, not_asked", [("training", HELPFUL, HARMLESS), ("evaluation", HARMLESS, HELPFUL)]
)
def test_each_step_says_which_guideline_is_asked(client, people, guideline, asked, not_asked):
    make_round(1, k=2)
    with transaction() as session:
        found = current_guideline(session, guideline)
        purpose = RoundPurpose.EVALUATION if guideline == "evaluation" else RoundPurpose.TRAINING
        session.execute(update(Round).values(guideline_id=found.id, purpose=purpose))
    ana = Browser(client, people, people.labeler("ana"))
    ana.next()
    for at in ("A", "ranking"):
        ana.open(f"{ana.url}?at={at}")
        assert asked in ana.html and not_asked not in ana.html
        assert found.title in ana.html and f"version {found.version}" in ana.html
    ana.press("submit", do="stop", **{"tier.A": 1, "tier.B": 1})
    shown = client.get("/api/v1/comparisons", headers=people.bearer(people.admin())).json()["items"][0]
    assert shown["guideline"] == f"{guideline} 1"


def test_a_whole_conversation_is_shown_turn_by_turn(client, people):
    make_round(1, k=2)
    with transaction() as session:
        session.execute(update(Prompt).values(messages=TALK))
    ana = Browser(client, people, people.labeler("ana"))
    ana.next()
    for at in ("A", "ranking"):
        ana.open(f"{ana.url}?at={at}")
        places = [ana.html.index(message["text"]) for message in TALK]
        assert places == sorted(places), "every turn, in its order"
        assert ana.html.count(">Person<") == 2 and ana.html.count(">Assistant<") == 1
