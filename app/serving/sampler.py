"""`plumbline sampler`: keeps requested networks in memory, each in a child process that runs serve_policy.

A child ends when the pipe to it closes, so no network outlives the sampler, even if it crashes.
"""

import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Event

from sqlalchemy.exc import OperationalError

from app.config import ROOT, settings
from app.database import reading, transaction
from app.kit.children import environment
from app.policies.tables import Policy
from app.serving import rules as serving
from training.contract.records import SERVING_ADDRESS

POLL_SECONDS = 0.5

log = logging.getLogger(__name__)


class Resident:
    """One policy's child process and its lease."""

    def __init__(self, policy: Policy):
        assert policy.path is not None  # of every policy that reach() asks the sampler for
        self.policy_id, self.name = policy.id, policy.name
        self.folder = settings().data_dir.absolute() / "serving" / policy.public_id
        self.folder.mkdir(parents=True, exist_ok=True)
        for stale in (SERVING_ADDRESS, "events.jsonl", "config.json"):
            (self.folder / stale).unlink(missing_ok=True)
        self.address = ""
        self.renewed_at = time.monotonic()
        config = {
            "init_from": str(settings().data_dir.absolute() / policy.path),
            "name": policy.public_id,
            "host": settings().sampler_host,
            "port": 0,
            "max_prompt_tokens": 1_000_000,  # effectively none: the network's context length is the limit
            "seed": secrets.randbits(53),  # a reloaded network must not repeat its samples
        }
        path = self.folder / "request.json"
        path.write_text(json.dumps(config))
        with (self.folder / "log.txt").open("wb") as output:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "training.serve_policy",
                    str(path),
                    "--run-folder",
                    str(self.folder),
                    "--supervised",
                ],
                cwd=ROOT,
                env=environment() | {"SERVE_POLICY_KEY": serving.key()},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
            )
        assert self.process.stdin is not None  # a pipe
        self.pipe = self.process.stdin

    def loaded(self) -> str:
        """Return its address once it answers, "" until then."""
        path: Path = self.folder / SERVING_ADDRESS
        return path.read_text().strip() if path.exists() else ""

    def last_words(self) -> str:
        """Return why it ended: the last line of its log, else its exit status."""
        lines = (self.folder / "log.txt").read_text(errors="replace").strip().splitlines()
        return lines[-1][-500:] if lines else f"exit status {self.process.returncode}"

    def end(self) -> None:
        """End the child."""
        self.pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.process.kill()
        self.process.wait()


class Sampler:
    """The residents of one sampler process."""

    def __init__(self) -> None:
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.residents: dict[int, Resident] = {}
        self.alive = settings().data_dir / "serving" / "alive"  # its mtime shows a health check that look() runs
        self.alive.parent.mkdir(parents=True, exist_ok=True)

    def look(self) -> None:
        """Load requested policies, publish their addresses, renew leases, and end unused children."""
        with reading() as session:
            wanted = {served.policy_id for served in serving.wanted(session)}
        self.alive.touch()
        for policy_id in list(self.residents):
            resident = self.residents[policy_id]
            if resident.process.poll() is not None:
                self._drop(policy_id, resident.last_words())
                wanted.discard(policy_id)  # until it is requested again
            elif policy_id not in wanted or not self._keep(resident):
                self._drop(policy_id)
        for policy_id in wanted - self.residents.keys():
            self._load(policy_id)

    def _load(self, policy_id: int) -> None:
        with transaction() as session:
            if not serving.hold(session, policy_id, self.owner, ""):
                return  # another sampler has it
            policy = session.get_one(Policy, policy_id)
        self.residents[policy_id] = Resident(policy)
        log.info("%s is being loaded by process %s", policy.name, self.residents[policy_id].process.pid)

    def _keep(self, resident: Resident) -> bool:
        """Renew the lease if due and publish the address if it changed; returns False if the lease is lost."""
        address = resident.loaded()
        if address == resident.address and time.monotonic() - resident.renewed_at < serving.RENEW_SECONDS:
            return True
        with transaction() as session:
            held = serving.hold(session, resident.policy_id, self.owner, address)
        resident.address, resident.renewed_at = address, time.monotonic()
        return held

    def _drop(self, policy_id: int, error: str = "") -> None:
        resident = self.residents.pop(policy_id)
        resident.end()
        log.log(logging.WARNING if error else logging.INFO, "%s is no longer in memory %s", resident.name, error)
        with transaction() as session:
            serving.let_go(session, policy_id, self.owner, error)

    def end(self) -> None:
        """End all children and their leases."""
        for policy_id in list(self.residents):
            self._drop(policy_id)


def run() -> None:
    """Serve until SIGTERM or SIGINT."""
    ended = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    sampler = Sampler()
    try:
        while not ended.is_set():
            try:
                sampler.look()
            except OperationalError as error:  # the database is down; leases decide what happens to the residents
                log.warning("the database does not answer: %s", error)
            ended.wait(POLL_SECONDS)
    finally:
        with suppress(OperationalError):
            sampler.end()
