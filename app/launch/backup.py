"""Back up a whole installation while it runs, and restore such a backup.

The database is copied as of one moment, then the files that it names. Snapshots, runs and uploads are written under a
temporary name and renamed, so whatever the database calls ready is complete.
"""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import func, inspect, select, table

from app.config import settings
from app.database import engine
from app.errors import PlumblineError
from app.launch import migrate
from app.launch.data_folder import exclusive

SIGN = "backup.json"  # written last, so a folder without it is no complete backup
FORM = 1
SQLITE = "plumbline.db"
NOT_COPIED = {"logs", "serving", "valkey", "valkey.broken", "run.lock"}  # needed only by running processes
VERSION = "alembic_version"


class CannotBackUp(PlumblineError):
    """Raised if a backup cannot be made or restored."""


def back_up(folder: Path) -> dict[str, int]:
    """Copy the database and the files into a new folder; return the number of rows of each table.

    Raises CannotBackUp if the folder exists or lies inside the data folder, or if the database has no schema.
    """
    if folder.exists():
        raise CannotBackUp(f"{folder} already exists; name a new folder")
    if settings().data_dir.resolve() in folder.resolve().parents:
        raise CannotBackUp(f"{folder} is inside the folder to back up; name one outside {settings().data_dir}")
    if migrate.current() is None:
        raise CannotBackUp("the database is empty, so there is nothing to back up; see `plumbline doctor`")
    draft = folder.with_name(folder.name + ".part")
    shutil.rmtree(draft, ignore_errors=True)  # left by an interrupted backup
    draft.mkdir(parents=True, mode=0o700)
    schema, rows = (_copy_sqlite if _is_sqlite() else _copy_postgresql)(draft)
    _copy_files(settings().data_dir, draft / "files")
    sign = {
        "plumbline": FORM,
        "database": engine().dialect.name,
        "schema": schema,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": rows,
    }
    (draft / SIGN).write_text(json.dumps(sign, indent=1) + "\n")
    os.sync()
    draft.rename(folder)
    return rows


def restore(folder: Path) -> dict[str, int]:
    """Restore a backup into an empty database and data folder and migrate it; return the number of rows of each table.

    Raises CannotBackUp, with nothing changed, if the folder is no backup, if it comes from the other kind of database
    or a newer version, or if the target is not empty. Raises CannotBackUp or CannotRun if Plumbline is running.
    """
    sign = _read_sign(folder)
    _check_empty(folder)
    with exclusive():
        _check_unused()
        return _bring_back(folder, sign)


def _bring_back(folder: Path, sign: dict) -> dict[str, int]:
    if _is_sqlite():
        engine().dispose()  # its open connections refer to the file that is replaced
        _sqlite_file().parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / SQLITE, draft := _sqlite_file().with_name(SQLITE + ".part"))
        os.replace(draft, _sqlite_file())
    else:
        migrate.upgrade(sign["schema"])
        _fill_postgresql(folder, sign["rows"])
    shutil.copytree(folder / "files", settings().data_dir, dirs_exist_ok=True)
    found = _counted(sign["rows"])
    if found != sign["rows"]:
        raise CannotBackUp(f"{folder} does not have the number of rows that its {SIGN} says; use another backup")
    migrate.upgrade()
    return found


def _is_sqlite() -> bool:
    return engine().dialect.name == "sqlite"


def _sqlite_file() -> Path:
    name = engine().url.database
    assert name is not None, "a database in memory is refused earlier, as empty"
    return Path(name)


# --- Copying ---


