"""Many labelers at once against a real server process over REST, on both databases; and a server that is killed."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest
from sqlalchemy import func, select

from app.assignments.tables import Assignment, AssignmentState, Draft, Skip
from app.comparisons.tables import ComparedCompletion, Comparison
from app.config import ROOT
from app.database import reading
from app.demonstrations.tables import Demonstration
from app.rounds.tables import ItemKind
from tests.desk import make_round


class Server:
    """The web server as its own process, or as several, over the test's database."""

    def __init__(self, processes: int = 1):
        self.processes = processes
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def launch(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "web", "--processes", str(self.processes)],
            cwd=ROOT,
            env=os.environ | {"PLUMBLINE_PORT": str(self.port), "PLUMBLINE_LOG_LEVEL": "warning"},
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def start(self) -> None:
        self.launch()
        until = time.monotonic() + 40
        while time.monotonic() < until and self.process.poll() is None:
            try:
                httpx.get(f"{self.url}/healthz", timeout=5)
                return
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        with suppress(ProcessLookupError):  # killed before
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def server(database) -> Iterator[Server]:
    """One process over SQLite, and two over PostgreSQL."""
    started = Server(1 if database.dialect.name == "sqlite" else 2)
    yield started
    started.kill()


def answer(work: dict) -> dict:
    """A whole submission, its text saying which assignment it is for."""
    if work["kind"] == "demonstration":
        return {"fence": work["fence"], "text": f"written for {work['id']}"}
    places = enumerate(work["completions"], 1)
    answers = {one["letter"]: {"rating": 5, "flags_complete": True, "tier": (place + 1) // 2} for place, one in places}
    return {"fence": work["fence"], "completions": answers, "notes": work["id"]}


@pytest.mark.parametrize("labelers", [40, 200])
def test_many_labelers_at_once(server, people, labelers, record_property):
    """Everybody works the queue empty; some skip, every tenth submission is sent twice at once."""
    make_round(labelers, k=4, overlap=2, number=1)
    make_round(labelers // 2, kind=ItemKind.DEMONSTRATION, overlap=1, number=2)
    bearers = [people.bearer(people.labeler(f"labeler{number}")) for number in range(labelers)]
    acknowledged: list[str] = []  # assignment ids whose submission got a 200
    given: list[tuple[str, int]] = []
    statuses: Counter[int] = Counter()
    start = threading.Barrier(labelers)
    api = f"{server.url}/api/v1/assignments"

    def day(number: int) -> None:
        with httpx.Client(base_url=api, headers=bearers[number], timeout=60, verify=False) as desk:

            def send(path: str, **body) -> httpx.Response:
                reply = desk.post(path, **body)
                statuses[reply.status_code] += 1
                return reply

            start.wait()
            while (reply := send("/next")).status_code == 200:
                work = reply.json()
                given.append((work["id"], work["fence"]))
                turn = len(given)
                if turn % 3 == 0:
                    send(f"/{work['id']}/ahead")  # some prepare the page that comes next
                if turn % 17 == 0:
                    assert send(f"/{work['id']}/skip", json={"reason": "other"}).status_code == 204
                    continue
                if turn % 5 == 0:
                    draft = {"content": {key: value for key, value in answer(work).items() if key != "fence"}}
                    saved = send(f"/{work['id']}/draft", json=draft, headers={"If-Match": '"0"'})
                    assert saved.status_code == 200, saved.text
                body = {"json": answer(work), "headers": {"Idempotency-Key": f"{number}-{turn}"}}
                if turn % 10 == 0:
                    with ThreadPoolExecutor(2) as twice:
                        sent = [twice.submit(send, f"/{work['id']}/submit", **body) for _ in range(2)]
                        replies = [one.result() for one in sent]
                    assert replies[0].json() == replies[1].json()
                else:
                    replies = [send(f"/{work['id']}/submit", **body)]
                assert all(one.status_code == 200 for one in replies), replies[0].text
                acknowledged.append(work["id"])

    began = time.monotonic()
    with ThreadPoolExecutor(labelers) as pool:
        for done in [pool.submit(day, number) for number in range(labelers)]:
            done.result()
    took = time.monotonic() - began
    rate = statuses.total() / took
    record_property("requests_per_second", round(rate, 1))
    print(f"{labelers} labelers: {statuses.total()} requests in {took:.1f} s, {rate:.0f}/s; {dict(statuses)}")

    assert set(statuses) <= {200, 204}, statuses
    assert max(Counter(given).values()) == 1, "an assignment was handed out twice under one fence"
    with reading() as session:
        states = dict(session.execute(select(Assignment.state, func.count()).group_by(Assignment.state)).all())
        comparisons = session.execute(select(Comparison.item_id, Comparison.labeler_id, Comparison.surplus)).all()
        rows = session.scalar(select(func.count()).select_from(ComparedCompletion))
        demonstrations = session.scalars(select(Demonstration)).all()
        notes = session.scalars(select(Comparison.notes)).all()
        texts = [one.completion.text.removeprefix("written for ") for one in demonstrations]
        skips = session.scalar(select(func.count()).select_from(Skip))
    assert states == {AssignmentState.SUBMITTED: labelers * 2 + labelers // 2}, "none is lost"
    assert sorted(acknowledged) == sorted([*notes, *texts]), "each acknowledged submission is stored once"
    assert len(set(comparisons)) == len(comparisons) == labelers * 2 and rows == len(comparisons) * 4
    assert not any(one.surplus for one in comparisons) and skips == len(given) - len(acknowledged)


def test_a_server_killed_in_the_middle_of_submitting_loses_no_word(server, people):
    """Thirty labelers submit while the server is killed; what was acknowledged is stored, the rest is their draft."""
    labelers = [people.labeler(f"labeler{number}") for number in range(30)]
    bearers = [people.bearer(labeler) for labeler in labelers]
    make_round(30, kind=ItemKind.DEMONSTRATION)
    api = f"{server.url}/api/v1/assignments"
    works = [httpx.post(f"{api}/next", headers=bearer, timeout=60).json() for bearer in bearers]

    def text(number: int) -> str:
        return f"text of labeler {number} " * 200

    for number, work in enumerate(works):
        draft = {"content": {"text": text(number)}}
        headers = bearers[number] | {"If-Match": '"0"'}
        httpx.post(f"{api}/{work['id']}/draft", json=draft, headers=headers, timeout=60).raise_for_status()

    answered = threading.Semaphore(0)

    def submit(number: int) -> bool:
        url = f"{api}/{works[number]['id']}/submit"
        headers = bearers[number] | {"Idempotency-Key": "k"}
        try:
            reply = httpx.post(url, json={"fence": 1, "text": text(number)}, headers=headers, timeout=60)
        except httpx.TransportError:
            return False
        answered.release()
        return reply.status_code == 200

    with ThreadPoolExecutor(30) as pool:
        tried = [pool.submit(submit, number) for number in range(30)]
        for _ in range(3):
            answered.acquire(timeout=60)
        server.kill()
        acknowledged = [one.result() for one in tried]
    assert any(acknowledged) and not all(acknowledged), "the kill came too early or too late to mean anything"

    server.start()
    for number, work in enumerate(works):
        now = httpx.get(f"{api}/{work['id']}", headers=bearers[number], timeout=60).json()
        assert now["draft"]["content"]["text"] == text(number)
        assert now["state"] == "submitted" or not acknowledged[number]
    assert all(submit(number) for number in range(30)), "the same key again is welcome"
    with reading() as session:
        stored = Counter(one.completion.text for one in session.scalars(select(Demonstration)))
        left = session.scalar(select(func.count()).select_from(Draft).where(Draft.submitted_at.is_(None)))
    assert stored == {text(number).rstrip(): 1 for number in range(30)} and left == 0
