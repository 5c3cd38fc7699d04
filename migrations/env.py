"""How migrations run: one transaction, also on SQLite, where foreign keys are off until all tables are swapped."""

from alembic import context
from sqlalchemy import JSON

from app.database import UTCDateTime, engine
from app.tables import metadata


def render_item(kind: str, item, autogen_context) -> str | bool:
    """Write our column types as plain SQLAlchemy, so that an old migration does not change with the code."""
    if kind == "type" and isinstance(item, UTCDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, JSON):
        autogen_context.imports.add("from sqlalchemy.dialects import postgresql")
        return 'sa.JSON().with_variant(postgresql.JSONB(), "postgresql")'
    return False


def run() -> None:
    """Bring the database to the wanted revision, or leave it as it was."""
    with engine().connect() as connection:
        sqlite = connection.dialect.name == "sqlite"
        connection.detach()  # its foreign keys are off, so it must not go back to the pool
        if sqlite:
            # The pragma does nothing inside a transaction; a batch table swap would delete the children otherwise.
            connection.connection.dbapi_connection.execute("PRAGMA foreign_keys=OFF")
        with connection.begin():
            if not sqlite:
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7586224561)")  # one migrates, others wait
            context.configure(
                connection=connection,
                target_metadata=metadata,
                render_as_batch=True,
                render_item=render_item,
                transactional_ddl=True,
            )
            with context.begin_transaction():
                context.run_migrations()
            if sqlite and (broken := connection.exec_driver_sql("PRAGMA foreign_key_check").all()):
                raise RuntimeError(f"the migration broke foreign keys and was undone: {broken[:5]}")


run()
