"""Signing in: who may, how often, where to, and what the session is worth afterwards."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update
from starlette.requests import Request

from app import config
from app import database as app_database
from app.accounts import limits, queries, rules
from app.accounts.passwords import hash_password
from app.accounts.tables import Account, AccountKind, AuditEntry, SignInSession
from app.errors import TooMany
from app.launch import doctor
from app.web.auth import expired_session
from app.web.responses import local_path
from app.web.security import cookie_name
from tests.conftest import PASSWORD, forget_settings


@pytest.fixture(autouse=True)
def unlimited(database):
    """Attempts of other tests do not count."""
    limits._storage.cache_clear()
    limits._storage(config.settings().broker_url).reset()


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
        assert "name or password is wrong" in response.text
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


PROXIED = ["via", "x-real-ip", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded", "forwarded",
           "cf-connecting-ip", "true-client-ip"]  # fmt: skip


@pytest.mark.parametrize("header", PROXIED)
def test_what_a_proxy_passes_on_is_not_this_machine(client, people, header):
    guest = people.labeler(kind=AccountKind.DEMO)
    bearer = people.bearer(guest)
    assert sign_in(client).status_code == 303
    proxied = {header: "127.0.0.1"}
    assert client.get("/account").status_code == 200
    assert client.get("/account", headers=proxied).headers["location"].startswith("/sign-in")
    assert client.get("/api/v1/accounts/me", headers=bearer).status_code == 200
    assert client.get("/api/v1/accounts/me", headers=bearer | proxied).status_code == 401
    assert client.get("/metrics", headers=proxied).status_code == 404
    client.cookies.clear()
    assert 'name="code"' not in client.get("/first-run").text
    assert 'name="code"' in client.get("/first-run", headers=proxied).text


def test_demo_accounts_are_worth_nothing_once_others_reach_the_server(client, people, monkeypatch):
    guest, bearer = (made := people.labeler(kind=AccountKind.DEMO)), people.bearer(made)
    people.sign_in(client, guest)
    assert client.get("/account").status_code == 200
    monkeypatch.setenv("PLUMBLINE_HOST", "0.0.0.0")
    config.settings.cache_clear()
    assert client.get("/account").status_code == 303
    assert client.get("/api/v1/accounts/me", headers=bearer).status_code == 401
    request = Request({"type": "http", "headers": [(b"cookie", f"{cookie_name('session')}={secret(client)}".encode())],
                       "path": "/", "server": ("127.0.0.1", 8000)})  # fmt: skip
    set_expiry(datetime.now(UTC) - timedelta(minutes=1))
    assert expired_session(request) is None


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
    lock_out(client)
    refused = sign_in(client)  # the right password does not help now
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= limits.PER_USER.longest_seconds + 1
    assert "Too many sign-in attempts" in refused.text


def lock_out(client) -> None:
    """Guess from a browser that is not known until the sign-in has to wait."""
    for _attempt in range(limits.PER_USER.amount):
        assert sign_in(client, password="wrong").status_code == 422
    assert sign_in(client, password="wrong").status_code == 429


def test_guesses_made_elsewhere_do_not_keep_out_a_browser_that_signed_in_before(client, people):
    people.labeler()
    assert sign_in(client).status_code == 303
    theirs = dict(client.cookies)
    client.cookies.clear()
    lock_out(client)
    client.cookies.update(theirs)
    client.cookies.delete(cookie_name("session"))
    assert sign_in(client, " Ana ").status_code == 303


def test_a_known_browser_is_known_for_its_own_name_alone_and_may_not_guess_for_ever(client, people):
    people.labeler()
    people.labeler("ben")
    assert sign_in(client).status_code == 303
    lock_out_ben = [sign_in(client, "ben", "wrong").status_code for _ in range(limits.PER_USER.amount + 1)]
    assert lock_out_ben[-1] == 429
    lock_out(client)
    assert sign_in(client).status_code == 429


@pytest.mark.parametrize("value", ["", ".", "x", "0" * 32 + ".", "0" * 32 + "." + "0" * 64, "ü.ü"])
def test_a_cookie_that_we_did_not_sign_makes_no_browser_known(client, people, value):
    people.labeler()
    sign_in(client)
    (name,) = [name for name in client.cookies if "browser" in name]
    client.cookies.clear()
    lock_out(client)
    cookie = f"{name}={value}".encode()
    token = client.get("/sign-in")
    form = {"username": "ana", "password": PASSWORD, "csrf_token": token_in(token)}
    visit = "; ".join(f"{key}={one}" for key, one in client.cookies.items()).encode()
    assert client.post("/sign-in", data=form, headers={"cookie": visit + b"; " + cookie}).status_code == 429


def test_a_new_password_lets_its_owner_in_at_once(client, people):
    ana = people.labeler()
    lock_out(client)
    with app_database.transaction() as session:
        rules.set_password(session, ana, hash_password("another four words"), by=None)
    assert sign_in(client, password="another four words").status_code == 303


def test_the_wait_grows_and_another_address_does_not_share_it(database, monkeypatch):
    now = datetime.now(UTC).timestamp()
    monkeypatch.setattr(limits.time, "time", lambda: now)
    monkeypatch.setenv("PLUMBLINE_BROKER_URL", "memory://")
    config.settings.cache_clear()
    waits = []
    for _attempt in range(limits.PER_USER.amount + 8):
        try:
            limits.count_attempt("ana", "192.0.2.1")
        except TooMany as refused:
            waits.append(refused.retry_after_seconds - 1)
            now += waits[-1] + 0.5
    assert waits[:3] == sorted(set(waits[:3])) and max(waits) <= limits.PER_USER.longest_seconds
    limits.count_attempt("ana", "192.0.2.2")


@pytest.mark.parametrize("start", ["2001:db8::", "198.51.100."])
def test_one_name_guessed_from_many_addresses_is_slowed_at_last(database, start):
    refused = 0
    for number in range(1, limits.FROM_EVERYWHERE.amount + 2):
        address = f"{start}{number:x}::1" if ":" in start else f"{start}{number}"
        try:
            limits.count_attempt("nobody", address)
        except TooMany:
            refused += 1
    assert refused == 1
    with pytest.raises(TooMany):
        limits.count_attempt("nobody", "203.0.113.1")


def test_addresses_of_one_ipv6_network_are_one(database):
    for number in range(limits.PER_USER.amount):
        limits.count_attempt("nobody", f"2001:db8::{number:x}")
    with pytest.raises(TooMany):
        limits.count_attempt("nobody", "2001:db8::ffff")
    limits.count_attempt("nobody", "2001:db8:0:1::1")


def test_made_up_names_slow_their_address_and_no_browser_that_is_known(client, people, monkeypatch):
    monkeypatch.setattr(limits, "PER_ADDRESS", limits.Limit(3, 60))
    people.labeler()
    assert sign_in(client).status_code == 303
    known = dict(client.cookies)
    client.cookies.clear()
    for number in range(3):
        assert sign_in(client, f"made-up-{number}").status_code == 422
    refused = sign_in(client)
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) <= 61
    limits.count_attempt("nobody", "another address")
    client.cookies.update(known)
    assert sign_in(client).status_code == 303


def test_an_office_that_signs_in_rightly_is_not_slowed(database, monkeypatch):
    monkeypatch.setattr(limits, "PER_ADDRESS", limits.Limit(3, 60))
    for number in range(10):
        limits.count_attempt(f"person-{number}", "office")
        limits.forget_attempts(f"person-{number}", "office")


def test_failed_sign_ins_are_in_the_audit_trail_without_what_was_typed(client, people):
    ana, olga = people.labeler(), people.admin()
    sign_in(client, password="a secret guess")
    sign_in(client, username="a secret name")
    with app_database.reading() as session:
        failed = session.scalars(select(AuditEntry).where(AuditEntry.action == "sign_in.fail")).all()
    assert [entry.subject for entry in failed] == [ana.public_id, ""]
    assert all(entry.detail == {"address": "testclient"} for entry in failed)
    people.sign_in(client, olga)
    assert "sign_in.fail" in client.get("/admin/audit").text


@pytest.mark.parametrize(("proxies", "ok"), [("", False), ("172.18.0.1", True)])
def test_doctor_warns_of_a_proxy_that_is_not_declared(database, monkeypatch, proxies, ok):
    monkeypatch.setenv("PLUMBLINE_PUBLIC_URL", "https://labels.example.org")
    monkeypatch.setenv("PLUMBLINE_TRUSTED_PROXIES", proxies)
    config.settings.cache_clear()
    (found,) = [check for check in doctor.examine() if check["check"] == "proxy"]
    assert found["ok"] == ok and (ok or "PLUMBLINE_TRUSTED_PROXIES" in found["detail"])


def test_without_a_broker_attempts_are_still_counted(database, monkeypatch):
    monkeypatch.setenv("PLUMBLINE_BROKER_URL", "redis://127.0.0.1:1/0")
    app_database.settings.cache_clear()
    for _attempt in range(limits.PER_USER.amount):
        limits.count_attempt("nobody", "somewhere")
    with pytest.raises(TooMany):
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
    cookie = f"{cookie_name('session')}={secret(client)}".encode()

    def expired() -> Account | None:
        return expired_session(Request({"type": "http", "headers": [(b"cookie", cookie)]}))

    assert expired() is None  # it is still alive
    set_expiry(datetime.now(UTC) - timedelta(minutes=1))
    assert client.get("/account").status_code == 303
    assert expired().id == ana.id
    set_expiry(datetime.now(UTC) - queries.GRACE - timedelta(minutes=1))
    assert expired() is None
    with app_database.transaction() as session:
        rules.open_session(session, ana)
    with app_database.reading() as session:
        assert len(session.scalars(select(SignInSession)).all()) == 1  # the old one was swept


def test_a_session_that_is_not_used_ends_and_still_keeps_what_its_owner_posts(client, people):
    ana = people.labeler()
    people.sign_in(client, ana)
    idle = timedelta(hours=config.settings().idle_hours)
    minute = timedelta(minutes=1)
    set_use(datetime.now(UTC) - idle + minute)
    assert client.get("/account").status_code == 200
    assert datetime.now(UTC) - last_use() < minute, "that was a use"
    cookie = f"{cookie_name('session')}={secret(client)}".encode()
    for unused, whose in ((idle + minute, ana.id), (idle + queries.GRACE + minute, None)):
        set_use(datetime.now(UTC) - unused)
        assert client.get("/account").headers["location"] == "/sign-in?next=/account"
        with app_database.reading() as session:
            assert queries.live_sessions(session, ana) == []
        found = expired_session(Request({"type": "http", "headers": [(b"cookie", cookie)]}))
        assert (found and found.id) == whose


def test_a_page_that_asks_for_news_by_itself_uses_no_session(client, people):
    people.sign_in(client, people.admin())
    before = datetime.now(UTC) - timedelta(hours=5)
    set_use(before)
    for by_itself in ({"HX-Request": "true"}, {"Accept": "text/event-stream"}):
        assert client.get("/admin/jobs", headers=by_itself).status_code == 200
        assert last_use() == before
    client.post("/account", data=people.csrf(client), headers={"HX-Request": "true"})
    assert last_use() > before, "what a person sends is a use"


def test_signing_out_forgets_whose_session_it_was(client, people):
    people.sign_in(client, people.labeler())
    value = secret(client)
    client.post("/sign-out", data=people.csrf(client))
    request = Request({"type": "http", "headers": [(b"cookie", f"{cookie_name('session')}={value}".encode())]})
    assert expired_session(request) is None


def secret(client) -> str:
    return client.cookies[cookie_name("session")]


def set_use(moment: datetime) -> None:
    with app_database.transaction() as session:
        session.execute(update(SignInSession).values(last_used_at=moment))


def last_use() -> datetime:
    with app_database.reading() as session:
        return session.scalar(select(SignInSession.last_used_at))


def set_expiry(moment: datetime) -> None:
    with app_database.transaction() as session:
        session.execute(update(SignInSession).values(expires_at=moment))


def test_a_post_without_a_session_leads_back_to_the_page_that_asked(client, people):
    people.labeler()
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
