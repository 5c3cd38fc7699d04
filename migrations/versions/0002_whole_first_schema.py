"""Complete the tables of a database that an earlier form of 0001 made; 0001 was rewritten in place twelve times.

Revision ID: 0002
Revises: 0001
"""

import importlib.util
import re
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "0002", "0001", None, None

INITIAL = Path(__file__).with_name("0001_initial.py")
ASIDE = "plumbline_older"  # a schema of PostgreSQL, and the beginning of names on SQLite
# What rows get in columns that they lacked and that cannot be null.
VALUES = {
    ("accounts", "avoids_sensitive"): "false",
    ("accounts", "paused"): "false",
    ("accounts", "survey"): "'not_asked'",
    ("compared_completions", "unacceptable"): "false",
    ("demonstrations", "answers"): "'{}'",
    ("policies", "endpoint_model"): "''",
    ("policies", "key_variable"): "''",
    ("policies", "last_error"): "''",
}


def upgrade() -> None:
    connection = op.get_bind()
    # The last form is the only one whose jobs may cross-validate. The others lack tables and columns, and what they
    # have is in the last one too: each table is made again by 0001 as it is now, and filled with the rows of before.
    if any("cross_validate" in check["sqltext"] for check in sa.inspect(connection).get_check_constraints("jobs")):
        return
    ours = set(re.findall(r'create_table\(\s*"(\w+)"', INITIAL.read_text(encoding="utf-8")))
    older = sa.MetaData()
    older.reflect(connection, only=lambda name, _metadata: name in ours)
    aside = _set_aside_in_schema if connection.dialect.name == "postgresql" else _set_aside_by_name
    names = aside([table.name for table in older.sorted_tables])
    _initial().upgrade()
    whole = sa.MetaData()
    whole.reflect(connection, only=lambda name, _metadata: name in ours)
    for table in whole.sorted_tables:
        if table.name in names:
            _copy(table, names[table.name], {column.name for column in older.tables[table.name].columns})
    if connection.dialect.name == "postgresql":
        op.execute(f"DROP SCHEMA {ASIDE} CASCADE")
    else:
        for name in names.values():
            op.execute(f"DROP TABLE {name}")


def _initial():
    found = importlib.util.spec_from_file_location("initial", INITIAL)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def _set_aside_in_schema(tables: list[str]) -> dict[str, str]:
    """Move the tables, with their indexes and sequences; returns their names by then."""
    op.execute(f"CREATE SCHEMA {ASIDE}")
    for table in tables:
        op.execute(f'ALTER TABLE "{table}" SET SCHEMA {ASIDE}')
    return {table: f'{ASIDE}."{table}"' for table in tables}


def _set_aside_by_name(tables: list[str]) -> dict[str, str]:
    """Rename the tables and drop their indexes, whose names belong to the whole database."""
    indexes = op.get_bind().execute(
        sa.text("SELECT name, tbl_name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
    )
    for index, table in indexes.all():
        if table in tables:
            op.execute(f'DROP INDEX "{index}"')
    for table in tables:
        op.execute(f'ALTER TABLE "{table}" RENAME TO "{ASIDE}_{table}"')
    return {table: f'"{ASIDE}_{table}"' for table in tables}


def _copy(table: sa.Table, source: str, had: set[str]) -> None:
    values = {column.name: f'"{column.name}"' for column in table.columns if column.name in had}
    values |= {name: value for (of, name), value in VALUES.items() if of == table.name and name not in had}
    columns = ", ".join(f'"{name}"' for name in values)
    op.execute(sa.text(f'INSERT INTO "{table.name}" ({columns}) SELECT {", ".join(values.values())} FROM {source}'))
    if op.get_bind().dialect.name == "postgresql" and "id" in table.columns:
        last = f'coalesce(max(id), 0) + 1, false) FROM "{table.name}"'
        op.execute(f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), {last}")


def downgrade() -> None:
    """Nothing: what 0001 makes today has all of it."""
