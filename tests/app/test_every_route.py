"""Every route there is, also those yet to come: who may not use it gets no further than the door."""

import re

import pytest
from fastapi.routing import iter_route_contexts

from app.accounts.tables import Scope
from app.main import create_app
from app.web.security import SAFE_METHODS
from tests.conftest import fresh_database

OPEN_PAGES = {"/healthz", "/readyz", "/docs", "/sign-in", "/sign-out", "/first-run"}
LABELERS_WORK = (
    "/api/v1/assignments",
    "/api/v1/accounts/me",
    "/api/v1/reports/mine",
    "/api/v1/writings",
    *(f"/api/v1/onboarding/{act}" for act in ("next", "feedback", "self-assessment", "hand-in", "reviews")),
)
LISTS = "guidelines|forms|prompts|demonstrations|comparisons|writing-calls"
FOR_LABELERS = re.compile(rf"/(api/v1/({LISTS})\b.*|api/v1/onboarding$)")


@pytest.fixture(params=["sqlite"])
def database(request, tmp_path, monkeypatch):
    """Doors are above the databases."""
    yield from fresh_database(request, tmp_path, monkeypatch)


def routes() -> list[tuple[str, str]]:
    """Method and path of every route, with an id that does not exist in the place of parameters."""
    found = set()
    for context in iter_route_contexts(create_app().routes):
        for method in getattr(context, "methods", None) or ():
            if method not in ("HEAD", "OPTIONS"):
                found.add((method, re.sub(r"\{\w+\}", "0123456789abcdef", context.path)))
    return sorted(found)


def test_there_are_routes():
    assert len(routes()) > 50


def test_rest_without_a_token_is_refused_everywhere(client):
    for method, path in routes():
        if path.startswith("/api/v1/") and not path.endswith("openapi.json"):
            response = client.request(method, path)
            # A body that cannot be read is told before the token is looked at; nothing has been done by then.
            assert response.status_code in (401, 422), (method, path, response.status_code)
            assert response.headers["content-type"] == "application/problem+json", (method, path)


def test_a_labelers_token_opens_the_labelers_day_and_nothing_else(client, people):
    headers = people.bearer(people.labeler())
    for method, path in routes():
        if path.startswith("/api/v1/") and not path.endswith("openapi.json") and not path.startswith(LABELERS_WORK):
            response = client.request(method, path, headers=headers)
            allowed = {403, 422, 404} | ({200} if method == "GET" and FOR_LABELERS.match(path) else set())
            assert response.status_code in allowed, (method, path, response.status_code)


def test_reading_tokens_change_nothing(client, people):
    headers = people.bearer(people.admin(), Scope.READ)
    for method, path in routes():
        if path.startswith("/api/v1/") and method not in SAFE_METHODS:
            response = client.request(method, path, headers=headers)
            assert response.status_code in (403, 422), (method, path, response.status_code)


def test_pages_without_a_sign_in_lead_to_it(client):
    token = re.search(r'csrf_token" value="(\w+)"', client.get("/sign-in").text)[1]
    for method, path in routes():
        if path.startswith("/api/") or path in OPEN_PAGES:
            continue
        response = client.request(method, path, **({"data": {"csrf_token": token}} if method == "POST" else {}))
        if path == "/metrics":
            assert response.status_code == 404
        elif response.status_code == 303:
            assert response.headers["location"].startswith("/sign-in?next="), (method, path)
        else:
            assert response.status_code == 422, (method, path, response.status_code)


def test_the_admin_area_does_not_exist_for_labelers(client, people):
    people.sign_in(client, people.labeler())
    for method, path in routes():
        if path.startswith("/admin"):
            response = client.request(method, path, **({"data": people.csrf(client)} if method == "POST" else {}))
            assert response.status_code in (404, 422), (method, path, response.status_code)


def test_every_post_of_a_page_needs_the_csrf_token(client, people):
    people.sign_in(client, people.admin())
    for method, path in routes():
        if method not in SAFE_METHODS and not path.startswith("/api/"):
            assert client.request(method, path).status_code == 403, (method, path)


def test_a_wrong_cursor_is_told_and_is_no_empty_list(client, people):
    olga, ana = people.admin(), people.labeler()
    met = 0
    for context in iter_route_contexts(create_app().routes):
        dependant = getattr(context, "dependant", None)
        if dependant is None or all(param.name != "cursor" for param in dependant.query_params):
            continue
        met += 1
        path = context.path.replace("{listing}", "submitted").replace("{id}", "0123456789abcdef")
        own = path in ("/work/submitted", "/reports", "/api/v1/assignments", "/api/v1/reports/mine")
        account = ana if own else olga
        people.sign_in(client, account)
        state = {"state": "submitted"} if path == "/api/v1/assignments" else {}
        response = client.get(path, params={"cursor": "nonsense", **state}, headers=people.bearer(account))
        assert response.status_code == 422 and "cursor" in response.text, (path, response.status_code, response.text)
    assert met > 30