def _copy_sqlite(draft: Path) -> tuple[str, dict[str, int]]:
    target = draft / SQLITE
    with closing(sqlite3.connect(_sqlite_file())) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)  # in one step, so as of one moment
        copy.execute("PRAGMA journal_mode=DELETE")
        (schema,) = copy.execute(f"SELECT version_num FROM {VERSION}").fetchone()
        names = [name for (name,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        names = sorted(name for name in names if name != VERSION and not name.startswith("sqlite_"))
        return schema, {name: copy.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}


def _copy_postgresql(draft: Path) -> tuple[str, dict[str, int]]:
    rows = {}
    (draft / "tables").mkdir()
    with _postgresql() as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ  # all tables as of one moment
        connection.read_only = True
        with connection.cursor() as cursor:
            [(schema,)] = cursor.execute(f"SELECT version_num FROM {VERSION}").fetchall()
            cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename")
            for (name,) in cursor.fetchall():
                if name != VERSION:
                    with (draft / "tables" / name).open("wb") as file:
                        ours = sql.SQL("COPY {} TO STDOUT (FORMAT csv, HEADER)").format(sql.Identifier(name))
                        with cursor.copy(ours) as pieces:
                            file.writelines(pieces)
                        rows[name] = cursor.rowcount
    return schema, rows


@contextmanager
def _postgresql() -> Iterator[psycopg.Connection]:
    url = engine().url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url) as connection:
        yield connection


def _copy_files(source: Path, target: Path) -> None:
    """Copy a folder while others write to it, skipping files that vanish meanwhile and anything but regular files."""
    target.mkdir(mode=0o700)
    ours = {_sqlite_file().resolve()} if _is_sqlite() else set()
    ours |= {path.with_name(path.name + end) for path in ours for end in ("-wal", "-shm")}
    for place, folders, files in os.walk(source, followlinks=True):
        here = Path(place)
        if here == source:
            folders[:] = sorted(set(folders) - NOT_COPIED)
            files = sorted(set(files) - NOT_COPIED)
        copied = target / here.relative_to(source)
        copied.mkdir(exist_ok=True)
        for name in files:
            with suppress(FileNotFoundError):
                if (here / name).is_file() and (here / name).resolve() not in ours:
                    shutil.copy2(here / name, copied / name)


# --- Bringing back ---


def _read_sign(folder: Path) -> dict:
    try:
        sign = json.loads((folder / SIGN).read_text())
        form, kind, schema = sign["plumbline"], sign["database"], sign["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CannotBackUp(f"{folder} is not a backup: it has no {SIGN} written by `plumbline backup`") from error
    if form != FORM or schema not in migrate.known():
        raise CannotBackUp(f"{folder} was made by a newer version of Plumbline; restore it with that version")
    if kind != engine().dialect.name:
        raise CannotBackUp(
            f"{folder} is a backup of {kind}, but the database here is {engine().dialect.name}; "
            f"set PLUMBLINE_DATABASE_URL to a {kind} database"
        )
    return sign


def _check_empty(folder: Path) -> None:
    """Raise CannotBackUp rather than overwrite anything: a database with rows, or a file that the backup also has."""
    database = engine().url.render_as_string()
    if _is_sqlite():
        taken = _sqlite_file().exists() and bool(_counted(inspect(engine()).get_table_names()))
    else:
        taken = any(_counted(inspect(engine()).get_table_names()).values())
    if taken:
        raise CannotBackUp(f"the database {database} is not empty; set PLUMBLINE_DATABASE_URL to an empty one")
    held = {path.name for path in (folder / "files").iterdir()} - NOT_COPIED
    both = sorted(name for name in held if (settings().data_dir / name).exists())
    if both:
        raise CannotBackUp(
            f"{settings().data_dir} already has {', '.join(both)}; move the folder away, or set PLUMBLINE_DATA_DIR to "
            "another one"
        )


def _check_unused() -> None:
    """Raise CannotBackUp while others are connected to the database: they would work on half-restored data."""
    engine().dispose()
    if not _is_sqlite():
        with _postgresql() as connection:
            [(others,)] = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
            ).fetchall()
        if others:
            raise CannotBackUp(
                f"the database is in use (other connections: {others}); stop web, workers and sampler first "
                "(in Compose: docker compose stop web worker training-worker sampler)"
            )


def _counted(names: Iterable[str]) -> dict[str, int]:
    with engine().execution_options(plumbline_reads=True).connect() as connection:
        return {
            name: connection.execute(select(func.count()).select_from(table(name))).scalar_one()
            for name in names
            if name != VERSION
        }


def _fill_postgresql(folder: Path, rows: dict[str, int]) -> None:
    """Load the tables in the backup's own schema, referenced tables first, and set their id sequences."""
    ordered = [name for name, _keys in inspect(engine()).get_sorted_table_and_fkc_names() if name in rows]
    with _postgresql() as connection, connection.cursor() as cursor:
        every = sql.SQL(", ").join(map(sql.Identifier, ordered))
        cursor.execute(sql.SQL("TRUNCATE {}").format(every))  # a migration may have added rows
        for name in ordered:
            with (folder / "tables" / name).open("rb") as file:
                columns = sql.SQL(", ").join(map(sql.Identifier, file.readline().decode().strip().split(",")))
                ours = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(sql.Identifier(name), columns)
                with cursor.copy(ours) as copy:
                    while piece := file.read(1 << 20):
                        copy.write(piece)
        cursor.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema() "
            "AND (column_default LIKE 'nextval(%' OR is_identity = 'YES')"
        )
        for name, column in cursor.fetchall():
            cursor.execute(
                sql.SQL("SELECT setval(pg_get_serial_sequence({}, {}), max({}) + 1, false) FROM {} HAVING count(*) > 0")
                .format(sql.Literal(name), sql.Literal(column), sql.Identifier(column), sql.Identifier(name))
            )  # fmt: skip
