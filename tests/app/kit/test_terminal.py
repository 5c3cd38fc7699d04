"""Tables and progress in a real terminal (a pty), and where there is none."""

import gzip
import json
import os
import pty
import subprocess
import sys

import pytest

from app.config import ROOT
from app.kit import terminal
from app.prompts.imports import PromptDefaults, import_prompts

WORK = """
import time
from app.kit.terminal import progress, show
with progress("a [bold] file") as watch:
    for done in range(4):
        watch(done / 4, "checking")
        time.sleep(0.15)
show([{"name": "a [red] name of a policy", "what_it_is": "a text that is longer than the terminal is wide " * 3}])
"""


def in_a_terminal(columns: int) -> tuple[str, str]:
    """Return what the work writes to the terminal, as (standard output, standard error)."""
    ends = [pty.openpty() for _ in range(2)]
    process = subprocess.Popen(
        [sys.executable, "-c", WORK],
        stdout=ends[0][1], stderr=ends[1][1], cwd=ROOT, env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm"},
    )  # fmt: skip
    for _, theirs in ends:
        os.close(theirs)
    found = []
    for ours, _ in reversed(ends):  # standard error first: the bar must not fill its pipe
        text = b""
        try:
            while part := os.read(ours, 4096):
                text += part
        except OSError:  # the other end closed
            pass
        found.append(text.decode())
        os.close(ours)
    assert process.wait() == 0, found
    return found[1], found[0]


def test_a_terminal_has_a_bar_with_the_time_left_and_tables_that_fit_it():
    table, bar = in_a_terminal(columns=70)
    assert "a [bold] file: checking" in bar and "75%" in bar and "0:00:0" in bar
    lines = table.replace("\r", "").splitlines()
    assert lines[0].split() == ["name", "what", "it", "is"]
    assert all(len(line) <= 70 for line in lines) and lines[1].endswith("…")
    assert lines[1].startswith("a [red]")


def test_without_a_terminal_nothing_is_cut_and_short_work_says_nothing(capfd):
    exec(WORK, {})
    out, err = capfd.readouterr()
    assert ("a text that is longer than the terminal is wide " * 3).strip() in out and "\x1b" not in out
    assert err == ""


def test_without_a_terminal_long_work_prints_a_line_from_time_to_time(capfd, monkeypatch):
    monkeypatch.setattr(terminal, "LINE_SECONDS", 0)
    with terminal.progress("prompts.jsonl") as watch:
        watch(0, "checking")
        watch(0.5, "storing")
    assert capfd.readouterr().err.splitlines() == ["prompts.jsonl: checking, working", "prompts.jsonl: storing, 50%"]


@pytest.mark.parametrize("packed", [False, True])
def test_an_import_says_what_share_of_each_pass_is_done(database, tmp_path, packed):
    rows = "".join(
        json.dumps({"prompt": f"How many has {n}?", "more": os.urandom(2500).hex()}) + "\n" for n in range(300)
    )
    path = tmp_path / ("p.jsonl.gz" if packed else "p.jsonl")
    path.write_bytes(gzip.compress(rows.encode()) if packed else rows.encode())
    told = []
    report = import_prompts(
        path, as_csv=False, defaults=PromptDefaults("c"), keep_similar=True,
        watch=lambda share, what: told.append((what, share)),
    )  # fmt: skip
    assert report.written
    for what in ("checking", "storing"):
        shares = [share for found, share in told if found == what]
        assert shares == sorted(shares) and shares[0] > 0 and shares[-1] == 1 and len(shares) > 3
