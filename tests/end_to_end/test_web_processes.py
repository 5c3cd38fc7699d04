"""A web server of several processes over one socket: it counts together, replaces its own, and leaves none behind."""

import os
import re
import signal
from pathlib import Path

import httpx
import pytest

from tests.conftest import fresh_database
from tests.end_to_end.test_concurrency import Server
from tests.end_to_end.test_run import eventually


@pytest.fixture
def database(request, tmp_path, monkeypatch):
    """Several processes are for PostgreSQL."""
    yield from fresh_database(request, tmp_path, monkeypatch, "postgresql")


@pytest.fixture
def server(database):
    started = Server(2)
    yield started
    started.kill()


def workers(server: Server) -> set[int]:
    """Process ids of the web processes: the children that serve, not multiprocessing's own helper."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return {int(pid) for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()}


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def answered(server: Server) -> int:
    text = httpx.get(f"{server.url}/metrics").text
    return sum(int(float(n)) for n in re.findall(r'requests_total\{[^}]*route="/readyz"[^}]*\} (\S+)', text))


def test_metrics_of_all_processes_add_up(server):
    assert len(workers(server)) == 2
    for _ in range(40):  # a connection each, taken by whichever process is quicker
        assert httpx.get(f"{server.url}/readyz").status_code in (200, 503)
    assert {answered(server) for _ in range(10)} == {40}


def test_a_process_that_dies_is_replaced(server):
    before = workers(server)
    os.kill(min(before), signal.SIGKILL)
    eventually(lambda: len(workers(server)) == 2 and workers(server) != before)
    eventually(lambda: httpx.get(f"{server.url}/healthz").status_code == 200)


def test_no_process_stays_when_the_first_is_killed(server):
    left = workers(server)  # one of them may still be starting: the other answers
    assert len(left) == 2
    os.kill(server.process.pid, signal.SIGKILL)
    eventually(lambda: not any(is_alive(pid) for pid in left))


def test_no_process_stays_when_the_first_is_killed_while_they_start(server):
    server.kill()
    server.launch()
    left = eventually(lambda: len(found := workers(server)) == 2 and found)
    os.kill(server.process.pid, signal.SIGKILL)
    eventually(lambda: not any(is_alive(pid) for pid in left))


def test_all_end_when_asked(server):
    left = workers(server)
    server.process.terminate()
    assert server.process.wait(20) == 0
    assert not any(is_alive(pid) for pid in left)
