"""`plumbline demo` and `plumbline simulate`."""

import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import orjson
import typer

from app.accounts import queries, rules
from app.accounts.passwords import hash_password
from app.accounts.tables import AccountKind, Role
from app.config import settings
from app.database import transaction
from app.errors import BadInput, PlumblineError
from app.kit.terminal import AsJson
from app.launch import migrate
from app.launch.data_folder import exclusive
from app.simulation import demo as demo_data
from app.simulation.loop import QUICK, Simulation, Sizes
from app.simulation.rest import Api
from app.simulation.table import lines


def demo(
    reset: bool = typer.Option(False, "--reset", help="Delete the demo and all work in it, then load it again."),
) -> None:
    """Load the demo: three accounts, texts to rank and to write, and the miniature loop. `--reset` starts over."""
    if reset and not settings().broker_url:
        with exclusive():
            migrate.upgrade()
            demo_data.reset()
            demo_data.load(typer.echo)
    else:
        migrate.upgrade()
        if reset:
            demo_data.reset()
        demo_data.load(typer.echo)
    for person in demo_data.PEOPLE:
        typer.echo(f"{person.username}  {person.password}  {person.what}")


def simulate(
    labelers: int = typer.Option(8, min=2, help="How many labelers; the last quarter are in the held-out pool."),
    rounds: int = typer.Option(2, min=1, help="Rounds of comparisons, each with its own reward model and policy."),
    seed: int = typer.Option(1, help="The same seed gives the same table."),
    url: str = typer.Option("", help="Address of a running Plumbline; default: start one and stop it again."),
    token: str = typer.Option("", envvar="PLUMBLINE_TOKEN", help="With --url: an admin's token with all scopes."),
    quick: bool = typer.Option(
        False, help="Takes two minutes: shows that everything works, not that anything is learned."
    ),
    as_json: AsJson = False,
) -> None:
    """Run the whole loop with simulated labelers, who sign up and work over REST, and print what was learned.

    Without --url, everything is kept in PLUMBLINE_DATA_DIR if set, else in a temporary folder, deleted at the end.
    """
    with _server(url, token) as api:
        simulation = Simulation(
            api,
            labelers=labelers,
            rounds=rounds,
            seed=seed,
            sizes=QUICK if quick else Sizes(),
            say=lambda line: typer.echo(line, err=True),
        )
        report = simulation.run()
    if as_json:
        typer.echo(orjson.dumps(report.as_dict(), option=orjson.OPT_INDENT_2).decode())
    else:
        typer.echo("\n".join(lines(report)))


@contextmanager
def _server(url: str, token: str) -> Iterator[Api]:
    """Connect to the server at `url`, or run the whole product while the context lasts."""
    if url:
        if not token:
            raise BadInput(
                "token: --url needs an admin's token; create one with "
                "`plumbline token create NAME --scope read --scope write --scope jobs --scope accounts`",
                field="token",
            )
        with Api(url, token) as api:
            yield api
        return
    with tempfile.TemporaryDirectory(prefix="plumbline-") as folder:
        if "PLUMBLINE_DATA_DIR" not in os.environ:
            os.environ["PLUMBLINE_DATA_DIR"] = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            os.environ["PLUMBLINE_PORT"] = str(probe.getsockname()[1])
        os.environ["PLUMBLINE_HOST"] = "127.0.0.1"
        for name in ("DATABASE_URL", "BROKER_URL", "PUBLIC_URL"):  # the simulation's own installation, never a team's
            os.environ.pop(f"PLUMBLINE_{name}", None)
        settings.cache_clear()
        with _product() as secret, Api(f"http://127.0.0.1:{settings().port}", secret) as api:
            yield api


@contextmanager
def _product() -> Iterator[str]:
    """Run `plumbline run` with these settings; yield the token of an admin created for the simulation."""
    migrate.upgrade()
    secret = _admin_token()
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "run", "--end-with-parent"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None  # a pipe
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if "data and logs" in line:
                break
        else:
            raise PlumblineError("Plumbline did not start: " + "".join(said).strip())
        yield secret
    finally:
        process.terminate()
        process.communicate()


def _admin_token() -> str:
    password = hash_password(secrets.token_urlsafe(24))
    with transaction() as session:
        admin = queries.by_username(session, "simulated-admin") or rules.create_account(
            session,
            username="simulated-admin",
            name="Simulated admin",
            password=password,
            role=Role.ADMIN,
            kind=AccountKind.SIMULATED,
        )
        scopes = [scope for scope in rules.Scope if scope is not rules.Scope.WORK]
        _, secret = rules.create_token(session, admin, name="simulation", scopes=scopes, days=2)
    return secret
