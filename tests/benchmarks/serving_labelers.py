"""The labeling server under 40 and 200 labelers without think time, beside a bare pair of routes, round by round.

Client, server and database share the machine. `LABELERS_ROUNDS`, `LABELERS_SECONDS`, `LABELERS_PROCESSES` and
`LABELERS_ONLY` (words such as "postgresql 40 rest") make it shorter.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import httpx
import psycopg
from sqlalchemy import func, insert, select

from app.accounts import rules as accounts
from app.accounts.tables import Account, Role
from app.assignments import order
from app.assignments.tables import Assignment
from app.comparisons.tables import Comparison
from app.completions.tables import Completion
from app.config import ROOT
from app.database import engine, public_id, reading, transaction
from app.guidelines.rules import current_form, current_guideline
from app.guidelines.tables import FormKind
from app.policies.tables import Policy, PolicyKind
from app.prompts.tables import Prompt, PromptSource
from app.rounds.tables import Item, ItemCompletion, ItemKind, Round, RoundPriority, RoundState
from app.tables import metadata
from tests import services
from tests.conftest import forget_settings
from training.contract.records import Split

ROUNDS = int(os.environ.get("LABELERS_ROUNDS", "5"))
SECONDS = float(os.environ.get("LABELERS_SECONDS", "6"))
PROCESSES = os.environ.get("LABELERS_PROCESSES", "")
ONLY = os.environ.get("LABELERS_ONLY", "").split()
TASKS = 40_000
LABELERS = 200


class Setting(NamedTuple):
    """What one row of the table measures."""

    database: str  # "sqlite" or "postgresql"
    labelers: int
    way: str  # "rest" or "pages"


SETTINGS = [
    Setting(database, labelers, way)
    for database in ("sqlite", "postgresql")
    for way, labelers in (("rest", 40), ("rest", 200), ("pages", 40))
]


class Server(NamedTuple):
    """A web server under measurement, and the processes whose time counts as the database's."""

    url: str
    process: subprocess.Popen
    database: int | None  # the process at the head of the database's


