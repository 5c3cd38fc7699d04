"""`plumbline policy`."""

import json

from typer.testing import CliRunner

from app.cli import cli
from app.database import reading
from app.errors import BadInput
from app.policies import rules
from tests.chat_server import chat_server


def plumbline(*words: str):
    return CliRunner().invoke(cli, ["policy", *words])


def test_an_endpoint_is_added_tried_and_listed(database):
    with chat_server() as server:
        made = plumbline("add", "live", "--url", server.url, "--model", "m", "--description", "Ours.")
        assert made.exit_code == 0 and len(made.stdout.strip()) == 16
        assert plumbline("try", "live", "Which river?").stdout == "answer to Which river?\n"
        server.reply = (500, {}, b"")
        failed = plumbline("try", "live")
        assert failed.exit_code != 0 and "failed (500)" in failed.exception.message
    (row,) = json.loads(plumbline("list", "--json").stdout)
    assert (row["name"], row["kind"], row["id"]) == ("live", "endpoint", made.stdout.strip())
    assert "failed (500)" in row["last_error"]


def test_one_made_by_hand_is_changed_and_deleted(database):
    plumbline("add", "live", "--url", "http://127.0.0.1:9/v1", "--model", "m", "--description", "Ours.")
    assert plumbline("change", "live", "--url", "http://127.0.0.1:8/v1", "--model", "n").exit_code == 0
    with reading() as session:
        found = rules.named(session, "live")
    assert (found.endpoint_url, found.endpoint_model, found.description) == ("http://127.0.0.1:8/v1", "n", "Ours.")
    for words, says in (
        (["change", "live", "--url", "file:///x"], "endpoint_url"),
        (["change", "live", "--key-variable", "HOME"], "PLUMBLINE_ENDPOINT_KEYS"),
        (["change", "lives"], "Existing policies: live"),
    ):
        assert says in plumbline(*words).exception.message
    assert plumbline("delete", "live").stdout == "Deleted live.\n"
    assert json.loads(plumbline("list", "--json").stdout) == []


def test_what_makes_no_endpoint(database):
    for words, says in (
        (["x", "--url", "file:///etc/passwd"], "endpoint_url"),
        (["x", "--url", "http://user:secret@127.0.0.1/v1"], "user name and password"),
        (["x", "--model", "m"], "only an endpoint"),
        (["x", "--url", "http://127.0.0.1/v1", "--key-variable", "HOME"], "PLUMBLINE_ENDPOINT_KEYS"),
    ):
        refused = plumbline("add", *words)
        assert isinstance(refused.exception, BadInput) and says in refused.exception.message, words
