"""Asking endpoints: what is sent, what comes back, and what every failure tells to do."""

import json
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from sqlalchemy import update

from app.config import settings
from app.database import reading, transaction, utc_now
from app.errors import BadInput
from app.policies import rules
from app.policies.schemas import PolicyIn
from app.policies.tables import Policy, PolicyKind, ServedPolicy
from app.serving import endpoint
from app.serving import rules as serving
from app.serving.endpoint import Endpoint, NoAnswer, chat
from tests.chat_server import CLOSES, chat_server
from tests.conftest import forget_settings

TALK = [
    {"role": "user", "text": "Hi"},
    {"role": "assistant", "text": "Hello."},
    {"role": "user", "text": "Name a river."},
]


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(endpoint, "PAUSE_SECONDS", 0.02)
    with chat_server() as made:
        yield made


def test_what_is_asked_and_what_comes_back(server):
    server.answer = lambda request: [f"text {n}" for n in range(request["n"])]
    written = chat(Endpoint(server.url, "mine"), TALK, n=3, temperature=0.5, max_tokens=77)
    assert [one.text for one in written] == ["text 0", "text 1", "text 2"]
    (asked,) = server.requests
    assert asked["path"] == "/v1/chat/completions"
    assert asked["messages"][1] == {"role": "assistant", "content": "Hello."}
    assert (asked["model"], asked["temperature"], asked["max_tokens"]) == ("mine", 0.5, 77)
    assert server.keys == [None]
    (one,) = chat(Endpoint(server.url), TALK)
    assert (one.tokens, one.finished) == (3, True)


def test_a_server_that_refuses_to_write_several_is_asked_for_one(server):
    server.before = lambda: setattr(server, "reply", (400, {}, b"n") if server.requests[-1]["n"] > 1 else None)
    assert [one.text for one in chat(Endpoint(server.url), TALK, n=4)] == ["answer to Name a river."]
    assert [one["n"] for one in server.requests] == [4, 1]


def test_the_key_comes_from_its_variable_and_is_told_to_nobody(server, monkeypatch):
    monkeypatch.setenv("RIVER_KEY", "s3cret")
    chat(Endpoint(server.url, key_variable="RIVER_KEY"), TALK)
    assert server.keys == ["Bearer s3cret"]
    server.reply = (401, {}, json.dumps({"error": {"message": "bad key"}}).encode())
    with pytest.raises(NoAnswer, match="refused the key") as refused:
        chat(Endpoint(server.url, key_variable="RIVER_KEY"), TALK)
    assert "s3cret" not in refused.value.message
    monkeypatch.delenv("RIVER_KEY")
    with pytest.raises(NoAnswer, match="RIVER_KEY"):
        chat(Endpoint(server.url, key_variable="RIVER_KEY"), TALK)
    assert len(server.requests) == 2, "without its key nothing is sent"


def test_redirects_are_not_followed(server):
    with chat_server() as other:
        server.reply = (307, {"Location": f"{other.url}/chat/completions"}, b"")
        with pytest.raises(NoAnswer, match="redirects are not followed"):
            chat(Endpoint(server.url), TALK)
        assert other.requests == []


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ({"error": {"message": "the context is 2048 tokens"}}, "the context is 2048 tokens"),
        ({"error": "model is loading"}, "model is loading"),
        ({"detail": "no such user"}, "no such user"),
        ({"error": {"message": {"key": "inner-secret"}}}, None),
        ({"error": ["inner-secret"], "message": "inner-secret"}, None),
        ({"Code": "Success", "AccessKeyId": "inner-secret"}, None),
        ("inner-secret", None),
        (["inner-secret"], None),
        (b"<html>inner-secret</html>", None),
        (b"", None),
        ({"error": {"message": "long " * 200}}, "long long"),
    ],
)
def test_of_what_a_server_answers_only_the_message_of_its_error_is_shown(server, body, shown):
    """An address may lead to a page of the inner network: what stands there is not for whoever named it."""
    server.reply = (418, {}, body if isinstance(body, bytes) else json.dumps(body).encode())
    with pytest.raises(NoAnswer) as refused:
        chat(Endpoint(server.url), TALK)
    assert "inner-secret" not in refused.value.message
    assert (shown or "The server said: nothing") in refused.value.message and len(refused.value.message) < 450


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ((404, {}, b'{"error": {"message": "no such model"}}'), "does not end in /v1.*no such model"),
        ((429, {}, b'{"message": "slow down"}'), "is overloaded.*slow down"),
        ((500, {}, b""), r"failed \(500\)"),
        ((400, {}, b'{"error": "too long"}'), "refused the request.*too long"),
        ((200, {}, b"<html>hello</html>"), "did not return a chat completion"),
        ((200, {}, b'{"choices": []}'), "empty text"),
        ((200, {}, b'{"choices": [{"message": {"content": "  "}}]}'), "empty text"),
        ((200, {}, b'["a"]'), "did not return a chat completion"),
    ],
)
def test_every_failure_says_what_to_do(server, reply, says):
    server.reply = reply
    with pytest.raises(NoAnswer, match=says):
        chat(Endpoint(server.url), TALK)


