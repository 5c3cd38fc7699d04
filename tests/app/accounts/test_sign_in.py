"""Signing in: who may, how often, where to, and what the session is worth afterwards."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update
from starlette.requests import Request

from app import database as app_database
from app.accounts import limits, queries, rules
from app.accounts.passwords import hash_password
from app.accounts.tables import Account, AccountKind, SignInSession
from app.web import expired_session, local_path
from app.web.security import cookie_name
from tests.conftest import PASSWORD, forget_settings


@pytest.fixture(autouse=True)
def unlimited(database):
    """Attempts of other tests do not count."""
    limits._limiter.cache_clear()
    for username in ("ana", "olga", "nobody", "first-run"):
        limits.forget_attempts(username)


def token_in(response) -> str:
    return re.search(r'name="csrf_token" value="([0-9a-f]+)"', response.text)[1]


def sign_in(client, username="ana", password=PASSWORD, **fields):
    form = {"username": username, "password": password, "csrf_token": token_in(client.get("/sign-in")), **fields}
    return client.post("/sign-in", data=form)


def test_a_person_signs_in_and_out(client, people):
    people.labeler()
    response = sign_in(client, username=" Ana ", next="/account?x=1")
    assert (response.status_code, response.headers["location"]) == (303, "/account?x=1")
    cookie = response.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Secure" not in cookie
    assert "ana" in client.get("/account").text

    response = client.post("/sign-out", data={"csrf_token": token_in(client.get("/account"))})
    assert response.headers["location"] == "/sign-in"
    assert client.get("/account").headers["location"] == "/sign-in?next=/account"


def test_only_hashes_of_secrets_are_stored(client, people):
    people.labeler()
    sign_in(client)
    secret = client.cookies[cookie_name("session")]
    assert len(secret) >= 43  # 256 bits in base64
    with app_database.reading() as session:
        stored = session.scalar(select(SignInSession.token_sha256))
        assert stored == queries.sha256(secret) and secret not in stored
        assert session.scalar(select(Account.password_hash)).startswith("$argon2id$")


def test_a_wrong_sign_in_says_the_same_for_every_cause(client, people):
    people.labeler()
    for username, password in (("ana", "wrong"), ("nobody", PASSWORD), ("", ""), ("ana", "x" * 400)):
        response = sign_in(client, username, password)
        assert response.status_code == 422
        assert "do not go together" in response.text
        assert cookie_name("session") not in client.cookies


def test_a_disabled_account_neither_signs_in_nor_stays(client, people):
    ana, olga = people.labeler(), people.admin()
    people.sign_in(client, ana)
    assert client.get("/account").status_code == 200
    with app_database.transaction() as session:
        rules.change_account(session, ana, by=olga, disabled=True)
    assert client.get("/account").status_code == 303
    client.cookies.clear()
    assert sign_in(client).status_code == 422


@pytest.mark.parametrize(
    "setting,value,address",
    [
        ("PLUMBLINE_HOST", "0.0.0.0", "http://127.0.0.1:8000"),
        ("PLUMBLINE_PUBLIC_URL", "https://labels.example.org", "https://labels.example.org"),  # behind a proxy here
        ("PLUMBLINE_PORT", "8000", "http://rebound.example.org:8000"),  # a foreign name that resolves to this machine
    ],
)
def test_demo_accounts_sign_in_only_on_this_machine(client, people, monkeypatch, setting, value, address):
    people.labeler(kind=AccountKind.DEMO)
    assert sign_in(client).status_code == 303
    client.cookies.clear()
    monkeypatch.setenv(setting, value)
    app_database.settings.cache_clear()
    client.base_url = address
    response = sign_in(client)
    assert response.status_code == 422 and "Demo accounts" in response.text


def test_signing_in_leads_nowhere_else(client, people):
    for target in ("//evil.example", "https://evil.example", "/\\evil.example", "evil", "", "/\t/evil.example"):
        assert local_path(target) == "/"
    people.labeler()
    assert sign_in(client, next="//evil.example").headers["location"] == "/"


def test_guessing_is_slowed_per_user_and_starts_anew_after_a_right_one(client, people):
    people.labeler()
    limit = limits.PER_USER.amount
    for _attempt in range(limit - 1):
        assert sign_in(client, password="wrong").status_code == 422
    assert sign_in(client).status_code == 303
    client.cookies.clear()
    for _attempt in range(limit):
        assert sign_in(client, password="wrong").status_code == 422
    refused = sign_in(client)  # the right password does not help now
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 15 * 60 + 1
    assert "Too many attempts" in refused.text


def test_guessing_many_names_from_one_address_is_slowed(database, monkeypatch):
    monkeypatch.setattr(limits, "PER_ADDRESS", limits.parse("3 per minute"))
    address = f"test-{datetime.now(UTC).timestamp()}"
    for number in range(3):
        limits.count_attempt(f"{address}-{number}", address)
    with pytest.raises(limits.TooMany):
        limits.count_attempt(f"{address}-4", address)
    limits.count_attempt(f"{address}-5", address + "-other")


def test_without_a_broker_attempts_are_still_counted(database, monkeypatch):
    monkeypatch.setenv("PLUMBLINE_BROKER_URL", "redis://127.0.0.1:1/0")
    app_database.settings.cache_clear()
    for _attempt in range(limits.PER_USER.amount):
        limits.count_attempt("nobody", "somewhere")
    with pytest.raises(limits.TooMany):
        limits.count_attempt("nobody", "somewhere")


def test_a_password_hash_of_older_strength_is_renewed(client, people, monkeypatch):
    people.labeler()
    monkeypatch.setenv("PLUMBLINE_ARGON2_MEMORY_KIB", "128")
    forget_settings()
    assert sign_in(client).status_code == 303
    with app_database.reading() as session:
        assert "m=128," in session.scalar(select(Account.password_hash))


def test_an_expired_session_signs_nobody_in_but_tells_whose_it_was(client, people):
    ana = people.labeler()
    people.sign_in(client, ana)
    request = Request({"type": "http", "headers": [(b"cookie", f"{cookie_name('session')}={secret(client)}".encode())]})
    assert expired_session(request) is None  # it is still alive
    set_expiry(datetime.now(UTC) - timedelta(minutes=1))
    assert client.get("/account").status_code == 303
    assert expired_session(request).id == ana.id
    set_expiry(datetime.now(UTC) - queries.GRACE - timedelta(minutes=1))
    assert expired_session(request) is None
    with app_database.transaction() as session:
        rules.open_session(session, ana)
    with app_database.reading() as session:
        assert len(session.scalars(select(SignInSession)).all()) == 1  # the old one was swept


def test_signing_out_forgets_whose_session_it_was(client, people):
    people.sign_in(client, people.labeler())
    value = secret(client)
    client.post("/sign-out", data=people.csrf(client))
    request = Request({"type": "http", "headers": [(b"cookie", f"{cookie_name('session')}={value}".encode())]})
    assert expired_session(request) is None


def secret(client) -> str:
    return client.cookies[cookie_name("session")]


def set_expiry(moment: datetime) -> None:
    with app_database.transaction() as session:
        session.execute(update(SignInSession).values(expires_at=moment))


def test_a_post_without_a_session_leads_back_to_the_page_that_asked(client, people):
    headers = {"referer": "http://127.0.0.1:8000/account?tab=2"}
    client.get("/sign-in")
    form = {"csrf_token": token_in(client.get("/sign-in"))}
    response = client.post("/account/sign-out-everywhere", data=form, headers=headers)
    assert response.headers["location"] == "/sign-in?next=/account%3Ftab%3D2"


def test_htmx_is_sent_to_the_sign_in_page_as_a_whole(client):
    response = client.get("/account", headers={"hx-request": "true", "hx-current-url": "http://127.0.0.1:8000/account"})
    assert response.status_code == 401
    assert response.headers["hx-redirect"] == "/sign-in?next=/account"


def test_hashing_in_a_transaction_is_refused(database):
    with app_database.transaction() as session, pytest.raises(ValueError, match="hash_password"):
        rules.create_account(session, username="bo", name="Bo", password="plain words here")
    assert hash_password("plain words here") != hash_password("plain words here")  # salted
