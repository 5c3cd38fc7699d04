"""An interrupted sampling run keeps what it has and, resumed, ends with the file of an uninterrupted one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.chat_server import chat_server
from training import sample_completions
from training.contract import events
from training.contract.recipes import make_config
from training.contract.records import PROMPTS, SAMPLED_COMPLETIONS, PromptRecord, SampledCompletion, read
from training.run.endpoint import KEY_VARIABLE
from training.run.run_folder import RunFolder, Stopped
from training.sample_completions import PARTIAL, PartialRecord


class StopsAt(RunFolder):
    """A run folder that is asked to stop, as by SIGTERM, once a step is reported."""

    step = 0

    def report(self, event: events.Event) -> None:
        super().report(event)
        self.stop_requested |= isinstance(event, events.Progress) and event.step >= self.step > 0


def keys(miniature: Path, **values) -> dict:
    return {"recipe": "miniature_sample", "data": miniature / "ppo", "init_from": miniature / "base", **values}


def sampled(config: dict, folder: Path, stop_at: int = 0) -> None:
    with StopsAt(folder) as run_folder:
        run_folder.step = stop_at
        sample_completions.run(make_config("sample_completions", config), run_folder)


def reported(folder: Path) -> list:
    return [events.parse(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def prompts(miniature: Path) -> list[PromptRecord]:
    return list(read(miniature / "ppo" / PROMPTS, PromptRecord))


def process(config: dict, folder: Path) -> subprocess.Popen:
    """Run `python -m training.sample_completions` in a fresh process."""
    path = folder.parent / "request.json"
    path.write_text(json.dumps(config, default=str))
    return subprocess.Popen(
        [sys.executable, "-m", "training.sample_completions", path, "--run-folder", folder, "--resume"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("sampler", ["own", "transformers"])
def test_a_resumed_run_writes_what_an_unbroken_one_does(miniature, tmp_path, sampler):
    config = keys(miniature, completions_per_prompt=2, batch_size=6, sampler=sampler)  # groups of three prompts
    sampled(config, tmp_path / "unbroken")
    with pytest.raises(Stopped):
        sampled(config, tmp_path / "broken", stop_at=7)
    partial = tmp_path / "broken" / PARTIAL
    whole = partial.read_bytes().splitlines(keepends=True)
    partial.write_bytes(b"".join(whole[:-1]) + whole[-1][:20])  # killed as it wrote the last of a group
    sampled(config, tmp_path / "broken")
    unbroken, broken = ((tmp_path / name / SAMPLED_COMPLETIONS).read_bytes() for name in ("unbroken", "broken"))
    assert broken == unbroken
    assert not partial.exists()
    starts = [event for event in reported(tmp_path / "broken") if event.kind == "started"]
    assert [start.resumed_from_step for start in starts] == [0, 6]


def test_a_run_does_not_go_on_with_other_prompts_or_another_network(miniature, tmp_path):
    with pytest.raises(Stopped):
        sampled(keys(miniature, batch_size=6), tmp_path / "run", stop_at=2)
    partial = tmp_path / "run" / PARTIAL
    kept = partial.read_text()
    partial.write_text(kept.replace(prompts(miniature)[0].prompt_key, "another"))
    with pytest.raises(ValueError, match="data: the prompts changed since the run began; start a new run"):
        sampled(keys(miniature, batch_size=6), tmp_path / "run")
    partial.write_text(kept)
    with RunFolder(tmp_path / "run") as run_folder:
        run_folder.save_state({"init_from": "of another"})
    with pytest.raises(ValueError, match="init_from: the network changed since the run began; start a new run"):
        sampled(keys(miniature, batch_size=6), tmp_path / "run")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_came_from_an_endpoint_before_the_run_died_is_not_asked_for_again(miniature, tmp_path, number):
    records = prompts(miniature)
    first = [record.prompt[-1].text for record in records[:5]]
    with chat_server() as server:
        server.script = lambda request, times: (
            None if request["messages"][-1]["content"] in first else (429, {"Retry-After": "600"}, b"")
        )
        config = keys(miniature, completions_per_prompt=1, sampler="endpoint", endpoint=server.url, endpoint_model="m")
        child = process(config, tmp_path / "run")
        partial = tmp_path / "run" / PARTIAL
        while child.poll() is None and not (partial.exists() and partial.read_bytes().count(b"\n") == len(first)):
            time.sleep(0.05)
        child.send_signal(number)
        errors = child.communicate(timeout=60)[1]
        assert child.returncode == (-9 if number == signal.SIGKILL else 143), errors
        assert "is overloaded" in errors

        server.script = lambda request, times: None
        sampled(config, tmp_path / "run")
        asked = server.asked()
    assert all(asked[text] == 1 for text in first)
    lines = list(read(tmp_path / "run" / SAMPLED_COMPLETIONS, SampledCompletion))
    assert [line.prompt_key for line in lines] == [record.prompt_key for record in records]
    assert [line.text for line in lines] == [f"answer to {record.prompt[-1].text}" for record in records]
    assert not partial.exists()


def test_a_prompt_that_still_lacks_texts_keeps_those_that_came(miniature, tmp_path):
    """Two texts of each are requested; the server writes one at a time and requires another key for the second."""
    records = prompts(miniature)
    with chat_server() as server:
        server.answer = lambda request: [f"{request['seed']}"]
        server.script = lambda request, times: (403, {}, b"") if times > 1 else None
        config = keys(miniature, completions_per_prompt=2, sampler="endpoint", endpoint=server.url, endpoint_model="m")
        with pytest.raises(ValueError, match="refused the key"):
            sampled(config, tmp_path / "run")
        kept = {
            completion.text
            for line in read(tmp_path / "run" / PARTIAL, PartialRecord)
            for completion in line.completions
        }
        server.script = lambda request, times: None
        sampled(config, tmp_path / "run")
    lines = list(read(tmp_path / "run" / SAMPLED_COMPLETIONS, SampledCompletion))
    assert len({line.text for line in lines}) == len(lines) == 2 * len(records)
    assert kept and kept < {line.text for line in lines}


def test_prompts_that_an_endpoint_refuses_are_counted_and_all_of_them_are_a_failure(miniature, tmp_path, monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    records = prompts(miniature)
    bad = records[2].prompt[-1].text
    with chat_server() as server:
        server.script = lambda request, times: (
            (400, {}, b"the prompt is too long") if request["messages"][-1]["content"] == bad else None
        )
        config = keys(miniature, completions_per_prompt=1, sampler="endpoint", endpoint=server.url, endpoint_model="m")
        sampled(config, tmp_path / "some")
        server.reply = (400, {}, b"the prompt is too long")
        with pytest.raises(ValueError, match=r"refused the request \(400\). It said: the prompt is too long"):
            sampled(config, tmp_path / "all")
    lines = list(read(tmp_path / "some" / SAMPLED_COMPLETIONS, SampledCompletion))
    assert [line.prompt_key for line in lines] == [one.prompt_key for one in records if one is not records[2]]
    *_, warning, end = reported(tmp_path / "some")
    assert warning.message.startswith(f"1 of {len(records)} prompts lack completions that the endpoint refused")
    assert "the prompt is too long" in warning.message
    assert (end.result["prompts_refused"], end.result["prompts_short"]) == (1, 0)