@pytest.mark.parametrize(
    "reply",
    [
        (429, {"Retry-After": "1"}, b""),
        (429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, b""),
        (503, {"Retry-After": "soon"}, b""),
        (500, {}, b""),
        (200, {}, b"<html>"),
        (200, {}, b'{"choices": []}'),
        (200, {"Content-Length": "99"}, b'{"choices": ['),
        CLOSES,
    ],
)
def test_what_may_pass_is_tried_again_and_not_for_ever(server, reply):
    server.script = lambda request, times: reply if times == 1 else None
    assert chat(Endpoint(server.url), TALK)[0].text == "answer to Name a river."
    assert len(server.requests) == 2
    server.script = lambda request, times: reply
    with pytest.raises(NoAnswer):
        chat(Endpoint(server.url), TALK)
    assert len(server.requests) == 2 + endpoint.TRIES


def test_nobody_is_kept_waiting_for_a_server_beyond_the_time_that_there_is(server):
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    for number, pause in enumerate(("20", in_an_hour), 1):
        server.reply = (429, {"Retry-After": pause}, b"slow down")
        with pytest.raises(NoAnswer, match="is overloaded"):
            chat(Endpoint(server.url), TALK, seconds=10)
        assert len(server.requests) == number


def test_what_another_try_cannot_mend_is_not_tried_again(server):
    for number, status in enumerate((400, 401, 403, 404, 307), 1):
        server.reply = (status, {"Retry-After": "0"}, b"")
        with pytest.raises(NoAnswer):
            chat(Endpoint(server.url), TALK)
        assert len(server.requests) == number


def test_silence_and_floods_come_to_an_end(server, monkeypatch):
    with pytest.raises(NoAnswer, match="Start the server"):
        chat(Endpoint("http://127.0.0.1:1/v1"), TALK)
    silent = threading.Event()
    server.before = lambda: silent.wait(10)
    with pytest.raises(NoAnswer, match="did not answer within"):
        chat(Endpoint(server.url), TALK, seconds=0.3)
    silent.set()
    server.before = lambda: None
    monkeypatch.setattr(endpoint, "MAX_ANSWER_BYTES", 100)
    server.answer = lambda _request: ["word " * 100]
    with pytest.raises(NoAnswer, match="longer than 100 bytes"):
        chat(Endpoint(server.url), TALK)


