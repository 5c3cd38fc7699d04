"""Bodies: from whom, how large, how slowly, and how many at once."""

import socket
import threading
import time

import httpx
import pytest
import uvicorn

from app.config import settings
from app.launch import connections
from app.web import bodies
from app.web.bodies import ANONYMOUS_BYTES


def pieces(count: int, size: int = 1000):
    for _ in range(count):
        yield b"x" * size


UNSAFE = {"post", "put", "patch", "delete"}


def test_every_operation_asks_for_a_token_before_it_reads_anything(client):
    paths = client.get("/api/v1/openapi.json").json()["paths"]
    operations = [(method, path) for path, acts in paths.items() for method in acts if method in UNSAFE]
    assert len(operations) > 40
    for method, path in operations:
        for body in (b"{", b"x" * 200_000):
            answer = client.request(method, path, content=body, headers={"content-type": "application/json"})
            assert answer.status_code == 401, (method, path, answer.text)
            assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("path", ["/sign-in", "/account", "/admin/prompts/import", "/first-run", "/nowhere"])
def test_nobody_sends_much_without_a_session(client, path):
    kind = {"content-type": "application/x-www-form-urlencoded"}
    announced = client.post(path, content=b"x" * (ANONYMOUS_BYTES + 1), headers=kind)
    assert announced.headers["location"].startswith("/sign-in")
    in_pieces = client.post(path, content=pieces(100), headers=kind)
    assert in_pieces.status_code in (404, 413)


def test_labelers_send_no_import_and_admins_do(client, people):
    much = b"x" * (settings().max_body_bytes + 1)
    path = "/api/v1/prompts/import?source=x"
    labeler, admin = people.bearer(people.labeler()), people.bearer(people.admin())
    assert client.post(path, content=much, headers=labeler).status_code == 413
    assert client.post(path, content=much, headers=admin).status_code not in (403, 413)


@pytest.fixture
def address(app, monkeypatch):
    """A real server whose clients must be quick."""
    monkeypatch.setattr(bodies, "FREE_SECONDS", 1)
    monkeypatch.setattr(connections, "HEAD_SECONDS", 1)
    monkeypatch.setattr(bodies, "MOST_UNFINISHED", 3)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, http=connections.ImpatientProtocol))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()
    server.should_exit = True
    thread.join()


def everything(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    connection.settimeout(30)
    return b"".join(iter(lambda: connection.recv(65536), b""))


FORM = b"Content-Type: application/x-www-form-urlencoded"
HALF = b"POST /sign-in HTTP/1.1\r\nHost: x\r\n" + FORM + b"\r\nContent-Length: 99\r\n\r\na="


def test_a_body_that_does_not_arrive_is_given_up(address):
    with socket.create_connection(address) as connection:
        connection.sendall(HALF)
        assert everything(connection).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("first", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_a_head_that_does_not_end_is_given_up(address, first):
    with socket.create_connection(address) as connection:
        if first:
            connection.sendall(first)
            assert b"200 OK" in connection.recv(65536)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost:")
        assert b"200 OK" not in everything(connection)


def test_one_address_has_few_bodies_on_their_way_and_they_are_forgotten(address):
    with httpx.Client(base_url=f"http://{address[0]}:{address[1]}", trust_env=False) as client:
        halves = [socket.create_connection(address) for _ in range(3)]
        for half in halves:
            half.sendall(HALF)
        time.sleep(0.3)
        refused = client.post("/sign-in", data={"username": "ana"})
        assert refused.status_code == 429 and refused.headers["retry-after"]
        assert client.get("/sign-in").status_code == 200
        for half in halves:
            everything(half)
            half.close()
        assert client.post("/sign-in", data={"username": "ana"}).status_code == 403
