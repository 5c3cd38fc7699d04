"""A network by path, made a policy: with nothing else set up a labeler gets suggestions, and alternatives to rank."""

import json
import subprocess

import httpx
import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.conftest import PASSWORD
from tests.end_to_end.test_run import PLUMBLINE, eventually, run  # noqa: F401 -- a fixture
from tests.training.conftest import families

TOPIC = "A bot that helps people to choose a bicycle."


@pytest.fixture
def plumbline(run):  # noqa: F811
    """Runs a command beside `plumbline run` and returns what it prints."""

    def command(*words: str) -> str:
        done = subprocess.run([*PLUMBLINE, *words], env=run.environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return command


def test_suggestions_and_alternatives_of_the_newest_policy(run, plumbline, tmp_path):  # noqa: F811
    config, tokenizer = families()["llama"]
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "network")
    tokenizer.save_pretrained(tmp_path / "network")
    run.start()
    plumbline("account", "create", "ana", "--password", PASSWORD)
    token = json.loads(plumbline("token", "create", "ana", "--json"))[0]["token"]
    network = plumbline("checkpoint", "add", str(tmp_path / "network"), "--name", "Tiny")
    plumbline("checkpoint", "policy", network)
    plumbline("round", "create", "Talk", "--topic", TOPIC, "--open")
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"{run.url}/api/v1", headers=headers, timeout=120) as desk:
        work = desk.post("/assignments/next").json()
        path = f"/assignments/{work['id']}"
        asked = {"role": "user", "text": "one two three"}
        kept = desk.post(f"{path}/draft", json={"content": {"messages": [asked]}}, headers={"If-Match": '"0"'})
        assert kept.status_code == 200
        assert not run.find("training.serve_policy"), "nobody has asked yet"
        made = eventually(lambda: _suggested(desk.post(f"{path}/suggestions")), 120)
        assert run.find("training.serve_policy")
        answer = {"role": "assistant", "text": made["text"], "suggestion": made["id"]}
        done = desk.post(f"{path}/submit", json={"fence": work["fence"], "messages": [asked, answer]})
        assert done.status_code == 200, done.text
        ranked = eventually(lambda: _given(desk.post("/assignments/next")), 60)
        assert ranked["kind"] == "comparison" and len(ranked["completions"]) == 4
        assert ranked["prompt"] == [asked]


def _suggested(reply: httpx.Response) -> dict | None:
    assert reply.status_code in (201, 503), reply.text  # 503: the network is still being loaded
    return reply.json() if reply.status_code == 201 else None


def _given(reply: httpx.Response) -> dict | None:
    return reply.json() if reply.status_code == 200 else None
