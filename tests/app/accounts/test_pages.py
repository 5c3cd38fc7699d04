"""Account pages: one's own, the admins', and the first admin's."""

import re

import pytest

from app import database as app_database
from app.accounts import limits, queries, rules
from app.accounts.tables import AccountKind, Role
from app.config import settings
from app.web.security import cookie_name
from tests.conftest import PASSWORD, fresh_database
from tests.desk import make_round


@pytest.fixture(params=["sqlite"])
def database(request, tmp_path, monkeypatch):
    """Pages are above the databases; their rules are tested on both."""
    yield from fresh_database(request, tmp_path, monkeypatch)


@pytest.fixture(autouse=True)
def unlimited(database):
    """Attempts of other tests do not count."""
    for username in ("ana", "olga", "first-run"):
        limits.forget_attempts(username)


def account(username):
    with app_database.reading() as session:
        return queries.by_username(session, username)


# --- one's own ---


def test_name_and_language_are_changed(client, people):
    people.sign_in(client, people.labeler())
    response = client.post("/account", data={**people.csrf(client), "name": " Ana María ", "language": "en"})
    assert response.headers["location"] == "/account"
    page = client.get("/account").text
    assert "Saved." in page and account("ana").name == "Ana María"
    refused = client.post("/account", data={**people.csrf(client), "name": "", "language": "en"})
    assert refused.status_code == 422 and 'aria-invalid="true"' in refused.text
    client.post("/account", data={**people.csrf(client), "name": "Ana", "language": "de"})
    assert "Gespeichert." in client.get("/account").text, "what was asked for is said in the language asked for"


def test_the_password_is_changed_with_the_current_one_only(client, people):
    ana = people.labeler()
    people.sign_in(client, ana)
    with app_database.transaction() as session:
        elsewhere = rules.open_session(session, ana)

    def change(current, password):
        form = {**people.csrf(client), "current": current, "password": password}
        return client.post("/account/password", data=form)

    assert change("wrong", "four unrelated words").status_code == 422
    assert change(PASSWORD, "short").status_code == 422
    assert change(PASSWORD, "four unrelated words").status_code == 303
    assert client.get("/account").status_code == 200
    with app_database.reading() as session:
        assert queries.session_of(session, elsewhere) is None


def test_guessing_the_current_password_is_slowed(client, people):
    people.sign_in(client, people.labeler())
    form = {**people.csrf(client), "current": "wrong", "password": "four unrelated words"}
    statuses = [client.post("/account/password", data=form).status_code for _ in range(limits.PER_USER.amount + 1)]
    assert statuses == [422] * limits.PER_USER.amount + [429]


def test_a_token_is_shown_once_and_revoked(client, people):
    people.sign_in(client, people.labeler())
    form = {**people.csrf(client), "name": "<script>", "scopes": "work", "days": "7"}
    response = client.post("/account/tokens", data=form)
    secret = re.search(r"plumb_[\w-]{43}", response.text)[0]
    assert response.headers["cache-control"] == "no-store"
    again = client.get("/account").text
    assert secret not in again and "&lt;script&gt;" in again and "<script>" not in again.split("<main")[1]
    bearer = {"Authorization": f"Bearer {secret}"}
    assert client.get("/api/v1/accounts/me", headers=bearer).json()["username"] == "ana"
    (path,) = re.findall(r'action="(/account/tokens/\w+/revoke)"', again)
    assert client.post(path, data=people.csrf(client)).status_code == 303
    assert client.get("/api/v1/accounts/me", headers=bearer).status_code == 401


def test_a_strange_token_says_what_is_wrong(client, people):
    people.sign_in(client, people.labeler())
    for change in ({"scopes": "accounts"}, {"scopes": []}, {"days": "x"}, {"days": "0"}, {"name": ""}):
        form = {**people.csrf(client), "name": "x", "scopes": "work", "days": "7", **change}
        response = client.post("/account/tokens", data=form)
        assert response.status_code == 422
        assert 'role="alert"' in response.text or "aria-invalid" in response.text


def test_nobody_revokes_the_token_of_another(client, people):
    ben = people.labeler("ben")
    people.bearer(ben)
    with app_database.reading() as session:
        (token,) = queries.tokens_of(session, ben)
    people.sign_in(client, people.labeler())
    assert client.post(f"/account/tokens/{token.public_id}/revoke", data=people.csrf(client)).status_code == 404


# --- admins ---

ADMIN_PATHS = ["/admin", "/admin/accounts", "/admin/accounts/new", "/admin/accounts/x", "/admin/audit"]


def test_the_admin_area_does_not_exist_for_labelers(client, people):
    for path in ADMIN_PATHS:
        assert client.get(path).headers["location"].startswith("/sign-in?next=/admin")
    people.sign_in(client, people.labeler())
    for path in ADMIN_PATHS:
        assert client.get(path).status_code == 404
    assert "/admin" not in client.get("/account").text


def test_labelers_change_no_accounts(client, people):
    olga = people.admin()
    people.sign_in(client, people.labeler())
    for act in ("", "/disable", "/enable", "/password", "/sign-out", "/tokens/x/revoke"):
        path = f"/admin/accounts/{olga.public_id}{act}"
        assert client.post(path, data={**people.csrf(client), "role": "labeler"}).status_code == 404
    assert account("olga").role is Role.ADMIN and account("olga").disabled_at is None


