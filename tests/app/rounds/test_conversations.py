"""Rounds that ask for conversations, planned by page and on the command line."""

import json

from typer.testing import CliRunner

from app.cli import cli
from app.database import reading, transaction
from app.policies import rules as policies
from app.policies.schemas import PolicyIn
from app.policies.tables import PolicyKind
from app.prompts import rules as prompts
from app.prompts.tables import PromptSource
from app.rounds import queries
from app.rounds.tables import ItemKind


def prepared(*names: str) -> None:
    """Three prompts, an imported policy, and endpoints of these names."""
    with transaction() as session:
        for number in range(3):
            said = [{"role": "user", "text": f"prompt {number}"}]
            prompts.add(session, messages=said, source=PromptSource.CUSTOMER, collection="c")
        policies.create(session, PolicyIn(name="texts"), None)
        for name in names:
            url = "http://127.0.0.1:9/v1"
            policies.create(session, PolicyIn(name=name, kind=PolicyKind.ENDPOINT, endpoint_url=url), None)


def test_planning_conversations_by_page(client, people):
    prepared("live", "other")
    people.sign_in(client, people.admin())
    form = client.get("/admin/rounds/new").text
    assert "live" in form and "Policy that suggests messages" in form
    given = {
        **people.csrf(client),
        "name": "Talk",
        "purpose": "training",
        "overlap": "1",
        "pools": ["train"],
        "ask_conversations": "yes",
        "conversations": "2",
        "topics": "Help with bicycles.\r\nOf all kinds.\r\n\r\nHelp with boats.",
        "suggests": "live",
        "alternatives": "9",
        "alternative_policies": ["live", "other"],
        "completions": "4",
        "seed": "0",
        "all": ["collections", "splits", "use_cases", "sources"],
    }
    wrong = client.post("/admin/rounds/new", data=given | {"alternatives": "3"})
    assert wrong.status_code == 422 and "4 to 9 alternatives" in wrong.text and "Help with boats." in wrong.text
    made = client.post("/admin/rounds/new", data=given)
    assert made.status_code == 303, made.text
    page = client.get(made.headers["location"]).text
    assert "9 from live, other" in page and "Prompts that open a conversation" in page
    with reading() as session:
        (round,), _ = queries.rounds(session, None, 5)
        items = queries.items(session, round, 0, 10)
    assert [item.kind for item in items] == [ItemKind.CONVERSATION] * 4
    assert [item.prompt.source for item in items].count(PromptSource.USE_CASE) == 2
    assert items[2].prompt.messages[0]["text"] == "Help with bicycles.\nOf all kinds."


def test_only_a_policy_that_can_be_asked_suggests(client, people):
    prepared()
    bearer = people.bearer(people.admin())
    for plan, says in (
        ({"topics": ["x"], "suggests": "texts"}, "cannot be asked"),
        ({"topics": ["x"], "policies": [{"policy": "texts"}]}, "cannot be asked"),
        ({"topics": ["x"], "suggests": "nobody"}, "Existing policies: texts"),
        ({"suggests": ""}, "starters or topics"),
        ({"topics": ["x"], "alternatives": 10}, "less than or equal to 9"),
        ({"topics": ["prompt 1"]}, "is a prompt in the bank"),
    ):
        answer = client.post("/api/v1/rounds", json={"name": "r", "plan": {"conversations": plan}}, headers=bearer)
        assert answer.status_code == 422 and says in answer.text, (plan, answer.text)


def test_planning_conversations_on_the_command_line(database):
    prepared("live")
    words = ["round", "create", "Talk", "--conversations", "0", "--topic", "Boats.", "--suggests", "live", "--json"]
    made = CliRunner().invoke(cli, words, catch_exceptions=False)
    told = json.loads(made.stdout)
    assert told["items"] == {"conversation": 4} and told["plan"]["conversations"]["suggests"] == "live"
