"""A real server and a real browser, for tests that look at pages as people do."""

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import uvicorn
from sqlalchemy import Engine

from app.accounts.tables import Account
from app.config import settings
from app.rounds.tables import ItemKind
from tests.browser.day import at_work
from tests.conftest import PASSWORD, application, forget_settings, fresh_database
from tests.desk import make_round


@pytest.fixture(params=["sqlite"])
def database(request, tmp_path, monkeypatch) -> Iterator[Engine]:
    """Pages are looked at on SQLite only; that both databases answer alike is shown below the pages."""
    yield from fresh_database(request, tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Callable]:
    """Starts a headless Chromium; without one the test is skipped, or failed where REQUIRE_BROWSER=1."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        message = "NO BROWSER: install chromium, or set CHROMIUM to its path; pages were not looked at"
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield lambda: playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])


@pytest.fixture
def live(database, monkeypatch) -> Iterator[str]:
    """Address of the whole application, served by uvicorn over the test's database."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PLUMBLINE_PORT", str(listener.getsockname()[1]))
        forget_settings()
        made = application(settings().max_body_bytes)
        server = uvicorn.Server(uvicorn.Config(made, log_level="warning", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        until = time.monotonic() + 20
        while not server.started and thread.is_alive() and time.monotonic() < until:
            time.sleep(0.02)
        assert server.started, "the server did not start"
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def browser(chromium, live) -> Iterator:
    """A browser of the test's own: Chromium now and then never answers that a context is closed, but a browser ends."""
    started = chromium()
    yield started
    started.close()


@pytest.fixture
def page(browser, live) -> Iterator:
    """An empty tab at the live server's address; a script error or a broken security policy fails the test."""
    context = browser.new_context(base_url=live, locale="en")
    context.set_default_timeout(30_000)
    tab = context.new_page()
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("console", lambda line: errors.append(line.text) if "Content Security Policy" in line.text else None)
    yield tab
    assert not errors, errors


@pytest.fixture
def ana(people) -> Account:
    """A labeler."""
    return people.labeler("ana")


@pytest.fixture
def writing(page, ana):
    """Ana's page with a demonstration to write."""
    make_round(1, kind=ItemKind.DEMONSTRATION)
    sign_in(page, ana)
    page.get_by_role("button", name="Start labeling").click()
    at_work(page, "Write a completion")
    return page


def sign_in(page, account, password: str = PASSWORD) -> None:
    """Sign in through the page, as a person does."""
    page.goto("/sign-in")
    page.fill("[name=username]", account.username)
    page.fill("[name=password]", password)
    page.click("main button[type=submit]")
    page.wait_for_url(lambda url: "/sign-in" not in url)
