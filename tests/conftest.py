"""The database, the server and the people that tests of the application use."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import hypothesis
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, make_url
from starlette.testclient import TestClient

from app import config, queue
from app import database as app_database
from app.accounts import passwords, rules
from app.accounts.tables import Account, Role
from app.tables import metadata
from app.web.security import cookie_name, csrf_of
from tests import services

hypothesis.settings.register_profile("no clock", deadline=None)  # a busy machine is not a failure
hypothesis.settings.load_profile("no clock")

PASSWORD = "correct horse battery"
USED: dict[str, str] = {}  # service -> where it came from, for the summary
SECONDS: Counter[str] = Counter()  # file -> seconds its tests took, summed over parallel processes
SLOWEST = 12  # files that the summary lists


def pytest_collection_finish() -> None:
    """Stop if the queue is configured before a test sets its configuration: it would keep that for all tests."""
    if queue.celery.configured:
        raise pytest.UsageError("a test file imports a task by its name, which pytest touches; import its module")


def pytest_runtest_logreport(report) -> None:
    """Add up how long the tests of each file take."""
    SECONDS[report.nodeid.partition("::")[0]] += report.duration


def pytest_sessionfinish(session) -> None:
    """Report the services that this process used to the one that sums up, if tests run in several processes."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["used"] = USED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    """Take over what a test process used."""
    USED.update(getattr(node, "workeroutput", {}).get("used", {}))


def pytest_terminal_summary(terminalreporter) -> None:
    """List the services that the tests ran against and the files that took longest."""
    terminalreporter.section("services and seconds")
    for name, source in USED.items():
        terminalreporter.write_line(f"{name}: {source}")
    terminalreporter.write_line(f"{SECONDS.total():.0f} s in all; the longest:")
    for file, seconds in SECONDS.most_common(SLOWEST):
        terminalreporter.write_line(f"{seconds:6.0f} s {file}")


def _service(name: str, find) -> services.Service:
    try:
        service = find()
    except services.NoService as error:
        USED[name] = f"MISSING ({error})"
        if os.environ.get("ALLOW_SKIP_SERVICES") == "1":
            pytest.skip(f"{name} is missing")
        pytest.fail(f"{name} is missing; set ALLOW_SKIP_SERVICES=1 to skip what needs it.\n{error}", pytrace=False)
    USED[name] = service.source
    return service


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[services.Service]:
    """Provide a real PostgreSQL."""
    service = _service("PostgreSQL", services.postgresql)
    yield service
    service.stop()


@pytest.fixture(scope="session")
def broker_url() -> Iterator[str]:
    """Return the URL of a real Redis or Valkey."""
    service = _service("Redis", services.redis_server)
    yield service.url
    service.stop()


def forget_settings() -> None:
    """Drop cached settings and engine, so that their next use reads the environment."""
    if app_database.engine.cache_info().currsize:
        app_database.engine().dispose()
    app_database.engine.cache_clear()
    config.settings.cache_clear()
    passwords._hasher.cache_clear()
    passwords._nobodys_hash.cache_clear()


def create_tables() -> None:
    """Create every table; another test checks that migrations create the same ones."""
    metadata.create_all(app_database.engine())


class Templates:
    """Databases of one kind, each filled once and copied for every test that needs it."""

    def __init__(self, kind: str, folder: Path, server: str | None = None):
        self.kind, self.folder, self.server = kind, folder, server
        self.urls: dict[Callable[[], None], str] = {}

    def filled(self, fill: Callable[[], None]) -> str:
        """Return the URL of a database filled once by `fill`, which uses the settings and starts with an empty one."""
        if fill not in self.urls:
            folder = self.folder / str(len(self.urls))
            folder.mkdir()
            url = self.make(folder)
            with pytest.MonkeyPatch.context() as environment:
                environment.setenv("PLUMBLINE_DATABASE_URL", url)
                environment.setenv("PLUMBLINE_DATA_DIR", str(folder))
                environment.setenv("PLUMBLINE_ARGON2_MEMORY_KIB", "64")
                forget_settings()
                fill()
                forget_settings()
            self.urls[fill] = url
        return self.urls[fill]

    def make(self, folder: Path, template: str | None = None) -> str:
        """Create a database, a copy of the one at the URL `template` if given, and return its URL."""
        if self.kind == "sqlite":
            path = folder / "plumbline.db"
            if template:
                shutil.copy(make_url(template).database, path)
            return f"sqlite:///{path}"
        name = services.database_name()
        return services.create_database(self.server, name, template and make_url(template).database)

    def drop(self, url: str) -> None:
        """Remove a database; a file is removed with its folder."""
        if self.kind == "postgresql":
            services.drop_database(self.server, make_url(url).database)


@pytest.fixture(scope="session")
def sqlite_templates(tmp_path_factory) -> Templates:
    """Provide filled SQLite databases."""
    return Templates("sqlite", tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def postgresql_templates(postgresql_server, tmp_path_factory) -> Iterator[Templates]:
    """Provide filled PostgreSQL databases."""
    made = Templates("postgresql", tmp_path_factory.mktemp("postgresql"), postgresql_server.url)
    yield made
    for url in made.urls.values():
        made.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path, monkeypatch) -> Iterator[Engine]:
    """Give the test an empty database and a data folder of its own, once on SQLite and once on PostgreSQL."""
    yield from fresh_database(request, tmp_path, monkeypatch)


def fresh_database(
    request, tmp_path, monkeypatch, kind: str | None = None, fill: Callable[[], None] = create_tables
) -> Iterator[Engine]:
    """Point the settings at a copy of the database that `fill` makes, of the given kind or the parameter's."""
    data = tmp_path / "data"
    data.mkdir()
    templates = request.getfixturevalue(f"{kind or request.param}_templates")
    url = templates.make(data, templates.filled(fill))
    monkeypatch.setenv("PLUMBLINE_DATABASE_URL", url)
    monkeypatch.setenv("PLUMBLINE_DATA_DIR", str(data))
    monkeypatch.setenv("PLUMBLINE_BROKER_URL", request.getfixturevalue("broker_url"))
    monkeypatch.setenv("PLUMBLINE_ARGON2_MEMORY_KIB", "64")
    forget_settings()
    yield app_database.engine()
    forget_settings()
    templates.drop(url)


