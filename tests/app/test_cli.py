"""The command line: accounts, tokens, migrate, doctor, tables and JSON, and errors of one line."""

import json
import os
import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from app import cli
from app import database as app_database
from app.accounts import queries
from app.accounts.passwords import verify
from app.config import ROOT
from app.errors import PlumblineError
from app.kit.terminal import show
from app.launch import doctor, migrate
from app.tables import metadata
from tests.conftest import forget_settings, fresh_database


@pytest.fixture(params=["sqlite"])
def database(request, tmp_path, monkeypatch):
    """The commands call the rules, which are tested on both databases."""
    yield from fresh_database(request, tmp_path, monkeypatch)


def plumbline(*words: str, code: int = 0, input: str | None = None) -> str:
    result = CliRunner().invoke(cli.cli, words, input=input)
    if isinstance(result.exception, PlumblineError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def test_every_command_teaches(database):
    """Each has a help of more than its name, and so has each of its options that needs one."""

    def walk(command, words):
        shown = plumbline(*words, "--help")
        assert command.help and len(command.help.split()) >= 2, words
        assert "Usage" in shown
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, [*words, name])

    walk(get_command(cli.cli), [])


def test_the_commands_that_design_promises_exist():
    promised = {"run", "web", "worker", "migrate", "doctor", "demo", "account", "token", "import", "export", "round"}
    promised |= {"job", "checkpoint", "simulate"}
    assert promised <= set(get_command(cli.cli).commands)


def test_accounts_and_tokens_from_the_command_line(database, monkeypatch):
    monkeypatch.setenv("PLUMBLINE_PASSWORD", "four unrelated words")
    plumbline("account", "create", "olga", "--name", "Olga B.", "--role", "admin")
    plumbline("account", "create", "ana", "--pool", "held-out")
    rows = json.loads(plumbline("account", "list", "--json"))
    assert [(row["username"], row["role"], row["pool"]) for row in rows] == [
        ("olga", "admin", "train"),
        ("ana", "labeler", "held-out"),
    ]
    secret = plumbline("token", "create", "olga", "--scope", "read", "--scope", "jobs").strip()
    with app_database.reading() as session:
        assert queries.live_token(session, secret).scopes == ["read", "jobs"]
    (token,) = json.loads(plumbline("token", "list", "olga", "--json"))
    assert secret.startswith(token["begins_with"]) and secret not in json.dumps(token)
    plumbline("token", "revoke", "olga", token["id"])
    assert "no tokens" in plumbline("token", "list", "olga")
    plumbline("account", "change", "ana", "--disable")
    assert "disabled" in plumbline("account", "list")
    monkeypatch.setenv("PLUMBLINE_PASSWORD", "four other words")
    plumbline("account", "password", "olga")
    with app_database.reading() as session:
        assert verify("four other words", queries.by_username(session, "olga").password_hash)[0]
    rows = json.loads(plumbline("account", "audit", "--json"))
    assert {(row["by"], row["from"]) for row in rows} == {(None, "command line")}


def test_a_password_is_asked_for_twice_and_not_shown(database):
    words = "four unrelated words"
    output = plumbline("account", "create", "olga", input=f"{words}\n{words}\n")
    assert words not in output
    plumbline("account", "create", "ana", input=f"{words}\nother\n", code=1)


def run(*words: str, **environment: str) -> subprocess.CompletedProcess:
    command, environment = [sys.executable, "-m", "app.cli", *words], {**os.environ, **environment}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


def test_what_a_person_can_mend_is_one_line(database, tmp_path):
    failed = run("token", "list", "nobody")
    assert failed.returncode == 1 and failed.stdout == ""
    assert failed.stderr == "plumbline: There is no account “nobody”; see `plumbline account list`.\n"
    empty = {"PLUMBLINE_DATA_DIR": str(tmp_path / "empty"), "PLUMBLINE_DATABASE_URL": ""}
    failed = run("account", "list", **empty)
    assert failed.returncode == 1 and failed.stderr.count("\n") == 1 and "plumbline doctor" in failed.stderr