def test_no_proxy_of_the_environment_sees_what_is_sent(server, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert chat(Endpoint(server.url), TALK)


# --- Registered policies ---


def add(name: str, **fields) -> Policy:
    with transaction() as session:
        return rules.create(session, PolicyIn(name=name, kind=PolicyKind.ENDPOINT, **fields), None)


def test_an_endpoint_answers_under_its_name_and_its_page_keeps_what_went_wrong(database, server):
    policy = add("live", endpoint_url=server.url + "/", endpoint_model="m")
    assert serving.write(policy, TALK)[0].text == "answer to Name a river."
    assert server.requests[0]["model"] == "m"
    server.reply = (500, {}, b"")
    with pytest.raises(NoAnswer):
        serving.write(policy, TALK)
    with reading() as session:
        policy = session.get_one(Policy, policy.id)
        assert "failed (500)" in policy.last_error
    server.reply = None
    serving.write(policy, TALK)
    with reading() as session:
        assert session.get_one(Policy, policy.id).last_error == ""


def test_only_variables_that_the_operator_named_may_hold_a_key(database, monkeypatch):
    with pytest.raises(BadInput, match="PLUMBLINE_ENDPOINT_KEYS"):
        add("thief", endpoint_url="http://127.0.0.1:1/v1", key_variable="PLUMBLINE_SECRET")
    monkeypatch.setenv("PLUMBLINE_ENDPOINT_KEYS", "A_KEY, B_KEY")
    forget_settings()
    assert settings().endpoint_key_names == ["A_KEY", "B_KEY"]
    assert add("mine", endpoint_url="http://127.0.0.1:1/v1", key_variable="B_KEY").key_variable == "B_KEY"


def test_without_a_name_the_newest_that_can_write_is_asked(database):
    with transaction() as session:
        rules.get_or_create(session, "texts", PolicyKind.IMPORTED)
        with pytest.raises(BadInput, match="No policy can be asked yet"):
            rules.writer(session)
        trained = rules.get_or_create(session, "trained", PolicyKind.TRAINED, path="runs/1/checkpoints/a")
        rules.people(session)
        assert rules.writer(session).id == trained.id
        with pytest.raises(BadInput, match="“texts” is imported"):
            rules.writer(session, "texts")
    newer = add("live", endpoint_url="http://127.0.0.1:1/v1")
    with reading() as session:
        assert rules.writer(session).id == newer.id
        assert rules.writer(session, "trained").id == trained.id


def test_a_trained_policy_is_asked_where_the_sampler_says(database, server):
    with transaction() as session:
        policy = rules.get_or_create(session, "trained", PolicyKind.TRAINED, path="runs/1/checkpoints/a")
    with pytest.raises(NoAnswer, match="plumbline sampler"):
        serving.write(policy, TALK, wait_seconds=0)
    with transaction() as session:
        assert [one.policy_id for one in serving.wanted(session)] == [policy.id]
        assert serving.hold(session, policy.id, "first", "")
        assert not serving.hold(session, policy.id, "second", ""), "one sampler at a time"
    with pytest.raises(NoAnswer, match="still loading"):
        serving.write(policy, TALK, wait_seconds=0)
    with transaction() as session:
        assert serving.hold(session, policy.id, "first", server.url)
    assert serving.write(policy, TALK)[0].text == "answer to Name a river."
    assert server.keys == [f"Bearer {serving.key()}"]
    with transaction() as session:  # a sampler that died: nobody is sent to where it was
        session.execute(update(ServedPolicy).values(lease_until=utc_now(-1)))
    with pytest.raises(NoAnswer, match="plumbline sampler"):
        serving.write(policy, TALK, wait_seconds=0)
    with transaction() as session:
        assert serving.hold(session, policy.id, "second", "")
        serving.let_go(session, policy.id, "second", "no such folder")
        assert serving.wanted(session) == []


def test_trying_a_policy_by_page_and_rest(client, people, server):
    admin = people.admin()
    people.sign_in(client, admin)
    fields = {**people.csrf(client), "name": "live", "kind": "endpoint", "endpoint_url": server.url}
    place = client.post("/admin/policies/new", data=fields).headers["location"]
    tried = client.post(f"{place}/try", data={**people.csrf(client), "question": "Which <b>river</b>?"})
    assert "answer to Which &lt;b&gt;river&lt;/b&gt;?" in tried.text
    server.reply = (500, {}, b"")
    failed = client.post(f"{place}/try", data=people.csrf(client))
    assert failed.status_code == 502 and "failed (500)" in failed.text
    assert "failed (500)" in client.get(place).text
    bearer = people.bearer(admin)
    id = place.rpartition("/")[2]
    answer = client.post(f"/api/v1/policies/{id}/try", json={"question": "Hi"}, headers=bearer)
    assert answer.status_code == 502 and "failed (500)" in answer.json()["detail"]
    server.reply = None
    answer = client.post(f"/api/v1/policies/{id}/try", json={"question": "Hi"}, headers=bearer)
    assert answer.json()["text"] == "answer to Hi"
    made = client.post(
        "/api/v1/policies",
        json={"name": "other", "kind": "endpoint", "endpoint_url": "http://u:p@127.0.0.1/v1"},
        headers=bearer,
    )
    assert made.status_code == 422 and "user name and password" in made.text
