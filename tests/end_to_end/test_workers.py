"""Real workers on a real broker: a job that outlives their death, and a plan's tasks passed from one to the other."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from sqlalchemy import select, update

from app import queue
from app.config import ROOT
from app.database import reading, transaction
from app.jobs import rules
from app.jobs.tables import Job, JobEvent, JobState, JobVerb
from app.snapshots import rules as snapshots
from app.snapshots.tables import Snapshot, SnapshotState
from tests.loop import fill_round, prompts
from tests.training.conftest import miniature  # noqa: F401 -- a fixture
from training.contract.records import Purpose
from training.reward.model import new_reward_model, save_reward_model

PATIENCE_SECONDS = 240
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}  # the same sums in the same order


class Workers:
    """Workers as `plumbline worker` starts them, each a process group of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.started: list[subprocess.Popen] = []

    def start(self, name: str) -> subprocess.Popen:
        """A worker of a queue."""
        with (self.folder / f"{name}-{len(self.started)}.log").open("wb") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "app.cli", "worker", "--queue", name],
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(worker)
        return worker

    def logs(self) -> str:
        """The end of what they have said."""
        return "\n".join(f"== {path.name}\n{path.read_text()[-1500:]}" for path in sorted(self.folder.glob("*.log")))

    def end(self) -> None:
        """Kill all of them."""
        for worker in self.started:
            with suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()


@pytest.fixture
def workers(database, tmp_path, monkeypatch) -> Iterator[Workers]:
    """Workers that find a dead one's job within seconds; the broker's queues are empty at first and afterwards."""
    monkeypatch.setenv("PLUMBLINE_JOB_LEASE_SECONDS", "4")
    _empty_queues()
    made = Workers(tmp_path)
    yield made
    made.end()
    _empty_queues()


def _empty_queues() -> None:
    """Forget messages and workers: a worker counts as there for a while after it is gone."""
    with queue._broker() as broker:
        broker.delete(queue.DEFAULT, queue.TRAINING, *map(queue._seen_key, queue.QUEUES))


def until(true: Callable[[], object], what: str, workers: Workers) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < end, f"{what} did not happen within {PATIENCE_SECONDS} s\n{workers.logs()}"
        time.sleep(0.1)


def found(job: Job) -> Job:
    """The row as it is now."""
    with reading() as session:
        return session.get_one(Job, job.id)


def queue_training(tmp_path: Path, epochs: int) -> Job:
    """A job of some seconds on a tiny network."""
    text = tmp_path / "text.txt"
    words = ["plumb", "line", "level", "square", "true", "straight", "upright", "even", "flat", "sound"]
    text.write_text("\n\n".join(" ".join(words[i % 10 :] + words[: i % 7]) for i in range(400)), encoding="utf-8")
    config = {
        "text": str(text), "vocab_size": 300, "hidden_size": 16, "intermediate_size": 16, "layers": 1, "heads": 2,
        "max_positions": 64, "row_tokens": 64, "rows_per_step": 4, "epochs": epochs, "cache": str(tmp_path / "cache"),
        "save_every_seconds": 0.5,
    }  # fmt: skip
    with transaction() as session:
        return rules.create(session, JobVerb.TRAIN_BASE, config)


@pytest.mark.parametrize(
    ("database", "blow"),
    [("sqlite", "worker alone"), ("sqlite", "all its processes"), ("postgresql", "all its processes")],
    indirect=["database"],
)
def test_a_job_whose_worker_is_killed_goes_on_by_itself_and_finishes(workers, tmp_path, blow):
    workers.start(queue.DEFAULT)
    first = workers.start(queue.TRAINING)
    job = queue_training(tmp_path, epochs=60)
    until(lambda: found(job).step > 20, "some steps", workers)
    stored = finish_after(blow, first, job, workers)
    kinds = [event.kind for event in stored]
    assert kinds.count("finished") == kinds.count("checkpoint") == 1


