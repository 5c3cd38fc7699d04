"""Strange requests to every route of REST, made from its description: none breaks, all answers are as described."""

import json

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.accounts import queries, rules
from app.accounts.tables import Scope
from app.database import transaction
from app.main import create_app
from app.simulation import demo

EXAMPLES = 6
PATIENCE = 300  # seconds for an answer: a busy machine is no fault
SETTINGS = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
AS_DESCRIBED = [status_code_conformance, content_type_conformance, response_schema_conformance]
HOSTILE = ["\x00", "a\x00b", "9" * 30, "-1", "9" * 10, "\ud800", "١", "\ufffe", "%", "'; --", "{}", "x" * 5000]


@pytest.fixture
def token(database, monkeypatch) -> str:
    """A token for everything, over the demo's data."""
    for name, count in {"TRAIN_PROMPTS": 12, "VALIDATION_PROMPTS": 4, "DEMONSTRATIONS": 4}.items():
        monkeypatch.setattr(demo, name, count)
    demo.load(lambda *_: None)
    with transaction() as session:
        return rules.create_token(session, queries.by_username(session, "carla"), name="x", scopes=[*Scope])[1]


def complaint(response) -> str | None:
    """What is wrong with an answer."""
    kind = response.headers.get("content-type", "")
    if response.status_code >= 500:
        return f"{response.status_code}"
    if response.status_code >= 400 and "application/problem+json" not in kind:
        return f"{response.status_code} as {kind}"
    return None


def test_no_request_that_fits_the_description_breaks_anything(token):
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", create_app())
    found: list[str] = []
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path.endswith("/events"):
            continue  # a stream that goes on

        @SETTINGS
        @given(case=operation.as_strategy())
        def ask(case):
            try:
                response = case.call(headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE)
                wrong = complaint(response)
                case.validate_response(response, checks=AS_DESCRIBED)
            except Exception as error:  # what the server did not handle arrives here
                wrong = f"{type(error).__name__}: {error}"
            if wrong:
                found.append(f"{case.method} {case.formatted_path} {case.query} {case.body!r:.200}: {wrong:.200}")

        ask()
    assert not found, "\n".join(found[:20])


def test_hostile_words_break_nothing(token, client):
    described = client.get("/api/v1/openapi.json").json()
    headers = {"Authorization": f"Bearer {token}"}
    found = []
    for path, acts in described["paths"].items():
        for method, act in acts.items():
            names = [one["name"] for one in act.get("parameters", []) if one["in"] == "query"]
            for word in HOSTILE:
                spoken = word.encode(errors="replace").decode()  # an address cannot hold a half character
                address = path
                for name in {one["name"] for one in act.get("parameters", []) if one["in"] == "path"}:
                    address = address.replace(f"{{{name}}}", "".join(f"%{byte:02x}" for byte in spoken.encode()))
                if address.endswith("/events") and "%" not in address:
                    continue
                query = dict.fromkeys(names, spoken)
                body = {}
                if method in ("post", "patch"):
                    body["content"] = json.dumps({"name": word, "username": word, "password": word, "text": word})
                    body["headers"] = {**headers, "content-type": "application/json"}
                try:
                    wrong = complaint(client.request(method, address, params=query, **{"headers": headers, **body}))
                except Exception as error:
                    wrong = f"{type(error).__name__}: {error}"
                if wrong:
                    found.append(f"{method} {path} with {word!r:.20}: {wrong:.200}")
    assert not found, "\n".join(found[:40])


@pytest.mark.parametrize("path", ["x" * 300, "/" + "a/" * 3000, "/x/" + "é" * 200])
def test_a_path_that_no_system_takes_is_refused_by_name(client, people, path):
    headers = people.bearer(people.admin(), *Scope)
    response = client.post("/api/v1/checkpoints", json={"name": "a", "path": path}, headers=headers)
    assert response.status_code == 422 and response.json()["field"] == "path"
    for address, body in (
        ("/api/v1/policies", {"name": path, "kind": "trained", "path": path}),
        ("/api/v1/jobs", {"verb": "train_sft", "config": {"recipe": path, "data": path, "init_from": path}}),
        ("/api/v1/jobs", {"verb": "train_sft", "config": {"data": f"snapshot:{path}", "init_from": path}}),
        ("/api/v1/jobs", {"verb": "train_sft", "config": {"data": path, "init_from": f"checkpoint:{path}"}}),
        ("/api/v1/jobs", {"verb": "train_sft", "config": {"recipe": [path]}}),
        ("/api/v1/plans", {"name": "a", "base": path}),
        ("/api/v1/plans", {"name": "a", "config": {"base": path, "sft": {"recipe": path}}}),
    ):
        assert complaint(client.post(address, json=body, headers=headers)) is None, address


def test_a_config_that_nests_without_end_is_no_network(client, people, tmp_path):
    for name in ("tokenizer.json", "model.safetensors"):
        (tmp_path / name).touch()
    (tmp_path / "config.json").write_text("[" * 100_000)
    headers = people.bearer(people.admin(), *Scope)
    response = client.post("/api/v1/checkpoints", json={"name": "a", "path": str(tmp_path)}, headers=headers)
    assert response.status_code == 422 and response.json()["field"] == "path"


def test_a_search_is_for_so_many_characters(client, people):
    olga = people.admin()
    headers = people.bearer(olga, *Scope)
    people.sign_in(client, olga)
    for address in ("/api/v1/prompts?q=", "/api/v1/accounts?text=", "/admin/prompts?q=", "/admin/accounts?text="):
        for term in ("x" * 60_000, "%" * 201, "%" * 200):
            response = client.get(address.split("?")[0], params={address[:-1].split("?")[1]: term}, headers=headers)
            assert response.status_code == (200 if len(term) == 200 else 422), (address, len(term))
            assert response.status_code == 200 or "at most 200 characters" in response.text
