"""Account pages: one's own, the admins', and the first admin's."""

import re

import pytest
from sqlalchemy import select

from app import database as app_database
from app.accounts import limits, queries, rules
from app.accounts.passwords import DEMO_PASSWORD, hash_password
from app.accounts.tables import Account, AccountKind, Role
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
    limits._storage(settings().broker_url).reset()


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


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("act", ["password", "sign-out-everywhere"])
def test_recovering_ones_own_account_revokes_tokens_unless_they_are_kept(client, people, act, kept):
    ana = people.labeler()
    bearer = people.bearer(ana)
    people.sign_in(client, ana)
    assert 'name="keep_tokens"' in client.get("/account").text
    form = {**people.csrf(client), "current": PASSWORD, "password": "four unrelated words"}
    client.post(f"/account/{act}", data=form | ({"keep_tokens": "yes"} if kept else {}))
    assert client.get("/api/v1/accounts/me", headers=bearer).status_code == (200 if kept else 401)
    assert ("still work" if kept else "your API tokens are revoked") in client.get("/account").text
    assert ('name="keep_tokens"' in client.get("/account").text) == kept


@pytest.mark.parametrize("act", ["password", "sign-out", "disable"])
def test_recovery_by_an_admin_revokes_tokens(client, people, act):
    ana = people.labeler()
    bearer = people.bearer(ana)
    people.sign_in(client, people.admin())
    client.post(f"/admin/accounts/{ana.public_id}/{act}", data=people.csrf(client))
    client.post(f"/admin/accounts/{ana.public_id}/enable", data=people.csrf(client))
    assert client.get("/api/v1/accounts/me", headers=bearer).status_code == 401


@pytest.mark.parametrize("act", ["password", "tokens"])
def test_guessing_the_current_password_is_slowed(client, people, act):
    people.sign_in(client, people.labeler())
    form = {**people.csrf(client), "current": "wrong", "password": "four unrelated words", "scopes": "work"}
    statuses = [client.post(f"/account/{act}", data=form).status_code for _ in range(limits.PER_USER.amount + 1)]
    assert statuses == [422] * limits.PER_USER.amount + [429]


def test_a_token_is_shown_once_and_revoked(client, people):
    people.sign_in(client, people.labeler())
    form = {**people.csrf(client), "name": "<script>", "scopes": "work", "days": "7", "current": PASSWORD}
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
    changes = {"scopes": ("accounts", []), "days": ("x", "0"), "name": ("",), "current": ("wrong", "")}
    for change in ({field: value} for field, values in changes.items() for value in values):
        form = {**people.csrf(client), "name": "x", "scopes": "work", "days": "7", "current": PASSWORD, **change}
        response = client.post("/account/tokens", data=form)
        assert response.status_code == 422
        assert 'role="alert"' in response.text or "aria-invalid" in response.text


def test_a_token_that_never_ends_is_an_admins_choice(client, people):
    olga = people.admin()
    people.sign_in(client, olga)
    form = {**people.csrf(client), "name": "x", "scopes": "read", "current": PASSWORD}
    for days in ("", "0"):
        assert client.post("/account/tokens", data={**form, "days": days}).status_code == 200
    with app_database.reading() as session:
        chosen, empty = queries.tokens_of(session, olga)
    assert chosen.expires_at is None and empty.expires_at


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
    assert client.post(path, data=form | {"current": PASSWORD}).status_code == 303
    assert (account("ana").role, account("ana").pool) == ("admin", "held-out")
    client.post(path + "/disable", data=people.csrf(client))
    assert "Disabled since" in client.get(path).text
    client.post(path + "/enable", data=people.csrf(client))
    assert account("ana").disabled_at is None
    assert "account.change" in client.get("/admin/audit").text


def everyone() -> list[tuple]:
    with app_database.reading() as session:
        return [(one.username, one.role, one.password_hash) for one in session.scalars(select(Account))]


