"""Databases that earlier versions filled: recognised, brought up with every row, and worked on."""

import hashlib
import lzma
import re
import sqlite3
from collections import Counter, deque
from collections.abc import Callable
from contextlib import closing
from functools import cache
from html import unescape
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import MetaData, select, text
from starlette.testclient import TestClient

from app import database as app_database
from app.accounts.tables import Account
from app.assignments.tables import Assignment, Draft, OwnText
from app.comparisons.tables import Comparison
from app.completions.imports import import_completions
from app.config import settings
from app.conversations.schemas import opening
from app.conversations.tables import Conversation, Role
from app.demonstrations.tables import Demonstration
from app.kit.text import normal_form
from app.launch import doctor, migrate
from app.main import create_app
from app.prompts.imports import PromptDefaults, import_prompts
from app.prompts.messages import text_sha256
from tests.conftest import People, forget_settings, fresh_database
from training.contract.records import Message

DUMPS = Path(__file__).parent / "old_databases"
OLD = sorted({path.name.split(".")[0] for path in DUMPS.glob("*.xz")})


@cache
def as_left(name: str) -> Callable[[], None]:
    """What fills a database as an earlier version left it."""

    def fill() -> None:
        url = settings().sqlalchemy_url
        kind = url.partition(":")[0]
        dump = lzma.decompress((DUMPS / f"{name}.{kind}.sql.xz").read_bytes()).decode()
        if kind == "sqlite":
            with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
                connection.executescript(dump)
        else:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(dump)

    return fill


@cache
def brought_up(name: str) -> Callable[[], None]:
    """What fills a database as an earlier version left it, and upgrades it."""

    def fill() -> None:
        as_left(name)()
        migrate.upgrade()

    return fill


@pytest.fixture(params=[(name, kind) for name in OLD for kind in ("sqlite", "postgresql")], ids="-".join)
def old_database(request, tmp_path, monkeypatch):
    """The engine of a database as an earlier version left it."""
    name, kind = request.param
    yield from fresh_database(request, tmp_path, monkeypatch, kind, as_left(name))


@pytest.fixture(params=[(name, kind) for name in OLD for kind in ("sqlite", "postgresql")], ids="-".join)
def upgraded(request, tmp_path, monkeypatch):
    """The engine of such a database after its upgrade."""
    name, kind = request.param
    yield from fresh_database(request, tmp_path, monkeypatch, kind, brought_up(name))


def contents(engine) -> dict[str, dict[str, list[str]]]:
    """Table -> column -> its values, sorted, read without our tables."""
    tables = MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        return {
            table.name: {column.name: sorted(map(repr, connection.scalars(select(column)))) for column in table.columns}
            for table in tables.sorted_tables
            if table.name != "alembic_version"
        }


def test_an_old_database_is_brought_up_with_every_value(old_database):
    before = contents(old_database)
    assert sum(len(next(iter(columns.values()))) for columns in before.values()) > 1000
    with pytest.raises(migrate.WrongSchema, match="plumbline migrate"):
        migrate.check()
    migrate.upgrade()
    assert migrate.current() == migrate.newest()
    assert migrate.differences() == []
    after = contents(old_database)
    assert "None" not in after["prompts"]["language"]  # every prompt was examined
    # A prompt's one collection became its first of several.
    before["prompt_collections"] = {"name": [name for name in before["prompts"].pop("collection") if name != "''"]}
    for table in ("demonstrations", "conversations", "comparisons"):
        before[table].pop("active_seconds")  # is read from their drafts
    for table, columns in before.items():
        for column, values in columns.items():
            if column == "text_sha256":  # of the normal form by now
                assert len(after[table][column]) == len(values)
            else:
                assert after[table][column] == values, (table, column)


def test_what_checks_say_before(old_database):
    with visiting() as client:
        assert client.get("/readyz").status_code == 503
    (found,) = [check for check in doctor.examine() if check["check"] == "database"]
    assert not found["ok"] and "plumbline migrate" in found["detail"]


def test_what_checks_say_after(upgraded):
    with visiting() as client:
        assert "database" not in client.get("/readyz").json()
    (found,) = [check for check in doctor.examine() if check["check"] == "database"]
    assert found["ok"]


def visiting() -> TestClient:
    """An HTTP client of the whole application."""
    return TestClient(create_app(), base_url="http://127.0.0.1:8000", follow_redirects=False)


def account(username: str) -> Account:
    with app_database.reading() as session:
        return session.scalar(select(Account).where(Account.username == username))


@pytest.fixture
def client(upgraded):
    with visiting() as made:
        yield made


def test_people_work_on_it(client):
    sign_in = client.get("/sign-in")
    token = re.search(r'csrf_token" value="(\w+)"', sign_in.text)[1]
    signed_in = client.post("/sign-in", data={"username": "ada", "password": "plumbline-demo", "csrf_token": token})
    assert signed_in.status_code == 303, signed_in.text
    assert client.get("/").status_code == 200
    me = People().bearer(account("ada"))
    given = client.post("/api/v1/assignments/next", headers=me)
    assert given.status_code == 200, given.text
    assert given.json()["draft"]["content"]["notes"] == "note 3"  # what she had written before the upgrade
    path = f"/api/v1/assignments/{given.json()['id']}"
    ranking = {one["letter"]: {"tier": 1} for one in given.json()["completions"]}
    sent = client.post(f"{path}/submit", json={"completions": ranking, "fence": given.json()["fence"]}, headers=me)
    assert sent.status_code == 200, sent.text


