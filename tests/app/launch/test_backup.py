"""A backup of an installation in use, and an installation restored from it."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest
from alembic import command
from sqlalchemy import select

from app import cli
from app.completions import rules as completions
from app.config import ROOT, settings
from app.database import engine, reading, transaction
from app.launch import backup, migrate
from app.launch.backup import CannotBackUp
from app.launch.data_folder import CannotRun, exclusive
from app.policies import rules as policies
from app.prompts import rules as prompts
from app.prompts.tables import Prompt, PromptSource
from app.tables import metadata
from tests import services
from tests.app.test_cli import plumbline
from tests.conftest import forget_settings
from training.contract.records import Pool


def stored(number: int) -> str:
    """Store a prompt with a completion, both with what files find hard to say; returns the prompt's text."""
    text = f'{number}: "quotes", commas,\ttabs,\r\nlines, \\N, \\., “umlauts äöü” and 😀'
    with transaction() as session:
        prompt = prompts.add(session, messages=[{"role": "user", "text": text}], source=PromptSource.CUSTOMER)
        completions.add(session, prompt, policies.people(session, Pool.TRAIN), f"Answer {number}\n")
    return text


def contents() -> dict[str, list]:
    with reading() as session:
        return {table.name: sorted(map(repr, session.execute(select(table)).all())) for table in metadata.sorted_tables}


def files(folder: Path) -> dict[str, bytes]:
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: body for name, body in found.items() if not name.startswith(("plumbline.db", "run.lock"))}


@pytest.fixture
def installation(database):
    """A database that says which schema it has, as those say that migrations made."""
    command.stamp(migrate.config(), "head")
    migrate.upgrade()
    return database


@pytest.fixture
def elsewhere(database, tmp_path, monkeypatch, request):
    """Points the settings at an empty database and a data folder that is not there."""
    kind, made = database.dialect.name, services.database_name()
    server = request.getfixturevalue("postgresql_server").url if kind == "postgresql" else None

    def go() -> None:
        monkeypatch.setenv("PLUMBLINE_DATA_DIR", str(tmp_path / "other"))
        url = services.create_database(server, made) if server else f"sqlite:///{tmp_path / 'other' / 'plumbline.db'}"
        monkeypatch.setenv("PLUMBLINE_DATABASE_URL", url)
        forget_settings()

    yield go
    forget_settings()
    if server:
        services.drop_database(server, made)


