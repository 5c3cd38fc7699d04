"""Labelers who work over REST."""

from collections.abc import Callable

import pytest
from sqlalchemy import update

from app.accounts.tables import Account
from app.assignments.tables import Assignment
from app.database import transaction, utc_now

API = "/api/v1/assignments"


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