def test_every_page_that_an_admin_comes_to_opens(client):
    """By following links from the first pages; of pages that differ in an id alone, two are enough."""
    People().sign_in(client, account("carla"))
    waiting, met = deque(["/", "/admin"]), Counter()
    while waiting:
        response = client.get(path := waiting.popleft())
        assert response.status_code in (200, 303, 404), (path, response.text[-500:])
        assert response.status_code != 404 or "the data folder" in response.text, path  # a file beside the database
        for link in re.findall(r'href="(/[^"#]*)"', response.text):
            kind = re.sub(r"[0-9a-f]{16}|\d+", "*", unescape(link))
            if not link.startswith("/static") and met[kind] < 2:
                met[kind] += 1
                waiting.append(unescape(link))
    assert len(met) > 40


def test_prompts_and_completions_are_found_by_their_normal_form_after_the_upgrade(tmp_path, monkeypatch):
    """What an earlier version stored under the hash of its bytes is known when it is imported again."""
    with sqlite3.connect(tmp_path / "plumbline.db") as connection:
        connection.executescript(lzma.decompress((DUMPS / "0001.sqlite.sql.xz").read_bytes()).decode())
        connection.execute(
            "INSERT INTO prompts (id, public_id, messages, text_sha256, source, owner, split, "
            "collection, answers, created_at) "
            "VALUES (90001, 'p90001', ?, 'x', 'customer', '', 'train', 'old', '{}', '2026-01-01 00:00:00.000000')",
            ('[{"role": "user", "text": "Two \\nlines\\u00a0here"}]',),
        )
        connection.execute(
            "INSERT INTO completions (public_id, prompt_id, policy_id, text, text_sha256, settings, created_at) "
            "VALUES ('c1', 90001, 2, ?, 'y', '{}', '2026-01-01 00:00:00.000000')",
            ("cafe\u0301 \r\nau lait",),
        )
    monkeypatch.setenv("PLUMBLINE_DATABASE_URL", f"sqlite:///{tmp_path / 'plumbline.db'}")
    monkeypatch.setenv("PLUMBLINE_DATA_DIR", str(tmp_path / "data"))
    forget_settings()
    migrate.upgrade()
    path = tmp_path / "again.jsonl"
    path.write_text(
        '{"prompt": "Two\\nlines here", "completion": "caf\u00e9\\nau lait", "policy": "example: careful"}\n'
    )
    report = import_completions(path, as_csv=False)
    assert (report.known, report.problems) == (1, [])
    assert import_prompts(path, as_csv=False, defaults=PromptDefaults("old")).joined == 0  # it is in its collection
    forget_settings()


def test_the_longer_of_two_times_becomes_the_drafts(old_database):
    """An answer and its draft each had a figure; the answer's column goes."""
    timed = ("demonstrations", "conversations", "comparisons")
    wanted = {}
    with old_database.begin() as connection:
        for number, table in enumerate(timed):
            where = "item_id IS NOT NULL AND labeler_id IS NOT NULL"
            id, item, labeler = connection.execute(
                text(f"SELECT id, item_id, labeler_id FROM {table} WHERE {where} ORDER BY id LIMIT 1")
            ).one()
            seconds = 70_000.5 + number
            connection.execute(text(f"UPDATE {table} SET active_seconds = {seconds} WHERE id = {id}"))
            wanted[item, labeler] = seconds
        before = {
            (item, labeler): seconds
            for item, labeler, seconds in connection.execute(
                text("SELECT item_id, labeler_id, active_seconds FROM drafts")
            )
        }
    migrate.upgrade()
    with app_database.reading() as session:
        after = {(one.item_id, one.labeler_id): one.active_seconds for one in session.scalars(select(Draft))}
    assert after == before | wanted


def test_what_labelers_wrote_and_when_they_began_is_known_after_the_upgrade(upgraded):
    with app_database.reading() as session:
        wrote = {
            (one.labeler_id, one.prompt.text_sha256, one.completion.text_sha256)
            for one in session.scalars(select(Demonstration))
        }
        for talk in session.scalars(select(Conversation)):
            said = opening(talk.item.prompt)
            for message in talk.messages:
                if message.role is Role.ASSISTANT:
                    answer = hashlib.sha256(normal_form(message.text).encode()).hexdigest()
                    wrote.add((talk.labeler_id, text_sha256(said), answer))
                said = [*said, Message(role=message.role.value, text=message.text)]
        assert len(wrote) > 12
        assert {
            (one.labeler_id, one.prompt_sha256, one.text_sha256) for one in session.scalars(select(OwnText))
        } == wrote
        drafts = session.scalars(select(Draft)).all()
        assert drafts and all(one.given_at <= (one.submitted_at or one.updated_at) for one in drafts)
        begun = {(one.item_id, one.labeler_id): one.claimed_at for one in session.scalars(select(Assignment))}
        known = [one for one in drafts if begun.get((one.item_id, one.labeler_id))]
        assert known and all(one.given_at == begun[one.item_id, one.labeler_id] for one in known)
        times = {(one.item_id, one.labeler_id): one.active_seconds for one in drafts}
        for answer in session.scalars(select(Comparison).where(Comparison.item_id.is_not(None))):
            assert answer.active_seconds == times[answer.item_id, answer.labeler_id]
