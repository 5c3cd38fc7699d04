"""The whole application on SQLite, with routes that fail in their own ways."""

import pytest
from fastapi import Request
from starlette.testclient import TestClient

from app.errors import Conflict
from app.main import create_app
from app.web.auth import api_account
from app.web.responses import flash, redirect
from tests.conftest import fresh_database


@pytest.fixture(params=["sqlite"])
def database(request, tmp_path, monkeypatch):
    """What is tested here is above the databases."""
    yield from fresh_database(request, tmp_path, monkeypatch)


@pytest.fixture
def app(database):
    """The whole application with a few routes that fail in their own ways."""
    made = create_app()

    @made.get("/broken")
    def broken():
        raise RuntimeError("the secret inside")

    @made.get("/api/v1/broken")
    def api_broken():
        raise RuntimeError("the secret inside")

    @made.get("/api/v1/conflict")
    def conflict():
        raise Conflict("someone was faster", current={"text": "theirs"}, field="text")

    @made.get("/api/v1/scoped/{scope}")
    def scoped(request: Request, scope: str):
        return {"username": api_account(request, scope).username}

    @made.get("/noted")
    def noted():
        response = redirect("/account")
        flash(response, "Saved <b>it</b>; naïve – 日本")
        return response

    return made


@pytest.fixture
def client(app):
    with TestClient(
        app, base_url="http://127.0.0.1:8000", follow_redirects=False, raise_server_exceptions=False
    ) as made:
        yield made


@pytest.fixture
def ana(client, people):
    """Ana is signed in; the form of her account page."""
    account = people.labeler()
    people.sign_in(client, account)
    return {**people.csrf(client), "name": "Ana Maria", "language": "en"}
