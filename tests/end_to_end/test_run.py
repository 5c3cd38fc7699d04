"""`plumbline run` as a person meets it: it starts, restarts what dies, and however it ends nothing is left of it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.conftest import PASSWORD

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes in /proc")
PLUMBLINE = [sys.executable, "-m", "app.cli"]


def eventually(true: Callable[[], object], seconds: float = 30) -> object:
    """What `true` returns as soon as it is true; fails after `seconds`."""
    until = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < until, f"not within {seconds} s: {true.__doc__ or true}"
        time.sleep(0.05)
    return value


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Run:
    """One `plumbline run` on a data folder."""

    def __init__(self, data: Path):
        self.data, self.port = data, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PLUMBLINE_")},
            "PLUMBLINE_DATA_DIR": str(data),
            "PLUMBLINE_PORT": str(self.port),
        }
        self.process: subprocess.Popen | None = None

    def start(self, *options: str) -> str:
        """Start it and return what it says until it is ready."""
        self.process = subprocess.Popen(
            [*PLUMBLINE, "run", *options],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said = []
        for line in self.process.stdout:
            said.append(line)
            if "data and logs" in line:
                return "".join(said)
        raise AssertionError("".join(said))

    def processes(self) -> dict[int, str]:
        """Command line by process id of everything that runs on this data folder."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"PLUMBLINE_DATA_DIR={self.data}\0" in (folder / "environ").read_text(errors="replace"):
                    command = (folder / "cmdline").read_text(errors="replace").replace("\0", " ").strip()
                    if command:  # else it is dead and only waits to be fetched
                        found[int(folder.name)] = command
        return found

    def find(self, words: str) -> int | None:
        """Process id of the oldest process with these words in its command line."""
        return min((pid for pid, command in self.processes().items() if words in command), default=None)


@pytest.fixture
def run(tmp_path) -> Iterator[Run]:
    made = Run(tmp_path / "data")
    yield made
    if made.process:
        made.process.terminate()
        made.process.wait(60)
        made.process.stdout.close()
    for pid in made.processes():
        os.kill(pid, signal.SIGKILL)


def test_it_starts_quickly_the_second_time_and_ctrl_c_leaves_nothing(run):
    run.start()
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(60) == 0
    assert not run.processes()
    began = time.monotonic()
    said = run.start()
    seconds = time.monotonic() - began
    assert "Preparing" not in said
    assert httpx.get(f"{run.url}/readyz").json() == {"status": "ready"}
    print(f"second start: {seconds:.1f} s")


def test_a_killed_launcher_leaves_nothing(run):
    run.start()
    eventually(lambda: run.find("worker --queue training"))
    run.process.kill()
    run.process.wait()
    eventually(lambda: not run.processes(), seconds=15)


def test_what_dies_comes_back_and_people_wait_instead_of_failing(run):
    run.start()
    web = run.find("web --fd")
    os.kill(web, signal.SIGKILL)
    assert httpx.get(f"{run.url}/healthz", timeout=30).status_code == 200  # at once, while it starts anew
    assert run.find("web --fd") != web
    broker = eventually(lambda: run.find("valkey-server"))
    os.kill(broker, signal.SIGKILL)
    eventually(lambda: run.find("valkey-server") not in (None, broker))
    eventually(lambda: httpx.get(f"{run.url}/readyz", timeout=30).status_code == 200)


def test_the_guard_comes_back_and_the_next_death_ends_nothing(run):
    run.start()
    guard, web = run.find("guard.py"), run.find("web --fd")
    os.kill(guard, signal.SIGKILL)
    os.kill(web, signal.SIGKILL)
    assert httpx.get(f"{run.url}/healthz", timeout=30).status_code == 200
    assert run.process.poll() is None
    assert eventually(lambda: run.find("guard.py")) != guard
    run.process.kill()
    run.process.wait()
    eventually(lambda: not run.processes(), seconds=15)


