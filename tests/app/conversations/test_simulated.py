"""A simulated labeler at a conversation: it answers a prompt of its world, and passes on what it is to make up."""

from app.accounts.tables import AccountKind
from app.conversations import queries
from app.database import reading, transaction
from app.prompts import rules as prompts
from app.prompts.tables import PromptSource
from app.simulation.labelers import Labeler
from app.simulation.rest import Api, work
from tests.app.conversations.conftest import TOPIC
from training.contract.records import Pool
from training.miniature.rubric import judge
from training.miniature.world import tasks


def test_it_answers_what_it_knows_and_skips_the_rest(client, people, talk):
    (task,) = tasks(5, 1)
    with transaction() as session:
        said = [{"role": "user", "text": task.prompt}]
        known = prompts.add(session, messages=said, source=PromptSource.LABELER_PLAIN)
    talk(topics=[TOPIC], starters={"prompts": [known.public_id]}, alternatives=None)
    robot = people.labeler("robot", kind=AccountKind.SIMULATED)
    with Api("http://127.0.0.1:8000", "") as desk:
        desk.http.close()
        desk.http = client  # the whole application without a network
        client.base_url, client.headers = "http://127.0.0.1:8000/api/v1/", people.bearer(robot)
        labeler = Labeler(seed=5, number=1, pool=Pool.TRAIN)
        assert work(labeler, desk).prompt == task.prompt
        assert work(labeler, desk) is None
    with reading() as session:
        (one,), _ = queries.page(session, None, 5)
    (answer,) = one.conversation.messages
    assert answer.role == "assistant" and judge(task.prompt, answer.text).utility > 0