def test_the_demo_is_begun_anew_while_nothing_runs_and_its_people_may_have_tokens(database, tmp_path):
    embedded = {"PLUMBLINE_DATA_DIR": str(tmp_path / "demo"), "PLUMBLINE_DATABASE_URL": "", "PLUMBLINE_BROKER_URL": ""}
    again = run("demo", "--reset", **embedded)
    assert (again.returncode, again.stderr) == (0, ""), "the queue starts with `plumbline run`, which finds the job"
    assert run("token", "create", "carla", **embedded).stdout.startswith("plumb_")
    refused = run("account", "password", "carla", PLUMBLINE_PASSWORD="four unrelated words", **embedded)
    assert refused.returncode == 1 and "belongs to the demo and cannot be changed" in refused.stderr


def test_a_worker_of_a_queue_that_there_is_not(database):
    failed = run("worker", "--queue", "nope")
    assert failed.returncode == 1
    assert failed.stderr == "plumbline: there is no queue nope; use --queue default or --queue training\n"


def test_the_good_rows_of_a_file_again(database, tmp_path):
    (tmp_path / "some.jsonl").write_text('{"prompt": "Name a river."}\n{"prompt": 7}\n')
    words = ("import", "prompts", str(tmp_path / "some.jsonl"))
    assert "with --skip-bad" in plumbline(*words, code=1)
    assert "1 prompts added, 0 duplicates, 0 left out, 1 bad" in plumbline(*words, "--skip-bad")
    again = plumbline(*words, "--skip-bad")
    assert "0 prompts added, 1 duplicates, 0 left out, 1 bad" in again and "--skip-bad" not in again


def test_migrate_brings_an_empty_database_to_the_newest_schema(database):
    metadata.drop_all(database)
    assert "none" in plumbline("migrate")
    assert plumbline("migrate") == f"The schema is {migrate.newest()}.\n"


def checks() -> dict[str, dict]:
    return {check["check"]: check for check in doctor.examine()}


def test_doctor_finds_what_is_missing(database, monkeypatch):
    metadata.drop_all(database)
    assert "plumbline migrate" in checks()["database"]["detail"]
    migrate.upgrade()
    found = checks()
    assert not [one for name in ("python", "data folder", "database", "broker") if not (one := found[name])["ok"]]
    assert not found["default worker"]["ok"] and "plumbline worker --queue default" in found["default worker"]["detail"]
    assert plumbline("doctor", "--json", code=1).startswith("[")


def test_doctor_says_the_way_out_when_nothing_answers(database, monkeypatch):
    monkeypatch.setenv("PLUMBLINE_DATABASE_URL", "postgresql://me:hidden@127.0.0.1:1/none")
    monkeypatch.setenv("PLUMBLINE_DATA_DIR", "/proc/nowhere")
    forget_settings()
    found = checks()
    assert not found["database"]["ok"] and "PLUMBLINE_DATABASE_URL" in found["database"]["detail"]
    assert "hidden" not in found["database"]["detail"]
    assert not found["data folder"]["ok"] and "PLUMBLINE_DATA_DIR" in found["data folder"]["detail"]


def test_doctor_loads_no_torch(database):
    code = "import sys; from app.launch import doctor; doctor._torch(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0


def test_the_web_application_loads_no_torch(database):
    code = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'transformers', 'accelerate'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "import app.cli\n"
        "from app.main import create_app\n"
        "create_app()\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_tables_for_people_and_json_for_programs(capsys):
    rows = [
        {"name": "a\nb", "share": 1 / 3, "ready": True, "tags": ["x", "y"]},
        {"name": None, "share": 2, "ready": False, "tags": []},
    ]
    show(rows)
    assert capsys.readouterr().out.splitlines() == [
        "name  share   ready  tags",
        "a b   0.3333  yes    x, y",
        "-     2       no",
    ]
    show(rows, True)
    assert json.loads(capsys.readouterr().out)[0]["share"] == 1 / 3
    show([], False, "No rounds yet.")
    assert capsys.readouterr().out == "No rounds yet.\n"
