"""One owner, whole files only, whenever the process dies."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from training.contract import events
from training.run.run_folder import RunFolder, write_whole

WRITER = """
import sys
from pathlib import Path
import torch
from training.run.run_folder import RunFolder

def write(number):
    def fill(folder):
        folder.mkdir()
        for part in range(4):
            (folder / f"part{part}").write_text(str(number) * 20000)
    return fill

with RunFolder(Path(sys.argv[1])) as run:
    print("ready", flush=True)
    number = 0
    while True:
        run.save_state({"step": number, "weights": torch.full((50000,), float(number))})
        run.save_checkpoint("sft", write(number % 10), role="sft", step=number)
        number += 1
"""


def test_a_second_owner_is_refused_until_the_first_lets_go(tmp_path):
    with RunFolder(tmp_path), pytest.raises(ValueError, match="another process is running in this run folder"):
        RunFolder(tmp_path)
    RunFolder(tmp_path).close()


def test_a_dead_owner_holds_nothing(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE)
    process.stdout.readline()
    with pytest.raises(ValueError, match="another process"):
        RunFolder(tmp_path)
    process.kill()
    process.wait()
    RunFolder(tmp_path).close()


def test_a_kill_at_any_moment_leaves_whole_files(tmp_path):
    rng = random.Random(0)
    for _ in range(8):
        process = subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(rng.uniform(0.01, 0.4))  # vary the moment of the kill
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with RunFolder(tmp_path) as run:
            state = run.load_state()
            if state is not None:
                assert (state["weights"] == state["step"]).all()
            checkpoint = tmp_path / "checkpoints" / "sft"
            if checkpoint.exists():
                parts = {(checkpoint / f"part{part}").read_text() for part in range(4)}
                assert len(parts) == 1 and len(parts.pop()) == 20000
            saved = [events.parse(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
            assert not saved or checkpoint.exists()
            assert not [path for path in tmp_path.rglob(".*") if path.name != ".lock"]
    assert state is not None and saved


def test_a_failed_write_leaves_the_old_file(tmp_path):
    def fail(path: Path):
        path.write_text("half")
        raise OSError("disk full")

    write_whole(tmp_path / "file", lambda path: path.write_text("old"))
    with pytest.raises(OSError, match="disk full"):
        write_whole(tmp_path / "file", fail)
    assert (tmp_path / "file").read_text() == "old"


def test_a_checkpoint_moved_aside_by_a_killed_write_comes_back(tmp_path):
    RunFolder(tmp_path).close()
    aside = tmp_path / "checkpoints" / ".sft.99.old"
    aside.mkdir()
    (aside / "weights").write_text("old")
    (tmp_path / "checkpoints" / ".sft.99.new").mkdir()
    RunFolder(tmp_path).close()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["sft"]
    assert (tmp_path / "checkpoints" / "sft" / "weights").read_text() == "old"


def test_events_are_visible_at_once_and_a_half_line_is_cut(tmp_path):
    with RunFolder(tmp_path) as run:
        run.report(events.Started(verb="train_sft", total_steps=3))
        run.warn_counts({"prompts left out": 2})
        lines = (tmp_path / "events.jsonl").read_text().splitlines()
        assert [events.parse(line).kind for line in lines] == ["started", "warning"]
        assert events.parse(lines[1]).message == "2 prompts left out"
    with open(tmp_path / "events.jsonl", "a") as file:
        file.write('{"kind": "metr')
    with RunFolder(tmp_path) as run:
        run.report(events.Finished())
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert kinds == ["started", "warning", "warning", "finished"]


def test_a_checkpoint_is_reported_with_its_place_in_the_run_folder(tmp_path):
    with RunFolder(tmp_path) as run:
        place = run.save_checkpoint("sft", Path.mkdir, "sft", 7, {"sft/loss": 0.5}, chosen=True)
    event = events.parse((tmp_path / "events.jsonl").read_text())
    assert place == tmp_path / "checkpoints" / "sft"
    assert (event.path, event.role, event.step, event.metrics, event.chosen) == (
        "checkpoints/sft",
        "sft",
        7,
        {"sft/loss": 0.5},
        True,
    )


def test_state_comes_back_as_it_was(tmp_path):
    with RunFolder(tmp_path) as run:
        assert run.load_state() is None
        run.save_state({"step": 1, "random": torch.get_rng_state()})
        run.save_state({"step": 2, "random": torch.get_rng_state()})
        assert run.load_state()["step"] == 2


def test_a_state_with_missing_or_wrong_bytes_is_passed_over_wherever_they_are(tmp_path):
    rng = random.Random(0)
    place = tmp_path / "state" / "state.pt"
    with RunFolder(tmp_path) as run:
        for step in (1, 2):
            run.save_state({"step": step, "weights": torch.full((5000,), float(step))})
        whole = place.read_bytes()
        for _ in range(60):
            torn = bytearray(whole)
            where = rng.randrange(len(torn))
            if rng.random() < 0.5:
                del torn[where:]
            else:
                torn[where] ^= 1 << rng.randrange(8)
            place.write_bytes(torn)
            state = run.load_state()
            assert (state["weights"] == state["step"]).all() and len(state["weights"]) == 5000, where
        place.write_bytes(whole[:-100])
        assert run.load_state()["step"] == 1
        run.save_state({"step": 3})  # it does not replace a whole state with a torn one
        place.write_bytes(b"")
        assert run.load_state()["step"] == 1
        (tmp_path / "state" / "state.before.pt").write_bytes(b"")
        with pytest.raises(
            ValueError, match=r"state.pt: cannot be read, nor can the one before it; start a new run in"
        ):
            run.load_state()


def test_numbers_that_are_not_finite_are_left_out_of_events_and_null_in_files(tmp_path):
    with RunFolder(tmp_path) as run:
        run.report(events.Started(verb="train_sft"))
        for step in (1, 2):
            run.report(events.Metrics(step=step, values={"sft/loss": float("nan"), "sft/learning_rate": 0.5}))
        run.write_json("report.json", {"accuracy": float("inf"), "rows": [float("nan"), 1.0]})
    found = [events.parse(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event.kind for event in found] == ["started", "warning", "metrics", "metrics"]
    assert found[1].message == "sft/loss is nan at step 1 and is left out"
    assert found[2].values == {"sft/learning_rate": 0.5}
    assert json.loads((tmp_path / "report.json").read_text()) == {"accuracy": None, "rows": [None, 1.0]}


def test_the_run_folder_needs_no_torch():
    modules = "training.run.inputs, training.contract.recipes, training.contract.events"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
