"""The thin supervisor of one attempt: starts the training as a child process, reads its events and keeps the lease.

The child exits when the pipe to its standard input closes, so killing the supervisor also kills the training. The run
folder's lock keeps out a second child until the first has exited.
"""

import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.checkpoints import rules as checkpoints
from app.config import ROOT, settings
from app.database import reading, transaction
from app.errors import PlumblineError
from app.jobs import queries, rules
from app.jobs.tables import Job, JobState, JobVerb
from app.kit.children import environment
from app.kit.i18n import gettext as _
from app.kit.leases import LeaseLost
from app.plans import rules as plans
from training.contract.events import CheckpointSaved, NetworkTried
from training.contract.recipes import CONFIGS

GRACE_SECONDS = 45  # from SIGTERM, on which the child saves its state, to SIGKILL; shorter than Celery's soft shutdown
POLL_SECONDS = 0.5
_CHUNK_BYTES = 1_000_000  # of events.jsonl stored in one transaction

log = logging.getLogger(__name__)


class Supervisor:
    """One attempt of one job, from its lease until it ends or is requeued."""

    def __init__(self, job: Job, stopping: Callable[[], bool]):
        self.job = job
        self.stopping = stopping  # whether the surrounding worker is shutting down
        self.folder = rules.folder(job)
        self.lease_seconds = settings().job_lease_seconds
        self.renewed_at = time.monotonic()
        self.events_before = 0  # number of the last event before this attempt
        self.reason = ""  # why the child was asked to stop: "cancel" or "shutdown"

    def run(self) -> None:
        """Supervise until the job ends or is requeued; raise LeaseLost."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._rewind()
        if rules.is_finished(self.job):  # the last supervisor died after the run ended, before updating the row
            self.end(None)
            return
        self._store_events()
        with reading() as session:
            self.events_before = queries.job_status(session, self.job.id).last_event
        try:
            with reading() as session:
                config = checkpoints.resolve(session, self.job.config)
            if self.job.verb is JobVerb.TRAIN_BASE and config["cache"] is None:
                config["cache"] = str(settings().data_dir.absolute() / "base-networks")  # survives a reset of the demo
        except PlumblineError as error:
            with transaction() as session:
                rules.fail(session, self.job, error.message)
                plans.advance_after(session, job=self.job)
            return
        if self._wait_for_folder():
            self.end(self._supervise(config))
        else:
            self.end(None)

    # --- the child ---

    def _supervise(self, config: dict) -> int:
        """Run the child until it exits; return its exit status."""
        path = self.folder / "config.json"
        _write_whole(path, json.dumps(config, indent=2) + "\n")
        command = [sys.executable, "-m", *_launcher(self.job.verb), f"training.{self.job.verb}", str(path)]
        with (self.folder / "log.txt").open("ab") as output:
            child = subprocess.Popen(
                [*command, "--run-folder", str(self.folder), "--resume", "--supervised"],
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        assert child.stdin is not None  # a pipe
        log.info("job %s: attempt %s runs as process %s", self.job.public_id, self.job.attempt, child.pid)
        kill_at = float("inf")
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    return child.wait(POLL_SECONDS)
                asked = self._watch()
                self._store_events()
                if asked and not self.reason:
                    self.reason = asked
                    kill_at = time.monotonic() + GRACE_SECONDS
                    _signal_group(child, signal.SIGTERM)
                if time.monotonic() > kill_at:
                    _signal_group(child, signal.SIGKILL)
        finally:
            child.stdin.close()
            _signal_group(child, signal.SIGKILL)  # also ends processes that the child may have left running
            child.wait()

    def _watch(self) -> str:
        """Renew the lease when due; return why the child should stop, or "". Raise LeaseLost."""
        if self.stopping():
            return "shutdown"
        now = time.monotonic()
        try:
            with reading() as session:
                standing = queries.job_status(session, self.job.id)
            if standing.owner != self.job.owner or standing.state is not JobState.RUNNING:
                raise LeaseLost(self.job.public_id)
            if now - self.renewed_at > min(15, self.lease_seconds / 4):
                with transaction() as session:
                    rules.renew(session, self.job)
                self.renewed_at = now
        except OperationalError as error:  # the database is unreachable: continue until the lease expires
            if now - self.renewed_at > self.lease_seconds:
                raise LeaseLost(self.job.public_id) from error
            log.warning("job %s: the database does not answer: %s", self.job.public_id, error)
            return ""
        return "cancel" if standing.cancel_requested else ""

    def _wait_for_folder(self) -> bool:
        """Wait until no other process uses the folder, keeping the lease; return False if the job must stop first."""
        while True:
            with (self.folder / ".lock").open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return True
                except BlockingIOError:
                    pass
            self.reason = self._watch()
            if self.reason:
                return False
            time.sleep(POLL_SECONDS)

    # --- its events ---

    def _store_events(self) -> None:
        """Store the child's new events; if the database is unreachable, the next poll tries again."""
        with suppress(OperationalError):
            while lines := self._unread():
                with transaction() as session:
                    offset = self._ingest(session, lines)
                self.job.events_read = offset

    def _rewind(self) -> None:
        """Rewind to the end of events.jsonl if a crash lost lines of the file that are already stored."""
        path = self.folder / "events.jsonl"
        end = path.read_bytes().rfind(b"\n") + 1 if path.exists() else 0
        if end < self.job.events_read:
            with transaction() as session:
                rules.rewind(session, self.job, end)
            self.job.events_read = end

    def _unread(self) -> bytes:
        """Return the whole lines of events.jsonl that are not stored yet."""
        path = self.folder / "events.jsonl"
        if not path.exists():
            return b""
        with path.open("rb") as file:
            file.seek(self.job.events_read)
            chunk = file.read(_CHUNK_BYTES)
        return chunk[: chunk.rfind(b"\n") + 1]

    def _ingest(self, session: Session, lines: bytes) -> int:
        """Store lines and register the checkpoints in them; return the offset after them."""
        for event in rules.ingest(session, self.job, self.job.events_read, lines):
            if isinstance(event, CheckpointSaved):
                checkpoints.register(session, self.job, event)
            elif isinstance(event, NetworkTried):
                checkpoints.note_tried(session, self.job, event)
        return self.job.events_read + len(lines)

    # --- the end ---

    def end(self, status: int | None) -> None:
        """Record the end; `status` is the child's exit status, None if none ran.

        Events, state and the plan's next step are written in one transaction.
        """
        with transaction() as session:
            while lines := self._unread():
                self.job.events_read = self._ingest(session, lines)
            told = queries.outcome(session, self.job, self.events_before)
            if told is not None and told.kind == "finished":
                rules.finish(session, self.job, told.body["result"])
            elif self.reason == "cancel":
                rules.confirm_cancel(session, self.job)
            elif self.reason == "shutdown":
                rules.put_back(session, self.job, counts=False)
            elif told is not None:
                rules.fail(session, self.job, told.body["message"])
            elif status == 2:  # an unusable config or run folder; the log says which
                rules.fail(session, self.job, self._last_words())
            elif self.job.attempt < settings().job_attempts:
                log.warning("job %s: the training died (%s) and is started again", self.job.public_id, status)
                rules.put_back(session, self.job, counts=True)
            else:
                died = _("The training died %(count)s times (exit status %(status)s). Last lines of its log:") % {
                    "count": self.job.attempt,
                    "status": status,
                }
                rules.fail(session, self.job, f"{died}\n{self._last_words()}")
            plans.advance_after(session, job=self.job)

    def _last_words(self) -> str:
        return "\n".join(tail(self.folder, 15)) or _("The log is empty.")


def _launcher(verb: str) -> list[str]:
    """Return the launcher for multi-process training: it kills all processes when one dies and exits after all have."""
    count = settings().training_processes
    if count == 1 or not CONFIGS[verb].many_processes:
        return []
    return ["torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "-m"]


def tail(folder: Path, lines: int) -> list[str]:
    """Return the last lines of a run folder's log."""
    path = folder / "log.txt"
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 400 * lines))
        return file.read().decode(errors="replace").splitlines()[-lines:]


def _signal_group(child: subprocess.Popen, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def _write_whole(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.supervisor.new")
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