def test_what_was_backed_up_comes_back_and_new_rows_get_new_ids(installation, people, tmp_path, elsewhere):
    people.admin()
    for number in range(5):
        stored(number)
    data = settings().data_dir
    for name in ("snapshots/a/records.jsonl", "runs/b/checkpoints/policy/model.safetensors", "secret"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(os.urandom(300))
    for name in ("logs/web.log", "valkey/dump.rdb"):
        (data / name).parent.mkdir()
        (data / name).write_text("of the processes")
    before, had = contents(), files(data)
    rows = backup.back_up(tmp_path / "copy")
    assert rows == {name: len(found) for name, found in before.items()} and rows["completions"] == 5
    assert (tmp_path / "copy").stat().st_mode & 0o077 == 0, "it holds the secret"
    elsewhere()
    assert backup.restore(tmp_path / "copy") == rows
    assert contents() == before
    assert files(settings().data_dir) == {
        name: body for name, body in had.items() if not name.startswith(("logs/", "valkey/"))
    }
    migrate.check()
    stored(99)
    with reading() as session:
        ids = list(session.scalars(select(Prompt.id).order_by(Prompt.id)))
    assert len(ids) == 6 == len(set(ids))


def test_a_backup_of_what_works_meanwhile_is_of_one_moment(installation, tmp_path, elsewhere):
    acknowledged, ended = [], threading.Event()
    data = settings().data_dir

    def work():
        while not ended.is_set():
            number = len(acknowledged)
            place = data / "runs" / str(number)
            draft = place.with_suffix(".draft")
            draft.mkdir(parents=True)
            (draft / "state").write_text(str(number))
            draft.rename(place)  # as runs and snapshots are written: before their row is
            acknowledged.append(stored(number))

    worker = threading.Thread(target=work)
    worker.start()
    while len(acknowledged) < 10:
        time.sleep(0.01)
    before = list(acknowledged)
    rows = backup.back_up(tmp_path / "copy")
    after = len(acknowledged)
    ended.set()
    worker.join()
    elsewhere()
    backup.restore(tmp_path / "copy")
    with reading() as session:
        there = [prompt.messages[0]["text"] for prompt in session.scalars(select(Prompt).order_by(Prompt.id))]
    assert there[: len(before)] == before, "nothing that was acknowledged is missing"
    assert len(there) <= after + 1 and there == acknowledged[: len(there)]
    assert rows["prompts"] == rows["completions"] == len(there)
    for number in range(len(there)):
        assert (settings().data_dir / "runs" / str(number) / "state").read_text() == str(number)
    if installation.dialect.name == "sqlite":
        with sqlite3.connect(engine().url.database) as connection:
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_backup_that_is_killed_is_none_and_the_next_one_is_whole(installation, tmp_path):
    for number in range(3):
        stored(number)
    big = settings().data_dir / "runs" / "x"
    big.mkdir(parents=True)
    with (big / "weights").open("wb") as file:
        file.truncate(4_000_000_000)  # sparse; copying it takes a while
    begun = subprocess.Popen([sys.executable, "-m", "app.cli", "backup", str(tmp_path / "copy")], cwd=ROOT)
    while not list((tmp_path / "copy.part" / "files").glob("*")):
        assert begun.poll() is None
        time.sleep(0.01)
    begun.kill()
    begun.wait()
    assert not (tmp_path / "copy").exists()
    with pytest.raises(CannotBackUp, match="not a backup"):
        backup.restore(tmp_path / "copy.part")
    (big / "weights").write_text("small")
    backup.back_up(tmp_path / "copy")
    assert not (tmp_path / "copy.part").exists() and json.loads((tmp_path / "copy" / "backup.json").read_text())


def test_nothing_is_written_over_and_every_refusal_says_why(installation, people, tmp_path, elsewhere):
    people.admin()
    (settings().data_dir / "snapshots").mkdir()
    with pytest.raises(CannotBackUp, match="is inside the folder to back up"):
        backup.back_up(settings().data_dir / "copy")
    backup.back_up(tmp_path / "copy")
    with pytest.raises(CannotBackUp, match="already exists"):
        backup.back_up(tmp_path / "copy")
    with pytest.raises(CannotBackUp, match="is not empty"):
        backup.restore(tmp_path / "copy")
    with pytest.raises(CannotBackUp, match="not a backup"):
        backup.restore(tmp_path)
    before = contents()

    sign = json.loads((tmp_path / "copy" / "backup.json").read_text())
    (newer := tmp_path / "newer").mkdir()
    (newer / "backup.json").write_text(json.dumps(sign | {"schema": "9999"}))
    other_kind = "postgresql" if installation.dialect.name == "sqlite" else "sqlite"
    (other := tmp_path / "other_kind").mkdir()
    (other / "backup.json").write_text(json.dumps(sign | {"database": other_kind}))
    elsewhere()
    with pytest.raises(CannotBackUp, match="newer version"):
        backup.restore(newer)
    with pytest.raises(CannotBackUp, match="set PLUMBLINE_DATABASE_URL to a"):
        backup.restore(other)
    with pytest.raises(CannotBackUp, match="nothing to back up"):
        backup.back_up(tmp_path / "of nothing")
    taken = settings().data_dir / "snapshots" / "mine"
    taken.mkdir(parents=True)
    with pytest.raises(CannotBackUp, match="already has snapshots"):
        backup.restore(tmp_path / "copy")
    taken.rmdir()
    taken.parent.rmdir()
    assert f"{'accounts':22}1".split() in [
        line.split() for line in plumbline("restore", str(tmp_path / "copy")).splitlines()
    ]
    assert contents() == before


def test_nothing_is_restored_under_what_runs(installation, people, tmp_path, elsewhere):
    people.admin()
    backup.back_up(tmp_path / "copy")
    elsewhere()
    with exclusive(), pytest.raises(CannotRun, match="already running"):
        backup.restore(tmp_path / "copy")
    if installation.dialect.name == "postgresql":
        with psycopg.connect(settings().database_url), pytest.raises(CannotBackUp, match="other connections: 1"):
            backup.restore(tmp_path / "copy")
    assert backup.restore(tmp_path / "copy")["accounts"] == 1


def test_the_backup_of_an_earlier_schema_is_brought_up(database, tmp_path, elsewhere):
    elsewhere()
    migrate.upgrade("0001")
    backup.back_up(tmp_path / "copy")
    assert json.loads((tmp_path / "copy" / "backup.json").read_text())["schema"] == "0001"
    if database.dialect.name == "sqlite":
        engine().dispose()
        for path in settings().data_dir.iterdir():
            path.unlink()
    else:
        with engine().begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
    forget_settings()
    backup.restore(tmp_path / "copy")
    migrate.check()


def test_both_are_commands():
    assert {"backup", "restore"} <= {command.name for command in cli.cli.registered_commands}
