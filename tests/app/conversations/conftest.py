"""A round of conversations whose messages a scripted server suggests."""

from collections.abc import Callable, Iterator

import pytest

from app.assignments import rules as assignments
from app.database import transaction
from app.policies import rules as policies
from app.policies.schemas import PolicyIn
from app.policies.tables import PolicyKind
from app.prompts import rules as prompts
from app.prompts.tables import PromptSource
from app.rounds import rules as rounds
from app.rounds.schemas import RoundPlan
from app.rounds.tables import Round
from tests.chat_server import ChatServer, chat_server

SECRET_POLICY = "zz-secret-policy"  # must never be seen by a labeler
OPENING = "Name a river in Europe."
TOPIC = "A bot that helps people to choose a bicycle."


@pytest.fixture
def server() -> Iterator[ChatServer]:
    """The server behind SECRET_POLICY."""
    with chat_server() as made:
        yield made


@pytest.fixture
def talk(database, server) -> Callable[..., Round]:
    """Makes an open round whose plan for conversations has these fields; without, one prompt opens one conversation."""

    def make(overlap: int = 1, split=None, opened: bool = True, **plan) -> Round:
        with transaction() as session:
            policies.create(
                session, PolicyIn(name=SECRET_POLICY, kind=PolicyKind.ENDPOINT, endpoint_url=server.url), None
            )
            prompt = prompts.add(
                session,
                messages=[{"role": "user", "text": OPENING}],
                source=PromptSource.CUSTOMER,
                owner="acme",
                split=split,
            )
            if "topics" not in plan:
                plan["starters"] = {"prompts": [prompt.public_id]}
            made = rounds.create(
                session, name="Talk", plan=RoundPlan.model_validate({"conversations": plan}), overlap=overlap
            )
            rounds.resample_items(session, made)
            if opened:
                assignments.open_round(session, made)
            return made

    return make
