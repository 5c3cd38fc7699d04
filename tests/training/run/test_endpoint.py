"""Requests to a failing server: what is retried, when, and how it ends. The server is real and answers by script."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tests.chat_server import CLOSES, ChatServer, Reply, chat_server
from training.contract.records import Message
from training.run import endpoint
from training.run.endpoint import Refused, Request


@contextmanager
def scripted(script: Callable[[dict, int], Reply | None]) -> Iterator[ChatServer]:
    with chat_server() as server:
        server.script = script
        yield server


def prompt_of(body: dict) -> str:
    return body["messages"][-1]["content"]


def answers(url: str, prompts: list[str], **values) -> list:
    """Return what arrived, in the order asked: texts, or the refusal."""
    requests = [Request([Message(role="user", text=prompt)], seed) for seed, prompt in enumerate(prompts)]
    came = dict(endpoint.ask(url, "tiny", requests, max_tokens=4, temperature=1.0, **values))
    return [one if isinstance(one, Refused) else one[0].text for _, one in sorted(came.items())]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(endpoint, "PAUSE_SECONDS", 0.02)


BROKEN: list[tuple[Reply, str]] = [
    ((500, {}, [b"out of memory"]), r"broke \(500\); see its log. It said: out of memory"),
    ((503, {"Retry-After": "soon"}, [b"loading"]), r"broke \(503\)"),
    ((429, {}, [b"{}"]), r"is overloaded, or a limit is reached \(429\)"),
    ((408, {}, []), r"refused the request \(408\)"),
    ((200, {}, [b"<html>"]), "something else than a chat completion: <html>"),
    ((200, {}, [b'{"choices": [{"finish_reason": "stop"}]}']), "something else than a chat completion"),
    ((200, {"Content-Length": "99"}, [b'{"choices": [']), "broke off its answer"),
    ((200, {}, [b'{"choices": []}']), "answered without a completion"),
    (CLOSES, "broke off its answer"),
]


@pytest.mark.parametrize(("reply", "says"), BROKEN)
def test_what_may_pass_is_asked_again_and_ends_the_run_when_patience_is_over(reply, says, monkeypatch):
    with scripted(lambda body, times: reply if times <= 2 else None) as server:
        assert answers(server.url, ["a", "b"]) == ["answer to a", "answer to b"]
        assert server.asked() == {"a": 3, "b": 3}
    monkeypatch.setattr(endpoint, "PATIENCE_SECONDS", 0)
    with scripted(lambda body, times: reply) as server, pytest.raises(ValueError, match=says):
        answers(server.url, ["a"])


def test_one_429_of_forty_costs_nothing():
    def reply(body, times):
        return (429, {"Retry-After": "0"}, []) if prompt_of(body) == "7" and times == 1 else None

    with scripted(reply) as server:
        assert answers(server.url, [str(n) for n in range(40)]) == [f"answer to {n}" for n in range(40)]
    assert server.asked().total() == 41


@pytest.mark.parametrize("told", [lambda when: "2", lambda when: format_datetime(when, usegmt=True)])
def test_nothing_is_asked_before_the_server_wants_it(told):
    until: list[datetime] = []  # two seconds from the first request on

    def reply(body, times):
        until.append(datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2))
        return (429, {"Retry-After": told(until[0])}, []) if datetime.now(UTC) < until[0] else None

    with scripted(reply) as server:
        assert answers(server.url, ["a"]) == ["answer to a"]
        assert server.asked()["a"] == 2


def test_what_the_server_wants_of_one_request_holds_for_all():
    shared = endpoint._Shared(quiet_until=time.monotonic() + 1000)
    threading.Timer(0.1, shared.ended.set).start()
    with pytest.raises(endpoint._Ended):  # and not before
        endpoint._wait(shared, 0)


def test_a_pause_beyond_all_patience_is_not_waited_for():
    with (
        scripted(lambda body, times: (429, {"Retry-After": "86400"}, [b"daily limit"])) as server,
        pytest.raises(ValueError, match="daily limit"),
    ):
        answers(server.url, ["a"])
    assert server.asked()["a"] == 1


def test_pauses_are_drawn_up_to_a_limit_that_doubles():
    for tries, limit in ((1, 0.02), (4, 0.16), (1000, 20.48)):
        drawn = [endpoint._back_off(tries) for _ in range(1000)]
        assert 0 <= min(drawn) < 0.1 * limit and 0.9 * limit < max(drawn) <= limit


def test_a_server_that_starts_late_is_waited_for():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    over = threading.Event()

    def serve():
        with chat_server(port):
            over.wait()

    server = threading.Timer(0.5, serve)
    server.start()
    assert answers(f"http://127.0.0.1:{port}/v1", ["a"]) == ["answer to a"]
    over.set()
    server.join()


@pytest.mark.parametrize("drips", [True, False])
def test_an_answer_that_does_not_come_in_time_is_asked_for_again(drips, monkeypatch):
    monkeypatch.setattr(endpoint, "ANSWER_SECONDS", 0.5)
    over = threading.Event()

    def reply(body, times):
        if times > 1:
            return None
        if not drips:
            over.wait(10)
        return 200, {}, [b" "] * 20

    with scripted(reply) as server:
        assert answers(server.url, ["a", "b"]) == ["answer to a", "answer to b"]
        over.set()
        assert min(server.asked().values()) >= 2


def test_a_prompt_that_the_server_refuses_leaves_the_others_alone():
    def reply(body, times):
        return (400, {}, [b"too long"]) if prompt_of(body) == "b" else None

    with scripted(reply) as server:
        came = answers(server.url, ["a", "b", "c"])
        assert came[::2] == ["answer to a", "answer to c"] and "too long" in str(came[1])
        assert server.asked()["b"] == 1


def test_a_prompt_that_always_fails_while_others_are_answered_is_given_up():
    def reply(body, times):
        return (500, {}, [b"oh"]) if prompt_of(body) == "0" else None

    with scripted(reply) as server:
        came = answers(server.url, [str(n) for n in range(200)])
        assert isinstance(came[0], Refused) and came[1:] == [f"answer to {n}" for n in range(1, 200)]
        assert server.asked()["0"] >= endpoint.TRIES


@pytest.mark.parametrize("status", [401, 403, 404, 307])
def test_what_no_request_can_mend_ends_the_run_once_what_is_on_its_way_has_come(status):
    begun, refused = threading.Event(), threading.Event()

    def reply(body, times):
        if prompt_of(body) == "a":
            begun.set()
            refused.wait(10)
            return None
        begun.wait(10)
        refused.set()
        return status, {}, []

    came = []
    with scripted(reply) as server, pytest.raises(ValueError, match=f"\\({status}\\)"):
        requests = [Request([Message(role="user", text=text)], 1) for text in "ab"]
        came.extend(endpoint.ask(server.url, "tiny", requests, max_tokens=4, temperature=1.0))
    assert [(place, found[0].text) for place, found in came] == [(0, "answer to a")]
    assert server.asked() == {"a": 1, "b": 1}


def test_a_run_that_shall_stop_waits_for_no_server():
    answered = threading.Event()

    def reply(body, times):
        if prompt_of(body) == "b":
            return 429, {"Retry-After": "600"}, []
        answered.set()
        return None

    with scripted(reply) as server:
        assert answers(server.url, ["a", "b"], stopping=answered.is_set) == ["answer to a"]
