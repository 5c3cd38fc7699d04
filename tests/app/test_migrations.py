"""Migrations: up, no drift from the tables, down, on both databases; children survive a table swap."""

import hashlib
import re
import shutil

import pytest
from alembic import command
from sqlalchemy import func, inspect, select, text

from app import database as app_database
from app.accounts.tables import Account, ApiToken, AuditEntry
from app.config import ROOT
from app.launch import doctor
from app.launch.migrate import WrongSchema, check, check_tables, config, current, differences, newest, upgrade
from app.tables import metadata

# A revision that has landed never changes: databases of other people have run it. A new one adds its hash.
LANDED = {
    "0001_initial.py": "2760c4d49ae0ad57bc8b0aaa3260f7857f07107c77b96301f0fbc14bb31656bb",
    "0002_whole_first_schema.py": "bcc6374975b7461293fb416b36e3107757e504c7d4eca66a9c051e749048262a",
    "0003_prompts.py": "61c7f54875cbd39f147a02cdb62b267e90663a2e7a007cfed758625088ae3595",
    "0004_examined_prompts.py": "f5833c170e10cc68691528feb7a0585843dc38f79cb929c41cd820691f81c57e",
    "0005_desk.py": "6e302bc01ed3f8e3e53981503cdafdb813714748a15b5c03e81d28671b8b7ea6",
    "0006_trials.py": "827d62cb0543c7c05681f4c347fabb9b97c3794ec9394465113857b682aa7150",
    "0007_surfaces.py": "948bb665fc46c9e3d2d1bc9eb98c765539637063639ee32b3c572b6f9715243f",
}


def test_landed_revisions_are_as_they_were():
    found = {path.name: path.read_bytes() for path in (ROOT / "migrations" / "versions").glob("*.py")}
    assert {name: hashlib.sha256(text).hexdigest() for name, text in found.items()} == LANDED


def test_revisions_hold_what_they_need_themselves():
    """What a revision does must not change with the code; 0003 had landed with functions of it."""
    for path in (ROOT / "migrations" / "versions").glob("*.py"):
        assert path.name == "0003_prompts.py" or not re.search(
            r"^\s*(from|import) (app|training)\b", path.read_text(), re.M
        )


@pytest.fixture
def migrated(database):
    """An empty database that the migrations made."""
    metadata.drop_all(database)
    upgrade()
    return database


def test_a_migrated_database_has_every_table_and_no_drift(migrated):
    assert set(inspect(migrated).get_table_names()) == {*metadata.tables, "alembic_version"}
    assert current() == newest()
    command.check(config())  # raises when the tables say something else
    assert differences() == []
    check()


def test_migrating_twice_changes_nothing(migrated, people):
    people.labeler()
    upgrade()
    with app_database.reading() as session:
        assert session.scalar(select(Account.username)) == "ana"


def test_down_and_up_again(migrated):
    command.downgrade(config(), "base")
    assert inspect(migrated).get_table_names() == ["alembic_version"]
    assert current() is None
    upgrade()
    assert current() == newest()


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
    assert current() == "swap"
    with app_database.reading() as session:
        assert session.scalar(select(func.count()).select_from(ApiToken)) == 1
        assert session.scalar(select(func.count()).select_from(AuditEntry)) == 2
        if migrated.dialect.name == "sqlite":
            assert session.scalar(text("PRAGMA foreign_keys")) == 1  # the pool's connections still check


def test_a_migration_that_breaks_a_foreign_key_is_undone(migrated, people, swap):
    people.bearer(people.labeler())
    with pytest.raises(Exception, match=r"foreign key"):
        command.upgrade(swap("UPDATE api_tokens SET account_id = 4711"), "head")
    assert current() == newest()
    with app_database.reading() as session:
        assert session.scalar(select(ApiToken.account_id)) == session.scalar(select(Account.id))


# --- A database that is not what its revision says ---


def run(engine, *statements: str) -> None:
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
        connection.commit()


def test_every_table_and_column_that_is_missing_is_named(migrated):
    last = {table.name: list(table.columns)[-1].name for table in metadata.sorted_tables}
    run(migrated, *(f'ALTER TABLE {table} RENAME COLUMN "{column}" TO away' for table, column in last.items()))
    assert {f"the column {table}.{column} is missing" for table, column in last.items()} <= set(differences())
    run(migrated, *(f"ALTER TABLE {table} RENAME TO away_{table}" for table in last))
    assert {f"the table {table} is missing" for table in last} <= set(differences())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("DROP TABLE survey_counts", "the table survey_counts is missing"),
        ("ALTER TABLE comparisons RENAME COLUMN edited_at TO changed_at", "comparisons.edited_at is missing"),
        ("DROP INDEX ix_drafts_labeler", "ix_drafts_labeler is missing"),
        ("ALTER TABLE jobs ADD COLUMN cost INTEGER NOT NULL DEFAULT 0", "jobs.cost is unknown"),
        ("ALTER TABLE jobs ADD COLUMN cost INTEGER", None),
        ("CREATE TABLE of_somebody_else (id INTEGER)", None),
    ],
)
def test_checks_do_not_say_ok_of_tables_that_are_not_ours(migrated, client, change, named):
    check()  # right, and remembered
    run(migrated, change)
    check_tables.cache_clear()  # as another process would
    (found,) = [one for one in doctor.examine() if one["check"] == "database"]
    ready = client.get("/readyz").json()
    if named is None:
        assert found["ok"] and "database" not in ready
        return
    assert not found["ok"] and named in found["detail"] and "Restore" in found["detail"]
    assert named in ready["database"]
    with pytest.raises(WrongSchema, match=named):
        upgrade()


def test_a_word_that_a_column_does_not_accept_is_found(migrated):
    if migrated.dialect.name == "sqlite":
        less = "UPDATE sqlite_master SET sql = replace(sql, '''cross_validate'', ', '') WHERE name = 'jobs'"
        run(migrated, "PRAGMA writable_schema=ON", less)
        migrated.dispose()
    else:
        (name,) = [one["name"] for one in inspect(migrated).get_check_constraints("jobs") if "verb" in one["name"]]
        run(migrated, f"ALTER TABLE jobs DROP CONSTRAINT {name}, ADD CONSTRAINT job_verb CHECK (verb IN ('train_sft'))")
    (found,) = differences()
    assert "jobs.verb does not accept" in found and "cross_validate" in found


def test_a_database_of_a_newer_version_is_refused(migrated):
    run(migrated, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(WrongSchema, match=r"schema 9999.*newer version"):
        upgrade()


def test_tables_without_a_version_are_left_alone(database):
    with pytest.raises(WrongSchema, match="no schema version"):
        upgrade()
    assert "alembic_version" not in inspect(database).get_table_names()
