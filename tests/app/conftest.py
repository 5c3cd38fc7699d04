"""Labelers who work over REST; a training that is real and takes a second: a tiny network on a tiny text."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import update

from app import queue
from app.accounts.tables import Account
from app.assignments.tables import Assignment
from app.database import transaction, utc_now

API = "/api/v1/assignments"
WORDS = "plumb line level square true straight upright even flat sound"


class Worker:
    """A labeler over REST; every call says which status it expects."""

    def __init__(self, client, headers: dict[str, str], account: Account):
        self.client, self.headers, self.account = client, headers, account

    def __call__(self, method: str, path: str, status: int = 200, **more):
        headers = self.headers | more.pop("headers", {})
        reply = self.client.request(method, f"{API}{path}", headers=headers, **more)
        assert reply.status_code == status, reply.text
        return reply.json() if reply.content else None

    def next(self, round: int | None = None) -> str | None:
        """Ask for the next task (of a round); its id, or none."""
        reply = self.client.post(f"{API}/next", json={"round": round} if round else None, headers=self.headers)
        assert reply.status_code in (200, 204), reply.text
        return reply.json()["id"] if reply.status_code == 200 else None

    def submit(self, id: str, answer: str | dict = "Some words.") -> dict:
        """Submit a text, or a whole body."""
        return self("POST", f"/{id}/submit", json={"text": answer} if isinstance(answer, str) else answer)

    def draft(self, id: str, text: str) -> None:
        """Save a text."""
        version = self("GET", f"/{id}")["draft"]["version"]
        self("POST", f"/{id}/draft", json={"content": {"text": text}}, headers={"If-Match": str(version)})

    def skip(self, id: str) -> None:
        """Skip a task."""
        self("POST", f"/{id}/skip", 204, json={"reason": "unclear"})


@pytest.fixture
def worker(client, people) -> Callable[..., Worker]:
    """Makes a labeler of this name who works over REST."""

    def make(name: str, **fields) -> Worker:
        account = people.labeler(name, **fields)
        return Worker(client, people.bearer(account), account)

    return make


@pytest.fixture
def leases_run_out(database) -> Callable[[], None]:
    """Lets every lease have run out a second ago, by the database's clock."""

    def run_out() -> None:
        with transaction() as session:
            session.execute(
                update(Assignment).where(Assignment.lease_until > utc_now()).values(lease_until=utc_now(-1))
            )

    return run_out


@pytest.fixture
def tiny(tmp_path) -> dict:
    """The config of a train_base job that ends within seconds."""
    text = tmp_path / "text.txt"
    words = WORDS.split()
    text.write_text("\n\n".join(" ".join(words[i % 10 :] + words[: i % 7]) for i in range(400)), encoding="utf-8")
    return {
        "text": str(text), "vocab_size": 300, "hidden_size": 16, "intermediate_size": 16, "layers": 1, "heads": 2,
        "max_positions": 64, "row_tokens": 64, "rows_per_step": 4, "epochs": 2, "cache": str(Path(tmp_path) / "cache"),
        "save_every_seconds": 0.5,
    }  # fmt: skip


@pytest.fixture
def endless(tiny) -> dict:
    """The same, but far longer than any test waits."""
    return {**tiny, "epochs": 1000}


@pytest.fixture
def broker(database) -> Iterator[Redis]:
    """The queue's server, its queues empty."""
    with queue._broker() as client:
        client.delete(queue.DEFAULT, queue.TRAINING)
        yield client
        client.delete(queue.DEFAULT, queue.TRAINING)