def test_making_an_admin_takes_ones_own_password(client, people):
    people.sign_in(client, people.admin())
    ana, pia = people.labeler(), people.admin("pia")
    new = {"username": "bo", "password": "four unrelated words", "role": "admin"}
    changed = {"name": "Ana", "role": "admin", "pool": "train", "language": "en"}
    for path, form in (
        ("/admin/accounts/new", new),
        (f"/admin/accounts/{ana.public_id}", changed),
        (f"/admin/accounts/{pia.public_id}/password", {}),
    ):
        for given in ("", "four unrelated birds"):
            before = everyone()
            refused = client.post(path, data=people.csrf(client) | form | {"current": given})
            assert refused.status_code == 422 and "password" in refused.text and 'name="current"' in refused.text
            assert everyone() == before
        done = client.post(path, data=people.csrf(client) | form | {"current": PASSWORD})
        assert done.status_code in (200, 303)
    assert account("ana").role is account("bo").role is Role.ADMIN
    labelers = {"name": "Pia", "role": "admin", "pool": "train", "language": "en"}
    assert client.post(f"/admin/accounts/{pia.public_id}", data=people.csrf(client) | labelers).status_code == 303


def test_the_audit_trail_says_from_where(client, people):
    olga = people.admin()
    token = re.search(r'csrf_token" value="(\w+)"', client.get("/sign-in").text)[1]
    client.post("/sign-in", data={"username": "nobody", "password": "x", "csrf_token": token})
    people.sign_in(client, olga)
    client.post(f"/admin/accounts/{people.labeler().public_id}/pause", data=people.csrf(client))
    bearer = people.bearer(olga)
    client.post("/api/v1/accounts", headers=bearer, json={"username": "bo", "password": "four unrelated words"})
    entries = client.get("/api/v1/audit", headers=bearer).json()["items"]
    told = {(entry["action"], entry["by"], entry["surface"]) for entry in entries}
    assert {
        ("sign_in.fail", None, "page"),
        ("account.change", "olga", "page"),
        ("account.create", "olga", "rest"),
        ("account.create", None, "command_line"),
    } <= told
    cells = r"<td>(\S*|not signed in)</td>\s*<td[^>]*>(.*?)</td>\s*<td[^>]*><code>(.*?)<"
    rows = re.findall(cells, client.get("/admin/audit").text)
    assert {("not signed in", "page", "sign_in.fail"), ("olga", "REST", "account.create")} <= set(rows)


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
    assert 'action="/first-run"' in client.get("/sign-in").text
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
    assert ">Resume<" in client.get(f"/admin/accounts/{ana.public_id}").text
    me = people.bearer(account("ana"))
    assert client.post("/api/v1/assignments/next", headers=me).status_code == 204
    assert client.post(f"/admin/accounts/{ana.public_id}/resume", data=fields).status_code == 303
    assert client.post("/api/v1/assignments/next", headers=me).status_code == 200


def test_where_nobody_is_the_first_page_asks_for_the_first_admin(client):
    assert client.get("/").headers["location"].startswith("/sign-in")
    shown = client.get("/sign-in").text
    assert "The first admin" in shown and 'action="/first-run"' in shown


def test_people_of_the_demo_sign_in_at_one_click_on_this_machine_alone(client, people):
    made = people.make("ada", kind=AccountKind.DEMO, name="Ada")
    with app_database.transaction() as session:
        session.get_one(Account, made.id).password_hash = str(hash_password(DEMO_PASSWORD))
    shown = client.get("/sign-in").text
    assert "Ada, labeler" in shown and "your own team" in shown and "no admin yet" not in shown
    assert DEMO_PASSWORD not in shown
    token = re.search(r'csrf_token" value="(\w+)"', shown)[1]
    proxied = {"X-Forwarded-For": "203.0.113.9"}
    assert "Ada, labeler" not in client.get("/sign-in", headers=proxied).text
    assert client.post("/sign-in", data={"csrf_token": token, "demo": "ada"}, headers=proxied).status_code == 422
    assert client.post("/sign-in", data={"csrf_token": token, "demo": "ada"}).status_code == 303
    assert client.get("/account").status_code == 200


def test_no_account_of_another_kind_signs_in_by_the_demo_s_button(client, people):
    people.make("olga", name="Olga")
    token = re.search(r'csrf_token" value="(\w+)"', client.get("/sign-in").text)[1]
    assert client.post("/sign-in", data={"csrf_token": token, "demo": "olga"}).status_code == 422