def finish_after(blow: str, first: subprocess.Popen, job: Job, workers: Workers) -> list[JobEvent]:
    """Kill the worker, start another, and see the job go on where it stood and finish; returns its events."""
    folder = rules.folder(job)
    until((folder / "state" / "state.pt").is_file, "a state to go on from", workers)
    assert queue.workers(queue.TRAINING)
    (os.kill if blow == "worker alone" else os.killpg)(first.pid, signal.SIGKILL)
    first.wait()

    def is_free() -> bool:
        with (folder / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    until(is_free, "the end of the orphaned training", workers)
    step = found(job).step
    assert found(job).state is not JobState.FINISHED
    workers.start(queue.TRAINING)
    until(lambda: found(job).state in rules.OVER, "the end of the job", workers)
    now = found(job)
    assert now.state is JobState.FINISHED, now.error
    assert now.step == now.total_steps > step
    with reading() as session:
        stored = session.scalars(select(JobEvent).where(JobEvent.job_id == job.id).order_by(JobEvent.number)).all()
    reported = [json.loads(line)["kind"] for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [event.kind for event in stored] == reported
    starts = [event.body["resumed_from_step"] for event in stored if event.kind == "started"]
    assert len(starts) == 2 and starts[0] == 0 < starts[1]
    return stored


@pytest.fixture(scope="module")
def ppo(miniature, tmp_path_factory) -> tuple[dict, Path]:  # noqa: F811
    """The config of a PPO that takes some seconds, and the run folder that it leaves when nothing disturbs it."""
    folder = tmp_path_factory.mktemp("ppo")
    torch.manual_seed(2)
    reward_model, tokenizer = new_reward_model(miniature / "base")
    named = {"": 0.65, "_low": 0.6, "_high": 0.7}
    reward_model.config.reward_metrics = {f"accuracy/validation{end}": value for end, value in named.items()}
    save_reward_model(reward_model, tokenizer, folder / "reward_model")
    config = {
        "recipe": "miniature_ppo_ptx", "iterations": 60, "batch_size": 8, "minibatch_size": 4,
        "max_completion_tokens": 6, "evaluation_episodes": 8, "save_every_iterations": 3, "stop_at_kl_nats": None,
        "data": str(miniature / "ppo"), "init_from": str(miniature / "base"),
        "reward_model": str(folder / "reward_model"),
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "training.train_ppo", str(folder / "config.json")]
    subprocess.run([*command, "--run-folder", str(folder / "run")], cwd=ROOT, env=ONE_THREAD, check=True)
    return config, folder / "run"


@pytest.mark.parametrize(
    ("database", "blow"), [("sqlite", "worker alone"), ("sqlite", "all its processes")], indirect=["database"]
)
def test_ppo_whose_worker_is_killed_goes_on_by_itself_and_ends_with_the_same_bits(workers, monkeypatch, ppo, blow):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    config, undisturbed = ppo
    workers.start(queue.DEFAULT)
    first = workers.start(queue.TRAINING)
    with transaction() as session:
        job = rules.create(session, JobVerb.TRAIN_PPO, config)
    until(lambda: found(job).step > 3, "some iterations", workers)
    stored = finish_after(blow, first, job, workers)

    numbers = [event.number for event in stored if event.kind == "started"]
    before, after = (
        [event.body["step"] for event in stored if event.kind == "metrics" and (event.number > numbers[1]) == later]
        for later in (False, True)
    )
    resumed_from = stored[numbers[1] - 1].body["resumed_from_step"]
    assert resumed_from % 3 == 0 and before == list(range(1, len(before) + 1)) and len(before) < 60
    assert after == list(range(resumed_from + 1, 61))
    assert len(before) - resumed_from <= 3  # no more is done again than was done since the last state
    for name in ("policy", "policy_ema"):
        path = Path("checkpoints") / name / "model.safetensors"
        assert (rules.folder(job) / path).read_bytes() == (undisturbed / path).read_bytes()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_worker_told_to_stop_puts_its_job_back_and_the_next_one_finishes_it(workers, tmp_path):
    first = workers.start(queue.TRAINING)
    job = queue_training(tmp_path, epochs=60)
    until(lambda: found(job).step > 20, "some steps", workers)
    first.send_signal(signal.SIGTERM)
    first.wait(60)
    assert (found(job).state, found(job).attempt) == (JobState.QUEUED, 0)
    assert queue.waiting(queue.TRAINING) == 1
    workers.start(queue.TRAINING)
    until(lambda: found(job).state in rules.OVER, "the end of the job", workers)
    assert found(job).state is JobState.FINISHED


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_what_was_committed_and_never_sent_is_found(workers, tmp_path):
    fill_round(prompts(6))
    job = queue_training(tmp_path, epochs=1)
    with transaction() as session:
        snapshot = snapshots.create(session, Purpose.SFT, {})
        session.info.pop("after_commit")  # the process dies between commit and publishing
        session.execute(update(Job).values(lease_until=snapshot.created_at))
        session.flush()
        session.execute(update(Snapshot).values(lease_until=snapshot.created_at))
    with queue._broker() as broker:
        broker.delete(queue.TRAINING)
    workers.start(queue.DEFAULT)
    workers.start(queue.TRAINING)
    until(lambda: found(job).state is JobState.FINISHED, "the job", workers)
    with reading() as session:
        assert session.scalar(select(Snapshot.state)) is SnapshotState.READY
