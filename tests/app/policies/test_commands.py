"""`plumbline policy`."""

import json

from typer.testing import CliRunner

from app.cli import cli
from app.errors import BadInput
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
        assert failed.exit_code != 0 and "broke (500)" in failed.exception.message
    (row,) = json.loads(plumbline("list", "--json").stdout)
    assert (row["name"], row["kind"], row["id"]) == ("live", "endpoint", made.stdout.strip())
    assert "broke (500)" in row["last_error"]


def test_what_makes_no_endpoint(database):
    for words, says in (
        (["x", "--url", "file:///etc/passwd"], "endpoint_url"),
        (["x", "--url", "http://user:secret@127.0.0.1/v1"], "user name and password"),
        (["x", "--model", "m"], "only an endpoint"),
        (["x", "--url", "http://127.0.0.1/v1", "--key-variable", "HOME"], "PLUMBLINE_ENDPOINT_KEYS"),
    ):
        refused = plumbline("add", *words)
        assert isinstance(refused.exception, BadInput) and says in refused.exception.message, words
