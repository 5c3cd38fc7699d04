"""Migrations: up, no drift from the tables, down, on both databases; children survive a table swap."""

import shutil

import pytest
from alembic import command
from sqlalchemy import func, inspect, select, text

from app import database as app_database
from app.accounts.tables import Account, ApiToken, AuditEntry
from app.config import ROOT
from app.operation.migrate import config, newest, standing, upgrade
from app.tables import metadata


@pytest.fixture
def migrated(database):
    """An empty database that the migrations made."""
    metadata.drop_all(database)
    upgrade()
    return database


def test_a_migrated_database_has_every_table_and_no_drift(migrated):
    assert set(inspect(migrated).get_table_names()) == {*metadata.tables, "alembic_version"}
    assert standing() == newest()
    command.check(config())  # raises when the tables say something else


def test_migrating_twice_changes_nothing(migrated, people):
    people.labeler()
    upgrade()
    with app_database.reading() as session:
        assert session.scalar(select(Account.username)) == "ana"


def test_down_and_up_again(migrated):
    command.downgrade(config(), "base")
    assert inspect(migrated).get_table_names() == ["alembic_version"]
    assert standing() is None
    upgrade()
    assert standing() == newest()


@pytest.fixture
def swap(tmp_path):
    """Alembic's configuration with one more revision, which rebuilds the accounts table and then runs a statement."""

    def made(statement: str = "SELECT 1"):
        folder = tmp_path / "migrations"
        shutil.copytree(ROOT / "migrations", folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "versions" / "swap.py").write_text(
            "import sqlalchemy as sa\nfrom alembic import op\n"
            f"revision, down_revision, branch_labels, depends_on = 'swap', {newest()!r}, None, None\n"
            "def upgrade():\n"
            "    with op.batch_alter_table('accounts', recreate='auto') as table:\n"
            "        table.alter_column('name', type_=sa.String(200), existing_type=sa.String(120))\n"
            f"    op.execute({statement!r})\n"
        )
        changed = config()
        changed.set_main_option("script_location", str(folder))
        return changed

    return made


def test_children_survive_the_swap_of_their_parent_table(migrated, people, swap):
    ana = people.labeler()
    people.bearer(ana)  # a token and an audit entry hang on the account
    command.upgrade(swap(), "head")
    assert standing() == "swap"
    with app_database.reading() as session:
        assert session.scalar(select(func.count()).select_from(ApiToken)) == 1
        assert session.scalar(select(func.count()).select_from(AuditEntry)) == 2
        if migrated.dialect.name == "sqlite":
            assert session.scalar(text("PRAGMA foreign_keys")) == 1  # the pool's connections still check


def test_a_migration_that_breaks_a_foreign_key_is_undone(migrated, people, swap):
    people.bearer(people.labeler())
    with pytest.raises(Exception, match=r"foreign key"):
        command.upgrade(swap("UPDATE api_tokens SET account_id = 4711"), "head")
    assert standing() == newest()
    with app_database.reading() as session:
        assert session.scalar(select(ApiToken.account_id)) == session.scalar(select(Account.id))
