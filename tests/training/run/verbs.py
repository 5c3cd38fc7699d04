"""Verbs as processes of their own: started, watched step by step, and their results."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from training.contract import events

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(verb: str, config: str, run_folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"training.{verb}", config, "--run-folder", str(run_folder), *arguments]


def start(arguments: list[str], **settings) -> subprocess.Popen:
    return subprocess.Popen(
        arguments, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings
    )


def finish(arguments: list[str], **settings) -> tuple[int, str]:
    process = start(arguments, **settings)
    errors = process.communicate(timeout=120)[1]
    return process.returncode, errors


def reported(run_folder: Path) -> list:
    path = run_folder / "events.jsonl"
    return [events.parse(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for_step(process: subprocess.Popen, run_folder: Path, step: int) -> None:
    """Wait until the run has reported `step`; it may have ended by then."""
    while process.poll() is None:
        text = (run_folder / "events.jsonl").read_text() if (run_folder / "events.jsonl").exists() else ""
        done = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        if any(event["kind"] == "progress" and event["step"] >= step for event in done):
            return
        time.sleep(0.02)


def sft_settings(miniature: Path, **values) -> list[str]:
    """Return arguments for a run of 48 steps with dropout and pretraining text, its state written after each step."""
    values = {
        "data": miniature / "sft",
        "init_from": miniature / "base",
        "epochs": 6,
        "batch_size": 5,
        "dropout": 0.1,
        "pretraining_share": 0.2,
        "save_every_seconds": 0,
        **values,
    }
    return [argument for key, value in values.items() for argument in ("--set", f"{key}={value}")]


def assert_same_weights(one: Path, other: Path) -> None:
    ours, theirs = (load_file(folder / "checkpoints" / "sft" / "model.safetensors") for folder in (one, other))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
