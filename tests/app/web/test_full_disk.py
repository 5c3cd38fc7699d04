"""When nothing can be written, people and programs read that; after an error the connection is said to end."""

import resource
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import httpx
import uvicorn
from sqlalchemy import event, select, update

from app.accounts import limits
from app.accounts.rules import record
from app.accounts.tables import SignInSession
from app.config import settings
from app.database import engine, reading, transaction, utc_now
from app.launch import doctor
from tests.conftest import PASSWORD
from tests.desk import make_round


@contextmanager
def nothing_written():
    """A limit of the system under which no file of this process grows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_labelers_and_programs_read_that_the_disk_is_full(client, people):
    make_round(3)
    ana = people.labeler()
    bearer = people.bearer(ana)
    client.get("/api/v1/accounts/me", headers=bearer)
    people.sign_in(client, ana)
    page = people.csrf(client)
    with nothing_written():
        over_rest = client.post("/api/v1/assignments/next", headers=bearer)
        on_the_desk = client.post("/assignments/next", data=page)
    assert over_rest.status_code == on_the_desk.status_code == 507
    assert "disk is full" in over_rest.json()["detail"] and "plumbline doctor" in on_the_desk.text
    assert client.post("/api/v1/assignments/next", headers=bearer).status_code == 200  # and nothing is left behind


def test_what_is_only_read_is_still_there(client, people):
    """A use of a session and of a token is noted now and then; where it cannot be, nobody is kept from reading."""
    ana = people.labeler()
    bearer = people.bearer(ana)
    people.sign_in(client, ana)
    with transaction() as session:
        session.execute(update(SignInSession).values(last_used_at=utc_now(-3600)))
    with nothing_written():
        assert client.get("/account").status_code == 200
        assert client.get("/api/v1/accounts/me", headers=bearer).status_code == 200
    client.get("/account")
    with reading() as session:
        used = session.scalar(select(SignInSession.last_used_at))
    assert datetime.now(UTC) - used < timedelta(minutes=5)


def test_a_sign_in_says_it_too(client, people):
    limits._storage(settings().broker_url).reset()
    people.labeler()
    form = client.get("/sign-in").text.partition('name="csrf_token" value="')[2].partition('"')[0]
    with nothing_written():
        for password in (PASSWORD, "wrong"):
            answer = client.post("/sign-in", data={"username": "ana", "password": password, "csrf_token": form})
            assert answer.status_code == 507 and "disk is full" in answer.text


def test_a_database_that_may_not_grow_is_as_full(client, app):
    @app.get("/api/v1/write")
    def write():
        with transaction() as session:
            record(session, None, "test", text="x" * 1_000_000)

    assert client.get("/api/v1/write").status_code == 200
    event.listen(engine(), "connect", lambda connection, _: connection.execute("PRAGMA max_page_count=1"))
    engine().dispose()
    answer = client.get("/api/v1/write")
    assert answer.status_code == 507 and answer.headers["content-type"] == "application/problem+json"


def test_readyz_and_doctor_try_a_write(client):
    assert "disk" not in client.get("/readyz").json()
    with nothing_written():
        answer, (found,) = client.get("/readyz"), [one for one in doctor.examine() if one["check"] == "data folder"]
    assert answer.status_code == 503 and "nothing can be written" in answer.json()["disk"]
    assert not found["ok"] and "free disk space" in found["detail"]
    assert [path.name for path in settings().data_dir.iterdir() if "plumbline.db" not in path.name] == ["secret"]


def test_a_connection_that_ends_after_an_error_is_said_to(app):
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            for path in ("/broken", "/api/v1/broken"):
                broken = client.get(path)
                assert (broken.status_code, broken.headers["connection"]) == (500, "close")
                assert client.get("/healthz").status_code == 200
            assert "connection" not in client.get("/nowhere").headers
    finally:
        server.should_exit = True
        thread.join()
