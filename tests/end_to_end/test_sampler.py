"""`plumbline sampler` with a real network: loaded when asked for, told where, ended with its pipe and when idle."""

import subprocess
import sys
import threading

import pytest
import torch
from sqlalchemy import update
from transformers import AutoModelForCausalLM

from app.config import settings
from app.database import reading, transaction, utc_now
from app.policies import rules
from app.policies.tables import Policy, PolicyKind, ServedPolicy
from app.serving import rules as serving
from app.serving.endpoint import NoAnswer
from app.serving.sampler import Sampler
from tests.conftest import fresh_database
from tests.training.conftest import families

TALK = [{"role": "user", "text": "one two three"}]


@pytest.fixture(params=["sqlite"])
def database(request, tmp_path, monkeypatch):
    """One database: what its rows say is tested on both beside the rules."""
    yield from fresh_database(request, tmp_path, monkeypatch)


@pytest.fixture
def policy(database, monkeypatch) -> Policy:
    """A policy whose network lies in the data folder."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    config, tokenizer = families()["llama"]
    place = settings().data_dir / "runs" / "tiny" / "checkpoints" / "last"
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(config).save_pretrained(place)
    tokenizer.save_pretrained(place)
    with transaction() as session:
        return rules.get_or_create(session, "tiny", PolicyKind.TRAINED, path="runs/tiny/checkpoints/last")


@pytest.fixture
def sampler(database):
    """A sampler that looks every moment until the test ends."""
    made, over = Sampler(), threading.Event()

    def work() -> None:
        while not over.is_set():
            made.look()
            over.wait(0.05)

    thread = threading.Thread(target=work)
    thread.start()
    yield made
    over.set()
    thread.join()
    made.end()


def served(policy: Policy) -> ServedPolicy:
    with reading() as session:
        return session.get_one(ServedPolicy, policy.id)


def until(true) -> None:
    pause = threading.Event()
    for _ in range(1200):
        if true():
            return
        pause.wait(0.05)
    raise AssertionError("it did not happen")


def test_a_network_is_loaded_when_it_is_asked_and_ends_when_nobody_does(policy, sampler):
    assert sampler.residents == {}
    assert serving.write(policy, TALK, n=2, max_tokens=5, wait_seconds=120)[0].text
    child = sampler.residents[policy.id].process
    assert served(policy).address.startswith("http://127.0.0.1:")
    serving.write(policy, TALK, max_tokens=5, wait_seconds=0)
    assert sampler.residents[policy.id].process is child, "it stays"
    child.kill()  # it is loaded again once somebody asks
    until(lambda: served(policy).wanted_at is None)
    serving.write(policy, TALK, max_tokens=5, wait_seconds=120)
    again = sampler.residents[policy.id].process
    assert again.pid != child.pid
    with transaction() as session:
        session.execute(update(ServedPolicy).values(wanted_at=utc_now(-serving.IDLE_SECONDS - 1)))
    until(lambda: again.poll() is not None)
    until(lambda: served(policy).address == "")


def test_what_cannot_be_loaded_says_why(policy, sampler):
    with transaction() as session:
        session.execute(update(Policy).values(path="runs/gone"))
        policy = session.get_one(Policy, policy.id)
    with pytest.raises(NoAnswer, match=r"could not be loaded: .*no such network folder"):
        serving.write(policy, TALK, wait_seconds=120)


def test_no_network_outlives_its_sampler(policy, database):
    command = "import sys; from app.serving import sampler; sampler.run()"
    process = subprocess.Popen([sys.executable, "-c", command])
    try:
        assert serving.write(policy, TALK, max_tokens=3, wait_seconds=120)
    finally:
        process.kill()
        process.wait()
    until(lambda: not _answers(policy))


def _answers(policy: Policy) -> bool:
    with transaction() as session:  # the lease is still there for a while
        session.execute(update(ServedPolicy).values(lease_until=utc_now(60)))
    try:
        serving.write(policy, TALK, max_tokens=3, wait_seconds=0)
    except NoAnswer:
        return False
    return True
