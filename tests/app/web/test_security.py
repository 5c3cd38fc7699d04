"""Headers, CSRF, tokens and their scopes."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

from app import database as app_database
from app.accounts.tables import ApiToken
from app.config import settings
from app.main import create_app
from app.web.security import CSP


@pytest.mark.parametrize(
    "path", ["/sign-in", "/nowhere", "/broken", "/api/v1/nowhere", "/static/plumbline.css", "/docs"]
)
def test_every_response_has_the_security_headers(client, path):
    headers = client.get(path).headers
    assert headers["content-security-policy"] == CSP
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert re.fullmatch("[0-9a-f]{16}", headers["x-request-id"])
    assert "strict-transport-security" not in headers


def test_the_policy_allows_nothing_unsafe():
    assert "unsafe" not in CSP and "default-src 'none'" in CSP and "*" not in CSP and "http" not in CSP


def test_under_https_cookies_are_bound_to_this_host(database, people, monkeypatch):
    monkeypatch.setenv("PLUMBLINE_PUBLIC_URL", "https://labels.example.org")
    settings.cache_clear()
    client = TestClient(create_app(), base_url="https://labels.example.org", follow_redirects=False)
    people.labeler()
    response = client.get("/sign-in")
    assert response.headers["strict-transport-security"].startswith("max-age=")
    token = re.search(r'csrf_token" value="(\w+)"', response.text)[1]
    response = client.post(
        "/sign-in", data={"username": "ana", "password": "correct horse battery", "csrf_token": token}
    )
    cookie = response.headers["set-cookie"]
    assert cookie.startswith("__Host-plumbline_session=") and "; Secure" in cookie and "Path=/" in cookie
    assert "domain" not in cookie.lower()


def test_files_with_their_hash_are_kept_and_pages_are_not(client):
    address = re.search(r'href="(/static/plumbline.css\?v=\w+)"', client.get("/sign-in").text)[1]
    assert "immutable" in client.get(address).headers["cache-control"]
    assert client.get("/static/plumbline.css").headers["cache-control"] == "no-cache"
    assert client.get("/static/nothing.css?v=1").headers["cache-control"] == "no-cache"
    assert client.get("/sign-in").headers["cache-control"] == "private, no-cache"


FROM_OUR_PAGE = {"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:8000"}


@pytest.mark.parametrize(
    "headers",
    [
        FROM_OUR_PAGE,
        {"sec-fetch-site": "none"},  # typed into the address bar
        {"origin": "http://127.0.0.1:8000"},  # a browser before Fetch-Metadata
        {},  # no browser; the token stands alone
    ],
)
def test_our_own_forms_go_through(client, ana, headers):
    assert client.post("/account", data=ana, headers=headers).status_code == 303
    assert "Ana Maria" in client.get("/account").text


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site", "origin": "https://evil.example"},
        {"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:9000"},  # another port: SameSite cookies are sent
        {"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:8000"},
        {"origin": "https://evil.example"},
        {"origin": "null"},  # a sandboxed frame
        {"origin": "http://127.0.0.1:9000"},
    ],
)
def test_posts_from_elsewhere_are_refused_even_with_the_token(client, ana, headers):
    response = client.post("/account", data=ana, headers=headers)
    assert response.status_code == 403 and "another site" in response.text
    assert "Ana Maria" not in client.get("/account").text


@pytest.mark.parametrize("token", [None, "", "0" * 64, "ü"])
def test_a_form_without_the_right_token_is_refused(client, ana, token):
    form = {**ana, "csrf_token": token} if token is not None else {"name": "Ana Maria"}
    assert client.post("/account", data=form, headers=FROM_OUR_PAGE).status_code == 403


def test_the_token_of_another_session_is_refused(client, ana, people):
    theirs = ana
    people.sign_in(client, people.labeler("ben"))
    assert client.post("/account", data=theirs, headers=FROM_OUR_PAGE).status_code == 403


def test_htmx_sends_the_token_as_a_header(client, ana):
    headers = {**FROM_OUR_PAGE, "x-csrf-token": ana["csrf_token"]}
    assert client.post("/account", data={"name": "Ana Maria"}, headers=headers).status_code == 303


def test_signing_in_needs_the_token_too(client, people):
    people.labeler()
    form = {"username": "ana", "password": "correct horse battery"}
    assert client.post("/sign-in", data=form, headers=FROM_OUR_PAGE).status_code == 403


def test_rest_takes_no_cookie_and_needs_no_csrf_token(client, people):
    olga = people.admin()
    elsewhere = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}
    new = {"username": "bo", "password": "four unrelated words"}
    people.sign_in(client, olga)
    assert client.post("/api/v1/accounts", json=new, headers=elsewhere).status_code == 401
    client.cookies.clear()
    assert client.post("/api/v1/accounts", json=new, headers={**elsewhere, **people.bearer(olga)}).status_code == 201


def scoped(client, headers, scope):
    return client.get(f"/api/v1/scoped/{scope}", headers=headers)


def test_a_token_may_what_its_scopes_say(client, people):
    olga = people.admin()
    headers = people.bearer(olga, "read", "jobs")
    assert scoped(client, headers, "jobs").json() == {"username": "olga"}
    refused = scoped(client, headers, "write")
    assert refused.status_code == 403 and "yours has: read, jobs" in refused.json()["detail"]


def test_a_labelers_token_is_for_work_alone(client, people):
    ana = people.labeler()
    headers = people.bearer(ana)
    assert scoped(client, headers, "work").status_code == 200
    olga = people.admin()
    theirs = people.bearer(olga, "read")
    with app_database.transaction() as session:  # olga steps down; her token keeps its scope and loses its worth
        session.merge(olga).role = "labeler"
    assert scoped(client, theirs, "read").status_code == 403


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer plumb_wrong", "Basic b2xnYTp4", "plumb_x"])
def test_without_a_good_token_rest_asks_for_one(client, header):
    response = client.get("/api/v1/accounts/me", headers={"authorization": header} if header else {})
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("column", ["expires_at", "revoked_at"])
def test_a_token_that_is_over_is_worth_nothing(client, people, column):
    headers = people.bearer(people.admin())
    assert client.get("/api/v1/accounts/me", headers=headers).status_code == 200
    with app_database.transaction() as session:
        session.execute(update(ApiToken).values({column: datetime.now(UTC) - timedelta(seconds=1)}))
    assert client.get("/api/v1/accounts/me", headers=headers).status_code == 401


def test_the_last_use_of_a_token_is_noted_once_an_hour(client, people):
    headers = people.bearer(people.admin())

    def last_used():
        with app_database.reading() as session:
            return session.scalar(select(ApiToken.last_used_at))

    assert last_used() is None
    client.get("/api/v1/accounts/me", headers=headers)
    first = last_used()
    client.get("/api/v1/accounts/me", headers=headers)
    assert first is not None and last_used() == first
    with app_database.transaction() as session:
        session.execute(update(ApiToken).values(last_used_at=first - timedelta(hours=2)))
    client.get("/api/v1/accounts/me", headers=headers)
    assert last_used() >= first


@pytest.mark.parametrize("header", ["origin", "referer", "hx-current-url", "host"])
def test_a_header_that_holds_no_address_breaks_nothing(client, header):
    for address in ("http://[", "http://[::1", "//]", "http://[x]/", "http://a]:1", "[", "http://\u2100.example"):
        for asked in ({}, {"hx-request": "true"}):
            for method, path in (("POST", "/sign-in"), ("POST", "/account"), ("GET", "/account"), ("GET", "/metrics")):
                response = client.request(method, path, headers={header: address.encode()} | asked)
                assert response.status_code < 500, (method, path, response.text)
    assert client.post("/sign-in", headers={"origin": "http://["}).status_code == 403
