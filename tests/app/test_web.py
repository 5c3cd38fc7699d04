"""The HTTP glue: headers, CSRF, errors for pages, htmx and REST, tokens and their scopes, notes, limits, logs."""

import json
import logging
import re
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from fastapi import Request
from sqlalchemy import select, update
from starlette.testclient import TestClient

from app import database as app_database
from app.accounts.tables import ApiToken
from app.config import settings
from app.errors import Conflict
from app.main import create_app
from app.web import api_account, flash, redirect
from app.web.monitoring import configure_logging
from app.web.security import CSP
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


# --- headers ---


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


# --- CSRF: what browsers send, case by case ---

FROM_OUR_PAGE = {"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:8000"}


@pytest.fixture
def ana(client, people):
    """Ana is signed in; the form of her account page."""
    account = people.labeler()
    people.sign_in(client, account)
    return {**people.csrf(client), "name": "Ana Maria", "language": "en"}


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


# --- errors ---


def test_an_error_is_a_page_for_people(client, people):
    people.sign_in(client, people.labeler())
    response = client.get("/nowhere")
    assert response.status_code == 404
    assert response.headers["content-type"].startswith("text/html")
    assert "<main" in response.text and "There is nothing at this address" in response.text


def test_an_error_is_a_short_alert_for_htmx(client):
    response = client.get("/nowhere", headers={"hx-request": "true"})
    assert response.status_code == 404
    assert (response.headers["hx-retarget"], response.headers["hx-reswap"]) == ("#notes", "innerHTML")
    assert 'role="alert"' in response.text and "<main" not in response.text


def test_an_error_is_problem_details_for_rest(client):
    response = client.get("/api/v1/conflict")
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json() == {
        "type": "about:blank",
        "title": "This has changed in the meantime",
        "status": 409,
        "detail": "someone was faster",
        "field": "text",
        "current": {"text": "theirs"},
        "request_id": response.headers["x-request-id"],
    }
    missing = client.get("/api/v1/nowhere")
    assert (missing.status_code, missing.json()["status"]) == (404, 404)


def test_a_body_that_cannot_be_read_names_every_field(client, people):
    headers = people.bearer(people.admin())
    response = client.post("/api/v1/accounts", json={"role": "king", "colour": "red"}, headers=headers)
    assert response.status_code == 422
    assert {found["field"] for found in response.json()["errors"]} == {"username", "password", "role", "colour"}


@pytest.mark.parametrize("path", ["/broken", "/api/v1/broken"])
def test_what_breaks_tells_a_number_and_no_secret(client, path, caplog):
    with caplog.at_level(logging.ERROR):
        response = client.get(path)
    assert response.status_code == 500
    assert "the secret inside" not in response.text
    number = response.headers["x-request-id"]
    assert number in response.text
    assert any(number in str(line.msg) for line in caplog.records)


def test_a_body_too_large_is_refused(client, ana, monkeypatch):
    form = {**ana, "name": "x" * (settings().max_body_bytes + 1)}
    response = client.post("/account", data=form)
    assert response.status_code == 413 and "larger than" in response.text


def test_a_field_too_long_is_an_error_and_no_crash(client, ana):
    assert client.post("/account", data={**ana, "name": "x" * 500}).status_code == 422


def test_a_note_is_shown_once_and_escaped(client, people):
    people.sign_in(client, people.labeler())
    assert client.get("/noted").status_code == 303
    assert "Saved &lt;b&gt;it&lt;/b&gt;; naïve – 日本" in client.get("/account").text
    assert "Saved" not in client.get("/account").text


def test_a_forged_note_is_not_shown(client, people):
    people.sign_in(client, people.labeler())
    client.cookies.set("plumbline_note", "0" * 64 + ".IlBheSBtZSI=")
    assert "Pay me" not in client.get("/account").text


# --- tokens ---


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


# --- language ---


def test_the_language_follows_the_account_and_before_that_the_browser(app, client, people, monkeypatch, tmp_path):
    from app import i18n

    folder = tmp_path / "eo" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    (folder / "messages.po").write_text(
        'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n\n'
        'msgid "Sign in"\nmsgstr "Ensaluti"\n\nmsgid "Your account"\nmsgstr "Via konto"\n'
    )
    monkeypatch.setattr(i18n, "FOLDER", tmp_path)
    for cached in (i18n.languages, i18n._catalogue):
        cached.cache_clear()
    try:
        assert "Ensaluti" in client.get("/sign-in", headers={"accept-language": "fr;q=0.9, eo;q=0.8, en;q=0.1"}).text
        assert "Ensaluti" not in client.get("/sign-in", headers={"accept-language": "fr, en;q=0.5"}).text
        people.sign_in(client, people.labeler(language="eo"))
        response = client.get("/account", headers={"accept-language": "en"})
        assert "Via konto" in response.text and '<html lang="eo">' in response.text
    finally:
        for cached in (i18n.languages, i18n._catalogue):
            cached.cache_clear()


@pytest.mark.parametrize("header", ["", ";;;", "q=1", "en;q=x", "*", "," * 1000, "xx-yy-zz;q=0.5"])
def test_a_strange_language_header_is_english(client, header):
    assert client.get("/sign-in", headers={"accept-language": header}).status_code == 200


# --- logs and metrics ---


def test_a_request_is_one_json_line_with_its_number(database, capfd, monkeypatch):
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    try:
        configure_logging()
        response = TestClient(create_app()).get("/sign-in?next=/account")
        lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if '"path": "/sign-in"' in line]
    finally:
        root.handlers[:], root.level = before
    (line,) = lines
    assert line["request_id"] == response.headers["x-request-id"]
    assert (line["status"], line["route"], line["level"]) == (200, "/sign-in", "info")
    assert structlog.contextvars.get_contextvars() == {}


def test_metrics_are_for_this_machine_or_an_admins_token(app, people):
    here = TestClient(app, client=("127.0.0.1", 1))
    here.get("/sign-in")
    here.get("/admin/accounts/0123456789abcdef")
    shown = here.get("/metrics").text
    assert re.search(r'plumbline_requests_total\{method="GET",route="/sign-in",status="200"\} \d', shown)
    assert 'route="/admin/accounts/{id}"' in shown and "0123456789abcdef" not in shown
    assert here.get("/metrics", headers={"x-forwarded-for": "127.0.0.1"}).status_code == 404
    elsewhere = TestClient(app, client=("192.0.2.7", 1))
    assert elsewhere.get("/metrics").status_code == 404
    assert elsewhere.get("/metrics", headers=people.bearer(people.admin(), "read")).status_code == 200
    assert elsewhere.get("/metrics", headers=people.bearer(people.labeler())).status_code == 403


def test_the_description_of_rest_has_no_pages_and_every_problem(client):
    described = client.get("/api/v1/openapi.json").json()
    assert described["paths"] and all(path.startswith("/api/") for path in described["paths"])
    responses = described["paths"]["/api/v1/accounts"]["post"]["responses"]
    assert {"201", "401", "403", "409", "422"} <= set(responses)
