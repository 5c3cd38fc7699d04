"""Bringing the database to the newest schema, and knowing whether it is there."""

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from app.config import ROOT
from app.database import engine, transaction
from app.guidelines.rules import ensure_defaults


def config() -> Config:
    """Alembic's configuration, found from any folder."""
    return Config(toml_file=ROOT / "pyproject.toml")


def upgrade(revision: str = "head") -> None:
    """Run the migrations that the database lacks, and add the first guidelines and forms."""
    command.upgrade(config(), revision)
    if revision == "head":
        with transaction() as session:
            ensure_defaults(session)


def newest() -> str:
    """The revision that the code needs."""
    return ScriptDirectory.from_config(config()).get_current_head()


def standing() -> str | None:
    """The revision that the database has; None is an empty one."""
    with engine().execution_options(plumbline_reads=True).connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()
