"""Accounts, tokens and the audit trail over REST."""

from datetime import datetime

import pytest

from app.accounts.tables import Scope
from tests.conftest import fresh_database

NEW = {"username": "bo", "password": "four unrelated words"}


@pytest.fixture(params=["sqlite"])
def database(request, tmp_path, monkeypatch):
    """REST is above the databases; its rules are tested on both."""
    yield from fresh_database(request, tmp_path, monkeypatch)


@pytest.fixture
def headers(people):
    """The header of an admin's token for accounts."""
    return people.bearer(people.admin(), "accounts")


def test_accounts_are_made_read_changed_and_listed(client, headers):
    made = client.post("/api/v1/accounts", json={**NEW, "pool": "held-out", "simulated": True}, headers=headers)
    assert made.status_code == 201
    body = made.json()
    assert {key: body[key] for key in ("username", "name", "role", "pool", "kind", "disabled_at")} == {
        "username": "bo", "name": "bo", "role": "labeler", "pool": "held-out", "kind": "simulated", "disabled_at": None,
    }  # fmt: skip
    assert "password_hash" not in made.text and "argon" not in made.text
    path = f"/api/v1/accounts/{body['id']}"
    assert client.get(path, headers=headers).json() == body
    changed = client.patch(path, json={"name": "Bo B.", "disabled": True}, headers=headers).json()
    assert changed["name"] == "Bo B." and changed["disabled_at"] and changed["pool"] == "held-out"
    page = client.get("/api/v1/accounts?limit=1", headers=headers).json()
    assert [one["username"] for one in page["items"]] == ["bo"]
    rest = client.get(f"/api/v1/accounts?cursor={page['next_cursor']}", headers=headers).json()
    assert [one["username"] for one in rest["items"]] == ["olga"] and rest["next_cursor"] is None


def test_a_strange_account_says_what_is_wrong(client, headers):
    for change, status, field in (
        ({"username": "a b"}, 422, "username"),
        ({"password": "short"}, 422, "password"),
        ({"role": "king"}, 422, "role"),
        ({"colour": "red"}, 422, "colour"),
        ({"username": "olga"}, 409, "username"),
    ):
        response = client.post("/api/v1/accounts", json={**NEW, **change}, headers=headers)
        assert (response.status_code, response.json().get("field")) == (status, field)


def test_tokens_are_made_used_listed_and_revoked(client, headers):
    id = client.post("/api/v1/accounts", json=NEW, headers=headers).json()["id"]
    path = f"/api/v1/accounts/{id}/tokens"
    made = client.post(path, json={"name": "day", "scopes": ["work"], "days": 1}, headers=headers).json()
    bearer = {"Authorization": f"Bearer {made['token']}"}
    assert client.get("/api/v1/accounts/me", headers=bearer).json()["id"] == id
    (listed,) = client.get(path, headers=headers).json()
    assert listed["id"] == made["id"] and "token" not in listed and listed["last_used_at"]
    assert client.delete(f"{path}/{made['id']}", headers=headers).status_code == 204
    assert client.get("/api/v1/accounts/me", headers=bearer).status_code == 401
    for days in (None, -1, 3651):
        endless = client.post(path, json={"name": "x", "scopes": ["work"], "days": days}, headers=headers)
        assert endless.status_code == 422 and endless.json()["field"] == "days" and "1 to 3650" in endless.text
    chosen = client.post(path, json={"name": "x", "scopes": ["work"], "days": 0}, headers=headers)
    assert chosen.json()["expires_at"] is None
    too_much = client.post(path, json={"name": "x", "scopes": ["jobs"]}, headers=headers)
    assert too_much.status_code == 422 and too_much.json()["field"] == "scopes"


def test_a_new_password_ends_the_sessions(client, people, headers):
    ana = people.labeler()
    people.sign_in(client, ana)
    path = f"/api/v1/accounts/{ana.public_id}"
    assert client.post(f"{path}/password", json={"password": "four other words"}, headers=headers).status_code == 204
    assert client.get("/account").status_code == 303
    people.sign_in(client, ana)
    assert client.post(f"{path}/sign-out", headers=headers).status_code == 204
    assert client.get("/account").status_code == 303


@pytest.mark.parametrize("act", ["password", "sign-out"])
@pytest.mark.parametrize("kept", [False, True])
def test_recovery_over_rest_revokes_tokens_unless_they_are_kept(client, people, headers, act, kept):
    ana = people.labeler()
    theirs = people.bearer(ana)
    given = {"json": {"password": "four other words", "keep_tokens": kept}} if act == "password" else {}
    query = f"?keep_tokens={kept}" if act == "sign-out" else ""
    address = f"/api/v1/accounts/{ana.public_id}/{act}{query}"
    assert client.post(address, headers=headers, **given).status_code == 204
    assert client.get("/api/v1/accounts/me", headers=theirs).status_code == (200 if kept else 401)


def test_the_audit_trail_is_read_page_by_page(client, people, headers):
    ana = people.labeler()
    client.patch(f"/api/v1/accounts/{ana.public_id}", json={"pool": "held-out"}, headers=headers)
    items = client.get(f"/api/v1/audit?subject={ana.public_id}", headers=headers).json()["items"]
    assert [(item["action"], item["by"]) for item in items] == [("account.change", "olga"), ("account.create", None)]
    seen, cursor = [], None
    while True:
        query = f"?limit=1{f'&cursor={cursor}' if cursor else ''}"
        page = client.get(f"/api/v1/audit{query}", headers=headers).json()
        seen += page["items"]
        if (cursor := page["next_cursor"]) is None:
            break
    times = [datetime.fromisoformat(item["at"]) for item in seen]  # as text, :00Z would stand above :00.039Z
    assert len(seen) == 4 and times == sorted(times, reverse=True)


ROUTES = [
    ("get", "/api/v1/accounts"),
    ("post", "/api/v1/accounts"),
    ("get", "/api/v1/accounts/{id}"),
    ("patch", "/api/v1/accounts/{id}"),
    ("post", "/api/v1/accounts/{id}/password"),
    ("post", "/api/v1/accounts/{id}/sign-out"),
    ("get", "/api/v1/accounts/{id}/tokens"),
    ("post", "/api/v1/accounts/{id}/tokens"),
    ("delete", "/api/v1/accounts/{id}/tokens/x"),
    ("get", "/api/v1/audit"),
]


def test_people_and_tokens_need_the_scope_accounts(client, people):
    olga = people.admin()
    others = people.bearer(olga, *(scope for scope in Scope if scope is not Scope.ACCOUNTS))
    labelers = people.bearer(people.labeler())
    bodies = {
        "accounts": NEW,
        "password": {"password": "four other words"},
        "tokens": {"name": "x", "scopes": ["work"]},
    }
    for method, path in ROUTES:
        body = {"name": "x"} if method == "patch" else bodies.get(path.rsplit("/")[-1], {})
        given = {"json": body} if method in ("post", "patch") else {}
        address = path.format(id=olga.public_id)
        assert client.request(method, address, **given).status_code == 401
        assert client.request(method, address, headers=others, **given).status_code == 403
        assert client.request(method, address, headers=labelers, **given).status_code == 403


def test_an_account_that_does_not_exist_is_not_found(client, headers):
    for method, path in ROUTES[2:4] + ROUTES[5:7]:
        json = {"json": {"name": "x"}} if method == "patch" else {}
        assert client.request(method, path.format(id="nobody"), headers=headers, **json).status_code == 404