def test_nothing_is_left_when_guard_and_launcher_die_together(run):
    run.start()
    eventually(lambda: run.find("worker --queue training"))
    os.kill(run.find("guard.py"), signal.SIGSTOP)  # it cannot act any more
    guard = run.find("guard.py")
    run.process.kill()
    os.kill(guard, signal.SIGKILL)
    run.process.wait()
    until = time.monotonic() + 180
    while left := run.processes():
        assert time.monotonic() < until, f"still there: {left}"
        time.sleep(0.1)


def _zeros(path: Path) -> None:
    path.write_bytes(path.read_bytes() + bytes(4096))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("part", "damage"), [("incr", _zeros), ("base", _zeros), ("manifest", _zeros), ("manifest", _empty)]
)
def test_a_queue_that_a_power_cut_damaged_is_set_aside(run, part, damage):
    run.start()
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(60) == 0
    (path,) = (run.data / "valkey" / "appendonlydir").glob(f"*{part}*")
    damage(path)
    damaged = path.read_bytes()
    said = run.start()
    assert "starts empty" in said and "sent again from the database" in said
    eventually(lambda: httpx.get(f"{run.url}/readyz", timeout=30).status_code == 200)
    assert (run.data / "valkey.broken" / "appendonlydir" / path.name).read_bytes() == damaged


def test_no_torch_in_the_web_process(run):
    run.start()
    httpx.get(f"{run.url}/sign-in").raise_for_status()
    mapped = Path(f"/proc/{run.find('web --fd')}/maps").read_text()
    assert "libpython" in mapped or "python3" in mapped
    assert "libtorch" not in mapped


def test_it_says_in_one_line_why_it_cannot_start(run, tmp_path):
    run.start()
    other = Run(tmp_path / "other")
    for environment, words in (
        ({**other.environment, "PLUMBLINE_PORT": str(run.port)}, f"port {run.port}"),
        ({**other.environment, "PLUMBLINE_DATA_DIR": str(run.data)}, "is already running on the data folder"),
        ({**other.environment, "PLUMBLINE_DATA_DIR": "/proc/nowhere"}, "is not writable"),
    ):
        done = subprocess.run([*PLUMBLINE, "run"], env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_it_ends_with_the_process_that_started_it(run):
    starter = subprocess.Popen(
        ["sh", "-c", f"{' '.join(PLUMBLINE)} run --end-with-parent & wait"],
        env=run.environment,
        stdout=subprocess.DEVNULL,
    )
    eventually(lambda: run.find("web --fd"))
    starter.kill()
    starter.wait()
    eventually(lambda: not run.processes(), seconds=60)


def test_an_account_made_on_the_command_line_signs_in(run):
    made = subprocess.run(
        [*PLUMBLINE, "account", "create", "olga", "--role", "admin", "--password", PASSWORD],
        env=run.environment,
        capture_output=True,
        text=True,
    )
    assert made.returncode != 0  # no database yet, and it says so
    assert "migrate" in made.stderr
    run.start()
    subprocess.run(
        [*PLUMBLINE, "account", "create", "olga", "--role", "admin", "--password", PASSWORD],
        env=run.environment,
        check=True,
    )
    with httpx.Client(base_url=run.url) as client:
        assert sign_in(client, "olga", PASSWORD).status_code == 303


def sign_in(client: httpx.Client, username: str, password: str) -> httpx.Response:
    form = client.get("/sign-in").text
    token = form.split('name="csrf_token" value="')[1].split('"')[0]
    return client.post("/sign-in", data={"csrf_token": token, "username": username, "password": password})


def test_the_demo_greets_with_people_who_can_sign_in_and_find_work(run):
    said = run.start("--demo")
    people = dict(re.findall(r"^ +(\w+) +(\S+) +(?:labeler|admin)", said, re.M))
    assert len(people) == 3
    for username, password in people.items():
        with httpx.Client(base_url=run.url, timeout=30) as client:
            assert sign_in(client, username, password).status_code == 303
            assert client.get("/", follow_redirects=True).status_code == 200
    with httpx.Client(base_url=run.url, timeout=30) as client:
        sign_in(client, "carla", people["carla"])
        # The base network trains from the start, so that a newcomer does not wait for it later.
        eventually(lambda: "running" in client.get("/admin/simulation/state").text, seconds=60)
