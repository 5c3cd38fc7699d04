"""Verbs as processes: exit codes, killed and resumed, stopped and resumed, ended with their supervisor."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.run.verbs import assert_same_weights, command, finish, reported, sft_settings, start, wait_for_step
from training.run.command import run_verb


@pytest.fixture(scope="module")
def unbroken(miniature, tmp_path_factory) -> Path:
    """Return the run folder of that run, never interrupted."""
    folder = tmp_path_factory.mktemp("unbroken")
    code, errors = finish(command("train_sft", "miniature_sft", folder, *sft_settings(miniature)))
    assert code == 0, errors
    return folder


def test_a_run_killed_and_resumed_ends_with_the_same_bits(unbroken, miniature, tmp_path):
    arguments = command("train_sft", "miniature_sft", tmp_path, *sft_settings(miniature))
    for step in (7, 20):
        process = start([*arguments, *(["--resume"] if step > 7 else [])])
        wait_for_step(process, tmp_path, step)
        process.kill()
        process.communicate()
    code, errors = finish([*arguments, "--resume"])
    assert code == 0, errors
    starts = [event.resumed_from_step for event in reported(tmp_path) if event.kind == "started"]
    assert starts[0] == 0 and 6 <= starts[1] < 48 and starts[1] < starts[2] < 48
    assert_same_weights(tmp_path, unbroken)


def test_a_run_stopped_by_sigterm_says_so_and_goes_on_from_there(unbroken, miniature, tmp_path):
    arguments = command("train_sft", "miniature_sft", tmp_path, *sft_settings(miniature, save_every_seconds=1000))
    process = start(arguments)
    wait_for_step(process, tmp_path, 9)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143
    assert reported(tmp_path)[-1].kind == "progress"
    stopped_at = torch.load(tmp_path / "state" / "state.pt", weights_only=True)["step"]
    assert stopped_at >= 9
    config = (tmp_path / "config.json").read_text()
    code, errors = finish(command("train_sft", str(tmp_path / "config.json"), tmp_path, "--resume"))
    assert code == 0, errors
    assert (tmp_path / "config.json").read_text() == config
    assert [e.resumed_from_step for e in reported(tmp_path) if e.kind == "started"] == [0, stopped_at]
    assert_same_weights(tmp_path, unbroken)


def test_the_run_reports_what_it_did(unbroken):
    kinds = [event.kind for event in reported(unbroken)]
    assert kinds[0] == "started" and kinds[-2:] == ["checkpoint", "finished"]
    saved = reported(unbroken)[-2]
    assert (saved.role, saved.path, saved.step, saved.chosen) == ("sft", "checkpoints/sft", 48, True)
    assert saved.metrics["sft/validation_loss_nats"] > 0
    losses = [event.values["sft/demonstration_loss"] for event in reported(unbroken) if event.kind == "metrics"]
    assert len(losses) == 48 and losses[-1] < losses[0] - 0.5
    assert (unbroken / "checkpoints" / "sft" / "pretraining.txt").exists()


def test_a_finished_run_is_not_run_again(unbroken, miniature):
    before = (unbroken / "events.jsonl").read_bytes()
    code, errors = finish(command("train_sft", "miniature_sft", unbroken, "--resume", *sft_settings(miniature)))
    assert code == 0, errors
    assert (unbroken / "events.jsonl").read_bytes() == before


def test_a_supervised_run_ends_when_the_pipe_closes(miniature, tmp_path):
    arguments = command("train_sft", "miniature_sft", tmp_path, *sft_settings(miniature, epochs=10_000))
    process = start([*arguments, "--supervised"], stdin=subprocess.PIPE)
    wait_for_step(process, tmp_path, 1)
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(timeout=10) == 1


def test_configs_that_cannot_be_used_exit_with_2(unbroken, miniature, tmp_path, capsys):
    def refused(*arguments):
        code = run_verb("train_sft", ["miniature_sft", "--run-folder", *map(str, arguments)])
        return code, capsys.readouterr().err

    code, errors = refused(tmp_path, "--set", "data=/x")
    assert code == 2 and "init_from: train_sft needs it" in errors
    again = [unbroken, *sft_settings(miniature)]
    code, errors = refused(*again)
    assert code == 2 and "already holds a run; add --resume" in errors
    code, errors = refused(*again, "--resume", "--set", "seed=5")
    assert code == 2 and "seed: 5 here, but the run began with 0" in errors


def test_a_run_that_fails_says_why_and_exits_with_1(miniature, tmp_path):
    settings = sft_settings(miniature, init_from="/no/such/network")
    code, errors = finish(command("train_sft", "miniature_sft", tmp_path, *settings))
    assert code == 1 and "Traceback" not in errors
    last = reported(tmp_path)[-1]
    assert last.kind == "failed" and "/no/such/network: no such network folder" in last.message


def test_a_verb_runs_from_any_folder_into_a_folder_of_its_own(miniature, tmp_path):
    data = os.path.relpath(miniature / "sft", tmp_path)
    arguments = [sys.executable, "-m", "training.train_sft", "miniature_sft"]
    code, errors = finish([*arguments, *sft_settings(miniature, epochs=1, data=data)], cwd=tmp_path)
    assert code == 0, errors
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("miniature_sft-")
    assert Path(json.loads((folder / "config.json").read_text())["data"]).is_absolute()
    assert (folder / "checkpoints" / "sft" / "config.json").exists()
