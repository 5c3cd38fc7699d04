"""Errors for pages, htmx and REST, notes, limits, the reader's language, logs and metrics."""

import json
import logging
import re

import pytest
import structlog
from starlette.testclient import TestClient

from app.accounts.tables import Account
from app.config import settings
from app.database import transaction
from app.main import create_app
from app.web.monitoring import configure_logging


def test_an_error_is_a_page_for_people(client, people):
    people.sign_in(client, people.labeler())
    response = client.get("/nowhere")
    assert response.status_code == 404
    assert response.headers["content-type"].startswith("text/html")
    assert "<main" in response.text and "There is nothing at this address" in response.text


def test_an_error_s_page_leads_on_and_speaks_the_reader_s_language(client, people):
    assert "Sign out" not in client.get("/nowhere").text
    ana = people.labeler()
    people.sign_in(client, ana)
    for path in ("/nowhere", "/assignments/0123456789abcdef", "/work/nowhere", "/admin/rounds"):
        assert "Sign out" in client.get(path).text, path
    assert "Rounds" not in client.get("/admin/rounds").text
    elsewhere = client.post("/sign-out", headers={"sec-fetch-site": "cross-site"})
    assert elsewhere.status_code == 403 and "Sign out" in elsewhere.text
    with transaction() as session:
        session.get_one(Account, ana.id).language = "de"
    assert "Abmelden" in client.get("/nowhere").text
    people.sign_in(client, people.admin())
    assert "Checkpoints" in client.get("/admin/nowhere").text


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
    assert response.status_code == 413 and "is too large" in response.text


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


def test_the_language_follows_the_account_and_before_that_the_browser(app, client, people, monkeypatch, tmp_path):
    from app.kit import i18n

    folder = tmp_path / "eo" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    (folder / "messages.po").write_text(
        'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n\n'
        'msgid "Sign in"\nmsgstr "Ensaluti"\n\nmsgid "Your account"\nmsgstr "Via konto"\n'
    )
    monkeypatch.setattr(i18n, "FOLDER", tmp_path)
    for cached in (i18n.languages, i18n._catalogue):
        cached.cache_clear()
    people.labeler("ben")  # without anybody the first admin is asked for
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