class People:
    """Creates accounts, whose password is PASSWORD, and signs them in."""

    def make(self, username: str, **fields) -> Account:
        """Create an account with these fields; by default a labeler of the train pool."""
        password = passwords.hash_password(PASSWORD)
        with app_database.transaction() as session:
            return rules.create_account(
                session, username=username, name=fields.pop("name", username.title()), password=password, **fields
            )

    def labeler(self, username: str = "ana", **fields) -> Account:
        """Create a labeler."""
        return self.make(username, **fields)

    def admin(self, username: str = "olga", **fields) -> Account:
        """Create an admin."""
        return self.make(username, role=Role.ADMIN, **fields)

    def sign_in(self, client: TestClient, account: Account) -> TestClient:
        """Give the client a session of the account, as signing in would."""
        with app_database.transaction() as session:
            secret = rules.open_session(session, account)
        client.cookies.clear()
        client.cookies.set(cookie_name("session"), secret)
        return client

    def csrf(self, client: TestClient) -> dict[str, str]:
        """Return the form field that every post of a signed-in client carries."""
        return {"csrf_token": csrf_of(client.cookies[cookie_name("session")])}

    def bearer(self, account: Account, *scopes: str) -> dict[str, str]:
        """Return the header of an API token of the account with these scopes; a labeler's has the scope `work`."""
        chosen = scopes or (("work",) if account.role is Role.LABELER else tuple(rules.Scope))
        with app_database.transaction() as session:
            _, secret = rules.create_token(session, account, name="test", scopes=list(chosen))
        return {"Authorization": f"Bearer {secret}"}


@pytest.fixture
def people(database) -> People:
    """Provide a maker of accounts that also signs them in."""
    return People()


@cache
def application(max_body_bytes: int) -> FastAPI:
    """Create the whole application once, as it takes half a second; it keeps nothing of a test but this limit."""
    from app.main import create_app

    return create_app()


@pytest.fixture
def client(database) -> Iterator[TestClient]:
    """Provide an HTTP client of the whole application; redirects are not followed."""
    made = application(config.settings().max_body_bytes)
    with TestClient(made, base_url="http://127.0.0.1:8000", follow_redirects=False) as opened:
        yield opened