def test_an_admin_makes_an_account_that_signs_in(client, people):
    people.sign_in(client, people.admin())
    form = {**people.csrf(client), "username": "Bo", "name": "", "password": "four unrelated words", "pool": "held-out"}
    assert client.post("/admin/accounts/new", data=form).status_code == 303
    assert "“bo”" in client.get("/admin/accounts").text
    made = account("bo")
    assert (made.name, made.pool, made.role) == ("Bo", "held-out", "labeler")
    again = client.post("/admin/accounts/new", data={**form, "name": "kept as typed"})
    assert again.status_code == 409 and "choose another" in again.text and 'value="kept as typed"' in again.text
    strange = client.post("/admin/accounts/new", data={**form, "username": "bob", "role": "king"})
    assert strange.status_code == 422 and "king" in strange.text


def test_an_admin_changes_disables_and_enables(client, people):
    people.sign_in(client, people.admin())
    ana = people.labeler()
    path = f"/admin/accounts/{ana.public_id}"
    form = {**people.csrf(client), "name": "Ana", "role": "admin", "pool": "held-out", "language": "en"}
    assert client.post(path, data=form).status_code == 303
    assert (account("ana").role, account("ana").pool) == ("admin", "held-out")
    client.post(path + "/disable", data=people.csrf(client))
    assert "Disabled since" in client.get(path).text
    client.post(path + "/enable", data=people.csrf(client))
    assert account("ana").disabled_at is None
    assert "account.change" in client.get("/admin/audit").text


def test_the_last_admin_is_told_why_they_stay(client, people):
    olga = people.admin()
    people.sign_in(client, olga)
    refused = client.post(f"/admin/accounts/{olga.public_id}/disable", data=people.csrf(client))
    assert refused.status_code == 409 and "last admin" in refused.text


def test_a_reset_password_is_shown_once_and_works(client, people):
    people.sign_in(client, people.admin())
    ana = people.labeler()
    response = client.post(f"/admin/accounts/{ana.public_id}/password", data=people.csrf(client))
    password = re.search(r'<code class="secret">([\w-]{16})</code>', response.text)[1]
    assert response.headers["cache-control"] == "no-store"
    client.cookies.clear()
    token = re.search(r'csrf_token" value="(\w+)"', client.get("/sign-in").text)[1]
    form = {"username": "ana", "password": password, "csrf_token": token}
    assert client.post("/sign-in", data=form).status_code == 303


def test_programs_and_the_demo_are_marked(client, people):
    people.sign_in(client, people.admin())
    people.labeler("robot", kind=AccountKind.SIMULATED)
    people.labeler("guest", kind=AccountKind.DEMO)
    page = client.get("/admin/accounts").text
    assert ">simulated</span>" in page and ">demo</span>" in page


# --- the first admin ---


def first_run(client, **fields):
    form = {"username": "olga", "name": "Olga", "password": "four unrelated words", **fields}
    response = client.get("/first-run")
    if token := re.search(r'csrf_token" value="(\w+)"', response.text):
        form["csrf_token"] = token[1]
    return client.post("/first-run", data=form)


def test_the_first_admin_is_made_on_this_machine_without_a_code(client):
    assert "/first-run" in client.get("/sign-in").text
    assert first_run(client, password="short").status_code == 422
    assert first_run(client).headers["location"] == "/admin/accounts"
    assert "first admin" in client.get("/admin/accounts").text
    client.cookies.clear()
    assert client.get("/first-run").status_code == 404
    assert "/first-run" not in client.get("/sign-in").text


@pytest.mark.parametrize("local", [True, False])
def test_from_elsewhere_the_first_admin_needs_the_code_of_the_console(client, monkeypatch, local):
    if not local:
        monkeypatch.setenv("PLUMBLINE_HOST", "0.0.0.0")
        settings.cache_clear()
        assert first_run(client).status_code == 422
        assert first_run(client, code="000000000000").status_code == 422
        assert account("olga") is None
        assert first_run(client, code=rules.first_run_code()).status_code == 303
    else:
        client.base_url = "http://rebound.example.org:8000"
        assert first_run(client).status_code == 422
    assert (account("olga") is None) == local


def test_guessing_the_code_is_slowed(client, monkeypatch):
    monkeypatch.setenv("PLUMBLINE_HOST", "0.0.0.0")
    settings.cache_clear()
    statuses = [first_run(client, code=f"{n:012}").status_code for n in range(limits.PER_USER.amount + 1)]
    assert statuses[-1] == 429


def test_once_there_is_an_admin_the_first_run_page_is_gone(client, people):
    people.admin()
    form = {"username": "eve", "name": "Eve", "password": "four unrelated words"}
    token = re.search(r'csrf_token" value="(\w+)"', client.get("/sign-in").text)[1]
    assert client.post("/first-run", data={**form, "csrf_token": token}).status_code == 404
    assert account("eve") is None and cookie_name("session") not in client.cookies


def test_somebody_who_is_paused_signs_in_and_gets_no_new_work(client, people):
    make_round(2)
    olga, ana = people.admin(), people.labeler()
    people.sign_in(client, olga)
    fields = people.csrf(client)
    assert client.post(f"/admin/accounts/{ana.public_id}/pause", data=fields).status_code == 303
    assert "Give work again" in client.get(f"/admin/accounts/{ana.public_id}").text
    me = people.bearer(account("ana"))
    assert client.post("/api/v1/assignments/next", headers=me).status_code == 204
    assert client.post(f"/admin/accounts/{ana.public_id}/resume", data=fields).status_code == 303
    assert client.post("/api/v1/assignments/next", headers=me).status_code == 200