def rows(folder: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield each setting's medians, ours and the bare pair's, measured in turn."""
    for kind in ("sqlite", "postgresql"):
        chosen = [one for one in SETTINGS if one.database == kind and _is_asked(one)]
        if chosen:
            with _database(kind, folder) as (url, bare_url, head):
                yield from _measured(chosen, url, bare_url, head)


def _is_asked(setting: Setting) -> bool:
    return all(word in map(str, setting) for word in ONLY)


def _measured(
    settings: list[Setting], url: str, bare_url: str, head: int | None
) -> Iterator[tuple[str, dict[str, float]]]:
    visitors = {"rest": _fill(TASKS), "pages": _sessions()}
    found: dict[Setting, list[dict[str, float]]] = {setting: [] for setting in settings}
    for _ in range(ROUNDS):
        for setting in settings:
            with _ours(url, head) as server:
                ours = _work(server, setting, visitors[setting.way][: setting.labelers])
            with _bare(bare_url, head) as server:
                bare = _work(server, setting._replace(way="rest"), visitors["rest"][: setting.labelers])
            stored = _stored()
            lost = len(set(ours["done"]) - stored)
            found[setting].append({
                "cycles/s": ours["rate"],
                "of bare": ours["rate"] / bare["rate"],
                "bare": bare["rate"],
                "server ms": ours["server_ms"],
                "database ms": ours["database_ms"],
                "client ms": ours["client_ms"],
                **{f"{name} {p}": ms for name, took in ours["milliseconds"].items() for p, ms in took.items()},
                "errors": sum(n for status, n in ours["statuses"].items() if int(status) >= 400),
                "doubles": ours["doubles"],
                "lost": lost,
            })  # fmt: skip
            print(" ".join(map(str, setting)), {k: round(v, 2) for k, v in found[setting][-1].items()}, flush=True)
    worst = ("errors", "doubles", "lost")
    for setting, rounds in found.items():
        yield (
            " ".join(map(str, setting)),
            {name: (max if name in worst else median)(one[name] for one in rounds) for name in rounds[0]},
        )


def _work(server: Server, setting: Setting, visitors: list[dict[str, str]]) -> dict:
    asked = {"url": server.url, "seconds": SECONDS, "way": setting.way, "visitors": visitors}
    before = _processor_seconds(server.process.pid), _processor_seconds(server.database)
    client = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.runners.labelers"],
        input=json.dumps(asked), capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert client.returncode == 0, client.stderr[-3000:]
    found = json.loads(client.stdout)
    after = _processor_seconds(server.process.pid), _processor_seconds(server.database)
    cycles = max(1, len(found["done"]))
    found["rate"] = cycles / found["seconds"]
    found["server_ms"] = 1000 * (after[0] - before[0]) / cycles
    found["database_ms"] = 1000 * (after[1] - before[1]) / cycles
    found["client_ms"] = 1000 * found["client_seconds"] / cycles
    return found


def _processor_seconds(head: int | None) -> float:
    """Return what a process, its children and those that have ended have used."""
    if head is None:
        return 0.0
    total, waiting = 0.0, [head]
    while waiting:
        pid = waiting.pop()
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except FileNotFoundError:
            continue  # ended meanwhile; its parent has its time
    return total


# --- Servers ---


@contextmanager
def _listening(command: list[str], environment: dict[str, str], head: int | None) -> Iterator[Server]:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [word.format(port=port) for word in command]
    environment = {**os.environ, **environment, "PLUMBLINE_PORT": str(port)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    until = time.monotonic() + 60
    try:
        while True:
            assert process.poll() is None and time.monotonic() < until, "the server did not start"
            try:
                if httpx.get(f"{url}/healthz", timeout=5).status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield Server(url, process, head)
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def _ours(url: str, head: int | None) -> Iterator[Server]:
    command = [sys.executable, "-m", "app.cli", "web"]
    if PROCESSES:
        command += ["--processes", PROCESSES]
    with _listening(command, {"PLUMBLINE_DATABASE_URL": url}, head) as server:
        yield server


@contextmanager
def _bare(url: str, head: int | None) -> Iterator[Server]:
    environment = {"BARE_DATABASE": url}
    made = f"from tests.benchmarks.runners import bare_pair; bare_pair.prepare({TASKS})"
    subprocess.run([sys.executable, "-c", made], cwd=ROOT, env={**os.environ, **environment}, check=True)
    command = [sys.executable, "-m", "uvicorn", "tests.benchmarks.runners.bare_pair:app", "--port", "{port}"]
    with _listening([*command, "--no-access-log"], environment, head) as server:
        yield server


# --- The database ---


@contextmanager
def _database(kind: str, folder: Path) -> Iterator[tuple[str, str, int | None]]:
    """Yield the address of a new database of ours, of one for the bare pair, and the head of its processes."""
    data = folder / kind
    data.mkdir()
    os.environ |= {"PLUMBLINE_DATA_DIR": str(data), "PLUMBLINE_LOG_LEVEL": "info", "PLUMBLINE_BROKER_URL": "redis://x"}
    if kind == "sqlite":
        url, bare_url, head, stop = f"sqlite:///{data}/plumbline.db", str(data / "bare.db"), None, lambda: None
    else:
        service = services.postgresql()
        url = services.create_database(service.url, services.database_name())
        bare_url = services.create_database(service.url, services.database_name())
        with psycopg.connect(service.url) as connection:
            (files,) = connection.execute("SHOW data_directory").fetchone() or ("",)
        head, stop = int(Path(files, "postmaster.pid").read_text().split()[0]), service.stop
    os.environ["PLUMBLINE_DATABASE_URL"] = url
    forget_settings()
    metadata.create_all(engine())
    try:
        yield url, bare_url, head
    finally:
        forget_settings()
        stop()


def _fill(tasks: int) -> list[dict[str, str]]:
    """Make a round of so many comparisons of K = 4, and return the headers of labelers' tokens."""
    with transaction() as session:
        people = [
            Account(username=f"person{n}", name=f"Person {n}", password_hash="none", role=Role.LABELER)
            for n in range(LABELERS)
        ]
        session.add_all(people)
        session.flush()
        tokens = [accounts.create_token(session, one, name="bench", scopes=["work"])[1] for one in people]
        policies = [Policy(name=f"policy {n}", kind=PolicyKind.IMPORTED) for n in range(4)]
        round = Round(
            number=1, name="bench", overlap=1, pools=["train", "held-out"], state=RoundState.OPEN,
            guideline_id=current_guideline(session, "training").id,
            form_id=current_form(session, FormKind.COMPLETION).id,
        )  # fmt: skip
        session.add_all([*policies, round])
        session.flush()
        ids = range(1, tasks + 1)
        sha = "{:064x}".format
        session.execute(insert(Prompt), [
            {"id": n, "messages": [{"role": "user", "text": f"prompt {n} " * 20}], "text_sha256": sha(n),
             "folded_sha256": sha(n), "source": PromptSource.CUSTOMER, "owner": "bench", "split": Split.TRAIN,
             "language": "en"}
            for n in ids
        ])  # fmt: skip
        session.execute(insert(Item), [
            {"id": n, "round_id": round.id, "prompt_id": n, "kind": ItemKind.COMPARISON, "position": n, "overlap": 1}
            for n in ids
        ])  # fmt: skip
        session.execute(insert(Completion), [
            {"id": 4 * n + k, "prompt_id": n, "policy_id": policies[k].id, "text": f"completion {k} of {n} " * 20,
             "text_sha256": sha(4 * n + k)}
            for n in ids for k in range(4)
        ])  # fmt: skip
        session.execute(insert(ItemCompletion), [
            {"item_id": n, "completion_id": 4 * n + k, "position": k} for n in ids for k in range(4)
        ])  # fmt: skip
        session.execute(insert(Assignment), [
            {"public_id": public_id(), "item_id": n, "slot": 0, "position": order.position(RoundPriority.NORMAL, 1, n)}
            for n in ids
        ])  # fmt: skip
    if engine().dialect.name == "postgresql":
        with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    return [{"Authorization": f"Bearer {token}"} for token in tokens]


def _sessions() -> list[dict[str, str]]:
    with transaction() as session:
        people = session.scalars(select(Account).where(Account.username.like("person%"))).all()
        return [{"Cookie": f"plumbline_session={accounts.open_session(session, one)}"} for one in people]


def _stored() -> set[str]:
    """Return the assignments whose answer is stored, from the notes that say which they are; each once."""
    with reading() as session:
        notes = session.scalars(select(Comparison.notes)).all()
        assert session.scalar(select(func.count()).select_from(Comparison)) == len(set(notes)), (
            "an answer is stored twice"
        )
    return set(notes)
