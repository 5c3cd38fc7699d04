"""The engine, the base of all tables, times in UTC, and the only commit in app/.

`reading()` uses BEGIN and never writes. `transaction()` uses BEGIN IMMEDIATE on SQLite: in a deferred transaction, a
read that turns into a write loses updates or fails with a lock error that no timeout waits for.
"""

import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import ClassVar, TypeVar, cast

from sqlalchemy import (
    JSON,
    CursorResult,
    DateTime,
    Delete,
    Double,
    Engine,
    Enum,
    Executable,
    Integer,
    MetaData,
    String,
    Table,
    Update,
    create_engine,
    event,
    literal_column,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Session, make_transient_to_detached
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.expression import ColumnElement, FromClause
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

from app.config import settings

Stored = TypeVar("Stored", bound="Base")


class Base(DeclarativeBase):
    """Base of every table; constraints are named, so that migrations can refer to them."""

    __table__: ClassVar[Table]
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class UTCDateTime(TypeDecorator):
    """A timezone-aware time in UTC; naive times raise ValueError."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a zone: {value!r}")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class utc_now(ColumnElement):
    """The database's clock plus `seconds`: leases must not depend on a web server's clock."""

    type = UTCDateTime()
    inherit_cache = True
    _traverse_internals = []  # noqa: RUF012 -- a list, says SQLAlchemy

    def __init__(self, seconds: float = 0):
        self.seconds = float(seconds)

    @property
    def _static_cache_key(self):
        return (type(self), self.seconds)

    def _gen_cache_key(self, anon_map, bindparams):
        return (type(self), self.seconds)


@compiles(utc_now, "sqlite")
def _utc_now_sqlite(element: utc_now, compiler, **kw) -> str:
    # Six fractional digits, as UTCDateTime stores them, so that times compare as text.
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', '{element.seconds:+.3f} seconds')"


@compiles(utc_now, "postgresql")
def _utc_now_postgresql(element: utc_now, compiler, **kw) -> str:
    return f"(clock_timestamp() + make_interval(secs => {element.seconds:.3f}))"


class seconds_since(FunctionElement):
    """Seconds from a time to now, by the database's clock, to a millisecond."""

    type = Double()
    inherit_cache = True


@compiles(seconds_since, "sqlite")
def _seconds_since_sqlite(element: seconds_since, compiler, **kw) -> str:
    return f"((julianday('now') - julianday({compiler.process(element.clauses, **kw)})) * 86400.0)"


@compiles(seconds_since, "postgresql")
def _seconds_since_postgresql(element: seconds_since, compiler, **kw) -> str:
    return (
        f"CAST(extract(epoch FROM clock_timestamp() - {compiler.process(element.clauses, **kw)}) AS double precision)"
    )


JSONColumn = JSON().with_variant(JSONB(), "postgresql")


def choice(values: type[StrEnum]) -> Enum:
    """Return a column type for a StrEnum: text with a CHECK, the same on both databases."""
    return Enum(
        values,
        native_enum=False,
        create_constraint=True,
        length=32,
        values_callable=lambda members: [member.value for member in members],
        name=re.sub(r"(?<!^)(?=[A-Z])", "_", values.__name__).lower(),
    )


def fixed(value: StrEnum) -> ColumnElement[str]:
    """Return a constant written into the statement: the plan of a prepared statement can then count on it."""
    return literal_column(f"'{value.value}'", String())


ONE = literal_column("1", Integer())  # LIMIT 1; of a parameter, a prepared plan expects a tenth of all rows


def public_id() -> str:
    """Return a random id for URLs and APIs that reveals neither order nor number."""
    return secrets.token_hex(8)


@lru_cache
def engine() -> Engine:
    """Return this process's engine, created on first use."""
    url = settings().sqlalchemy_url
    if not url.startswith("sqlite"):
        # The connection used last goes first: it has its statements prepared, and few are ever open.
        made = create_engine(url, pool_size=20, max_overflow=30, pool_use_lifo=True)
        event.listen(made, "checkin", _note_use)
        event.listen(made, "checkout", _refuse_dead)
        return made
    settings().make_data_dir()
    made = create_engine(
        url,
        pool_size=20,
        max_overflow=30,
        connect_args={"isolation_level": None, "timeout": 30, "check_same_thread": False},
    )

    @event.listens_for(made, "connect")
    def _pragmas(connection, _record) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(made, "begin")
    def _begin(connection) -> None:
        reads = connection.get_execution_options().get("plumbline_reads", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return made


IDLE_SECONDS = 1.0  # a connection used since then is taken to be alive


def _note_use(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info["used_at"] = time.monotonic()


def _refuse_dead(connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object) -> None:
    """Ping a connection that has been idle; the pool replaces one that does not answer."""
    if time.monotonic() - record.info.get("used_at", 0.0) < IDLE_SECONDS:
        return
    try:
        if not engine().dialect.do_ping(connection):
            raise DisconnectionError
    except engine().dialect.loaded_dbapi.Error as error:
        raise DisconnectionError from error


# SQLite has one writer and its busy handler is not fair; threads of one process queue here instead.
_sqlite_writer = threading.Lock()


@contextmanager
def reading() -> Iterator[Session]:
    """Open a short read-only session: PostgreSQL refuses writes, and SQLite does not keep them."""
    with Session(_reader(), expire_on_commit=False) as session:
        yield session  # closing rolls back but, unlike rollback(), keeps the rows readable
        if session.get_bind().dialect.name == "postgresql":
            session.commit()  # psycopg forgets its prepared statements when it rolls back


def _reader() -> Engine:
    return engine().execution_options(plumbline_reads=True, postgresql_readonly=True)


@contextmanager
def transaction() -> Iterator[Session]:
    """Open a session whose changes are committed together or not at all; rows stay readable afterwards."""
    writer = _sqlite_writer if engine().dialect.name == "sqlite" else nullcontext()
    with writer, Session(engine(), expire_on_commit=False) as session, session.begin():
        yield session
    for act in session.info.pop("after_commit", []):
        act()


def after_commit(session: Session, act: Callable[[], object]) -> None:
    """Call `act` after the session's transaction() has committed and released the writer lock; never if it fails."""
    session.info.setdefault("after_commit", []).append(act)


def run(session: Session, statement: Executable, values: Mapping | Sequence[Mapping] | None = None) -> CursorResult:
    """Execute a statement about columns, not objects, without the session's work on it, which costs more than the rest.

    What the session has not written yet is written first, as by session.execute().
    """
    if session.new or session.dirty or session.deleted:
        session.flush()
    return session.connection().execute(statement, values)


def as_read(row: Stored) -> Stored:
    """Make a row of columns that a statement has read or stored one that a session has read, now closed."""
    make_transient_to_detached(row)
    return row


def insert_into(session: Session, table: type[Base] | FromClause) -> sqlite.Insert | postgresql.Insert:
    """Return an INSERT for the session's database; both dialects support ON CONFLICT."""
    return (postgresql if session.get_bind().dialect.name == "postgresql" else sqlite).insert(table)


def changed_rows(session: Session, statement: Update | Delete) -> int:
    """Execute an UPDATE or DELETE and return how many rows it changed."""
    return cast(CursorResult, session.execute(statement)).rowcount
