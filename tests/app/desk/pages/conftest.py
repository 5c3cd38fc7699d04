"""The desk as a browser without scripts uses it: forms, posts and redirects."""

import pytest

from tests.app.desk.pages.plain_browser import Browser
from tests.conftest import fresh_database


@pytest.fixture(params=["sqlite"])
def database(request, tmp_path, monkeypatch):
    """Pages are looked at on SQLite only; that both databases answer alike is shown below the pages."""
    yield from fresh_database(request, tmp_path, monkeypatch)


@pytest.fixture
def ana(client, people):
    return Browser(client, people, people.labeler("ana"))
