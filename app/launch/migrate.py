"""Migration of the database, and the check that its schema matches the code."""

import re
from collections.abc import Iterator
from functools import lru_cache

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import CheckConstraint, Connection, Enum, Inspector, Table, TextClause, inspect

from app.config import ROOT
from app.database import engine, transaction
from app.errors import PlumblineError
from app.guidelines.rules import ensure_defaults
from app.prompts.catching_up import examine_stored
from app.tables import metadata

MOST_NAMED = 5  # differences listed in a message


class WrongSchema(PlumblineError):
    """Raised if the database schema is not the one that this version of the code needs."""


def config() -> Config:
    """Return Alembic's configuration; works from any folder."""
    return Config(toml_file=ROOT / "pyproject.toml")


def upgrade(revision: str = "head") -> None:
    """Run the missing migrations, add the first guidelines and forms, and examine stored prompts.

    Raises WrongSchema, with the data unchanged, if the database belongs to another version.
    """
    before = current()
    if before is not None and before not in known():
        raise WrongSchema(
            f"the database has schema {before}, but the newest that this version of Plumbline knows is {newest()}; "
            "run the newer version that created it, or restore the backup made before that upgrade"
        )
    if before is None and (found := sorted(set(_tables()) & set(metadata.tables))):
        raise WrongSchema(
            f"the database has Plumbline's tables ({', '.join(found[:MOST_NAMED])} ...) but no schema version, so "
            "nothing was changed; restore a backup, or set PLUMBLINE_DATABASE_URL to an empty database"
        )
    try:
        command.upgrade(config(), revision)
    except CommandError as error:
        raise WrongSchema(f"{error}; the revisions are in migrations/versions") from error
    if revision == "head":
        check()
        with transaction() as session:
            ensure_defaults(session)
        examine_stored()


def known() -> set[str]:
    """Return the revisions that this version of the code can migrate."""
    return {script.revision for script in ScriptDirectory.from_config(config()).walk_revisions()}


def newest() -> str:
    """Return the revision that the code needs."""
    [head] = ScriptDirectory.from_config(config()).get_heads()
    return head


def current() -> str | None:
    """Return the revision of the database; None if it is empty."""
    with engine().execution_options(plumbline_reads=True).connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def check() -> None:
    """Raise WrongSchema unless the database has the newest revision and the tables of the code."""
    if (revision := current()) != newest():
        raise WrongSchema(f"the database has schema {revision or 'none'}; run `plumbline migrate` to get {newest()}")
    check_tables(engine().url, revision)


@lru_cache(maxsize=4)
def check_tables(_url: object, revision: str) -> None:
    """Raise WrongSchema, naming the differences, unless the tables match the code."""
    # Success is cached, because health checks ask every few seconds; an exception is not cached.
    if found := differences():
        more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
        raise WrongSchema(
            f"the database is marked as schema {revision}, but {'; '.join(found[:MOST_NAMED])}{more}: "
            "something other than `plumbline migrate` changed it. Restore a backup, then run `plumbline migrate`"
        )


def differences() -> list[str]:
    """Describe each way in which the database differs from what the code needs; additional tables do not count."""
    with engine().execution_options(plumbline_reads=True).connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), metadata)
        return [*filter(None, map(_phrase, found)), *_missing_checks(connection)]


def _phrase(difference: tuple | list) -> str:
    """Describe a difference that Alembic found; "" if it is merely additional."""
    if isinstance(difference, list):  # changes of one column
        kind, _schema, table, column = difference[0][:4]
        return f"the column {table}.{column} has a different {kind.removeprefix('modify_')}"
    kind = difference[0]
    if kind == "add_table":
        return f"the table {difference[1].name} is missing"
    if kind == "add_column":
        return f"the column {difference[2]}.{difference[3].name} is missing"
    if kind == "remove_column" and not difference[3].nullable:
        return f"the column {difference[2]}.{difference[3].name} is unknown and cannot be left empty"
    if kind.startswith("add_"):
        return f"{difference[1].name} is missing from {difference[1].table.name}"
    return ""


def _missing_checks(connection: Connection) -> Iterator[str]:
    """Yield missing named checks, and StrEnum columns that do not accept all values; Alembic compares neither."""
    found = inspect(connection)
    there = set(found.get_table_names())
    for table in metadata.sorted_tables:
        if table.name in there:
            yield from _missing_checks_of(table, found)


def _missing_checks_of(table: Table, found: Inspector) -> Iterator[str]:
    checks = {check["name"]: check["sqltext"] for check in found.get_check_constraints(table.name)}
    named = (
        str(one.name)
        for one in table.constraints
        if isinstance(one, CheckConstraint) and isinstance(one.sqltext, TextClause)
    )
    yield from (f"the check {name} is missing" for name in sorted({*named} - checks.keys()))
    for column in table.columns:
        if isinstance(column.type, Enum):
            held = [set(re.findall(r"'([^']*)'", text)) for text in checks.values() if column.name in text]
            if not any(words >= set(column.type.enums) for words in held):
                yield f"the column {table.name}.{column.name} does not accept all of {', '.join(column.type.enums)}"


def _tables() -> list[str]:
    with engine().execution_options(plumbline_reads=True).connect() as connection:
        return inspect(connection).get_table_names()
