"""The launcher's child processes, each in its own process group, and the guard that ends them if it is killed."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import typer

from app.config import ROOT, settings
from app.launch.guard import signal_groups

AT_ONCE_SECONDS = 10  # a child that exits sooner with an error could not start
LONGEST_PAUSE_SECONDS, STEADY_SECONDS = 30, 60  # between restarts; after STEADY_SECONDS alive the pauses start over
LOG_BYTES = 10_000_000
PR_SET_PDEATHSIG = 1


@dataclass
class Child:
    """One program under the launcher, in its own process group."""

    name: str
    command: Sequence[str | Path]
    environment: dict[str, str] = field(default_factory=dict)
    inherit: Sequence[int] = ()
    rebuilt: Path | None = None  # its storage, if all of that can be rebuilt from the database
    _process: subprocess.Popen | None = field(default=None, init=False)
    started_at: float = 0.0  # monotonic seconds
    restarts: int = 0
    restart_at: float | None = None

    @property
    def log(self) -> Path:
        """File that receives the child's output."""
        return settings().data_dir / "logs" / f"{self.name}.log"

    @property
    def process(self) -> subprocess.Popen:
        """The running program, or what is left of it."""
        assert self._process is not None, f"{self.name} has not been started"
        return self._process

    @property
    def started(self) -> bool:
        """Whether start() has been called."""
        return self._process is not None

    def start(self, guard: "OrphanReaper") -> None:
        """Start the child and register its process group with the guard."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_suffix(".1.log"))
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(word) for word in self.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # A stray click.py in the user's working directory must not be imported.
                env={**os.environ, "PYTHONSAFEPATH": "1", **self.environment},
                pass_fds=self.inherit,
                start_new_session=True,
                preexec_fn=_end_with(os.getpid()),
            )
        self.started_at, self.restart_at = time.monotonic(), None
        guard.add(self.process.pid)

    def set_aside(self) -> bool:
        """Move the child's storage aside, so that it starts empty; return False if it has none."""
        if self.rebuilt is None or not any(self.rebuilt.iterdir()):
            return False
        broken = self.rebuilt.with_name(f"{self.rebuilt.name}.broken")
        shutil.rmtree(broken, ignore_errors=True)
        self.rebuilt.rename(broken)
        self.rebuilt.mkdir()
        typer.echo(
            f"{self.name} could not read its stored data and starts empty; the old data is now in {broken}. Nothing "
            f"is lost: waiting tasks are sent again from the database. See {self.log}",
            err=True,
        )
        return True

    def clear(self, guard: "OrphanReaper") -> None:
        """Kill what the child left in its process group and unregister the group."""
        signal_groups({self.process.pid}, signal.SIGKILL)
        self.process.wait()
        guard.remove(self.process.pid)

    def watch(self, guard: "OrphanReaper") -> None:
        """Restart the child if it died, with longer pauses for repeated restarts."""
        now = time.monotonic()
        if self.restart_at is not None:
            if now >= self.restart_at:
                self.start(guard)
        elif self.process.poll() is not None:
            self.clear(guard)
            if self.process.returncode > 0 and now - self.started_at < AT_ONCE_SECONDS:
                self.set_aside()
            self.restarts = self.restarts + 1 if now - self.started_at < STEADY_SECONDS else 0
            pause = min(2**self.restarts - 1, LONGEST_PAUSE_SECONDS)
            self.restart_at = now + pause
            again = f"in {pause} s" if pause else "now"
            typer.echo(f"{self.name} exited ({self.process.returncode}) and restarts {again}; see {self.log}", err=True)


def _end_with(parent: int) -> Callable[[], None] | None:
    """Return a function for the child to run before its program, so that Linux ends it with the launcher; else None."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)

    def ask() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)  # the launcher was killed before prctl

    return ask


class OrphanReaper:
    """The process that ends all children if the launcher is killed; it is restarted if it dies."""

    def __init__(self) -> None:
        self.groups: set[int] = set()
        self._start()

    def _start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-S", ROOT / "app" / "launch" / "guard.py"],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdin is not None  # a pipe
        self.pipe = self.process.stdin

    def add(self, group: int) -> None:
        """Register a process group to end."""
        self.groups.add(group)
        self._tell(f"+{group}")

    def remove(self, group: int) -> None:
        """Unregister a process group that has ended."""
        self.groups.discard(group)
        self._tell(f"-{group}")

    def _tell(self, line: str) -> None:
        with suppress(BrokenPipeError):  # watch() starts a new guard and sends it every group
            print(line, file=self.pipe, flush=True)

    def watch(self) -> None:
        """Restart the guard if it died, and send it every group."""
        if self.process.poll() is None:
            return
        typer.echo(f"the guard exited ({self.process.returncode}) and restarts", err=True)
        with suppress(BrokenPipeError):
            self.pipe.close()
        self._start()
        for group in self.groups:
            self._tell(f"+{group}")

    def end(self) -> None:
        """Stop the guard; it ends registered groups that are still running."""
        with suppress(BrokenPipeError):
            self.pipe.close()
        self.process.wait(10)
