"""The supervisor with a real training as its child: followed, cancelled, killed, gone on with."""

import fcntl
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select, update

from app import queue
from app.checkpoints.tables import Checkpoint, CheckpointRole
from app.config import ROOT, settings
from app.database import reading, transaction, utc_now
from app.jobs import rules
from app.jobs.tables import Job, JobEvent, JobState, JobVerb
from app.runs import tasks
from tests.conftest import fresh_database
from training.contract import events
from training.contract.records import Purpose
from training.run.run_folder import RunFolder

PATIENCE_SECONDS = 180


@pytest.fixture(params=["sqlite"])
def sqlite(request, tmp_path, monkeypatch):
    """One database is enough where the database does not matter."""
    yield from fresh_database(request, tmp_path, monkeypatch)


def make(config: dict, verb: JobVerb = JobVerb.TRAIN_BASE) -> Job:
    """A queued job."""
    with transaction() as session:
        return rules.create(session, verb, config)


def found(job: Job) -> Job:
    """The row as it is now."""
    with reading() as session:
        return session.get_one(Job, job.id)


def until(true: Callable[[], object], what: str) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < end, f"{what} did not happen within {PATIENCE_SECONDS} s"
        time.sleep(0.05)


def children_in(folder: Path) -> list[int]:
    """Processes whose command line names the run folder."""
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (process / "cmdline").read_bytes().split(b"\0"):
                pids.append(int(process.name))
        except OSError:
            continue
    return pids


def cmdline(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def is_free(folder: Path) -> bool:
    """Whether no process holds the run folder."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def assert_events_are_the_file(job: Job) -> list[JobEvent]:
    """Every line of events.jsonl stands in job_events, once and in order."""
    with reading() as session:
        stored = session.scalars(select(JobEvent).where(JobEvent.job_id == job.id).order_by(JobEvent.number)).all()
    reported = [json.loads(line) for line in (rules.folder(job) / "events.jsonl").read_text().splitlines()]
    assert [event.kind for event in stored] == [line["kind"] for line in reported]
    assert [event.number for event in stored] == list(range(1, len(reported) + 1))
    return stored


def test_a_job_runs_to_its_end_and_leaves_its_checkpoint(database, tiny):
    job = make(tiny)
    tasks.run(job.id)
    now = found(job)
    assert now.state is JobState.FINISHED, now.error
    assert now.result["checkpoint"] == "checkpoints/base" and now.step == now.total_steps > 0
    assert (now.owner, now.lease_until) == ("", None) and now.ended_at > now.started_at
    kinds = Counter(event.kind for event in assert_events_are_the_file(job))
    assert kinds["started"] == kinds["finished"] == kinds["checkpoint"] == 1 and kinds["metrics"] > 0
    with reading() as session:
        (checkpoint,) = session.scalars(select(Checkpoint))
    assert checkpoint.role is CheckpointRole.BASE and checkpoint.chosen and checkpoint.job_id == job.id
    assert (rules.folder(job).parents[1] / checkpoint.path / "model.safetensors").is_file()
    tasks.run(job.id)  # the message comes twice
    assert found(job).attempt == 1


def test_a_running_job_is_cancelled_and_its_process_is_gone(database, endless):
    job = make(endless)
    supervisor = threading.Thread(target=tasks.run, args=[job.id])
    supervisor.start()
    until(lambda: found(job).step > 0, "the first step")
    with transaction() as session:
        rules.cancel(session, session.get_one(Job, job.id), None)
    supervisor.join(PATIENCE_SECONDS)
    assert found(job).state is JobState.CANCELLED
    assert not children_in(rules.folder(job)) and is_free(rules.folder(job))
    assert_events_are_the_file(job)


def test_a_training_that_dies_is_started_again_where_it_stood(sqlite, endless):
    job = make(endless)
    for attempts, expected in ((0, JobState.QUEUED), (2, JobState.FAILED)):
        with transaction() as session:
            session.execute(update(Job).values(attempt=attempts))
        supervisor = threading.Thread(target=tasks.run, args=[job.id])
        supervisor.start()
        before = found(job).step
        until(lambda before=before: found(job).step > before, "some steps")
        until((rules.folder(job) / "state" / "state.pt").is_file, "a state to go on from")
        os.kill(children_in(rules.folder(job))[0], signal.SIGKILL)
        supervisor.join(PATIENCE_SECONDS)
        assert found(job).state is expected
    started = [event.body for event in assert_events_are_the_file(job) if event.kind == "started"]
    assert started[0]["resumed_from_step"] == 0 < started[1]["resumed_from_step"]
    assert "died 3 times" in found(job).error


def test_a_training_in_two_processes_ends_when_one_dies_goes_on_and_is_cancelled(sqlite, endless, monkeypatch):
    monkeypatch.setattr(settings(), "training_processes", 2)
    job = make(endless)
    folder = rules.folder(job)
    supervisor = threading.Thread(target=tasks.run, args=[job.id])
    supervisor.start()
    until((folder / "state" / "state.pt").is_file, "a state to go on from")
    before = found(job).step
    sharing = [pid for pid in children_in(folder) if b"torch.distributed.run" not in cmdline(pid)]
    assert len(sharing) == 2
    os.kill(max(sharing), signal.SIGKILL)
    supervisor.join(PATIENCE_SECONDS)
    assert found(job).state is JobState.QUEUED
    until(lambda: not children_in(folder), "the other process's end")

    supervisor = threading.Thread(target=tasks.run, args=[job.id])
    supervisor.start()
    until(lambda: found(job).step > before + 3, "more steps")
    with transaction() as session:
        rules.cancel(session, session.get_one(Job, job.id), None)
    supervisor.join(PATIENCE_SECONDS)
    assert found(job).state is JobState.CANCELLED
    assert not children_in(folder) and is_free(folder)
    started = [event.body for event in assert_events_are_the_file(job) if event.kind == "started"]
    assert [start["resumed_from_step"] > 0 for start in started] == [False, True]  # one of both reports


def test_a_training_in_two_processes_ends_with_its_supervisor(sqlite, endless, monkeypatch):
    monkeypatch.setattr(settings(), "training_processes", 2)
    job = make(endless)
    folder = rules.folder(job)
    with transaction() as session:
        held = rules.claim(session, job.id, "worker")
    supervisor = multiprocessing.get_context("fork").Process(target=tasks.Supervisor(held, lambda: False).run)
    supervisor.start()
    until(
        lambda: (folder / "events.jsonl").is_file() and b"progress" in (folder / "events.jsonl").read_bytes(), "steps"
    )
    supervisor.kill()
    until(lambda: not children_in(folder), "the end of all processes")
    assert is_free(folder)


def test_a_worker_that_shuts_down_puts_the_job_back_with_its_state(sqlite, endless):
    job = make(endless)
    stops = threading.Event()
    with transaction() as session:
        held = rules.claim(session, job.id, "worker")
    supervisor = threading.Thread(target=tasks.Supervisor(held, stops.is_set).run)
    supervisor.start()
    until(lambda: found(job).step > 3, "some steps")
    stops.set()
    supervisor.join(PATIENCE_SECONDS)
    now = found(job)
    assert (now.state, now.attempt, now.owner) == (JobState.QUEUED, 0, "")
    assert (rules.folder(job) / "state" / "state.pt").is_file() and is_free(rules.folder(job))


def test_a_run_whose_events_a_crash_has_cut_short_is_followed_from_the_cut(sqlite, endless):
    job = make(endless)

    def work(until_step: int) -> None:
        stops = threading.Event()
        with transaction() as session:
            held = rules.claim(session, job.id, "worker")
        supervisor = threading.Thread(target=tasks.Supervisor(held, stops.is_set).run)
        supervisor.start()
        until(lambda: found(job).step >= until_step, "some steps")
        stops.set()
        supervisor.join(PATIENCE_SECONDS)

    work(2)
    path = rules.folder(job) / "events.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:9])  # more bytes of it are stored than it has
    work(found(job).step + 1)
    with reading() as session:
        stored = session.scalars(select(JobEvent).where(JobEvent.job_id == job.id).order_by(JobEvent.number)).all()
    assert found(job).events_read == path.stat().st_size
    assert [event.kind for event in stored[len(lines) :]] == [
        json.loads(line)["kind"] for line in path.read_text().splitlines()[1:]
    ]
    assert not any("could not be read" in str(event.body) for event in stored)


def test_a_supervisor_that_has_lost_its_lease_kills_its_training_and_writes_nothing(sqlite, endless):
    job = make(endless)
    supervisor = threading.Thread(target=tasks.run, args=[job.id])
    supervisor.start()
    until(lambda: found(job).step > 0, "the first step")
    with transaction() as session:
        session.execute(update(Job).values(owner="another"))
    supervisor.join(PATIENCE_SECONDS)
    assert not children_in(rules.folder(job)) and is_free(rules.folder(job))
    assert (found(job).state, found(job).owner) == (JobState.RUNNING, "another")


def test_a_second_training_never_starts_while_the_first_holds_the_folder(sqlite, tiny):
    job = make(tiny)
    folder = rules.folder(job)
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        supervisor = threading.Thread(target=tasks.run, args=[job.id])
        supervisor.start()
        until(lambda: found(job).state is JobState.RUNNING, "the claim")
        time.sleep(1.5)  # three polls
        assert not (folder / "config.json").exists()
    supervisor.join(PATIENCE_SECONDS)
    assert found(job).state is JobState.FINISHED


def test_a_run_that_ended_before_its_row_did_is_not_run_again(sqlite, tiny):
    job = make(tiny)
    folder = rules.folder(job)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(job.config))
    command = [sys.executable, "-m", "training.train_base", str(folder / "config.json"), "--run-folder", str(folder)]
    subprocess.run([*command, "--resume"], cwd=ROOT, check=True, capture_output=True)
    tasks.run(job.id)
    assert found(job).state is JobState.FINISHED
    assert not (folder / "log.txt").exists()  # no child was started
    assert_events_are_the_file(job)


@pytest.mark.parametrize("state", ["first attempt", "last attempt", "cancel requested"])
def test_a_run_that_ended_after_its_supervisor_had_died_is_finished_by_the_reconciler(database, tiny, broker, state):
    job = make(tiny)
    broker.delete(queue.TRAINING)
    with transaction() as session:
        rules.claim(session, job.id, "dead")
        if state == "cancel requested":
            rules.cancel(session, session.get_one(Job, job.id), None)
        attempt = settings().job_attempts if state == "last attempt" else 1
        session.execute(update(Job).values(attempt=attempt, lease_until=utc_now(-1)))
    with RunFolder(rules.folder(job)) as folder:
        folder.report(events.Started(verb="train_base", total_steps=7))
        folder.report(events.Progress(step=7))
        tasks.reconcile()
        assert found(job).result is None  # it has not ended yet, so its row goes the way of a dead worker's
        with transaction() as session:
            session.execute(update(Job).values(state=JobState.RUNNING, owner="dead", lease_until=utc_now(-1)))
            broker.delete(queue.TRAINING)
        folder.report(events.Finished(result={"steps": 7}))
    tasks.reconcile()
    now = found(job)
    assert (now.state, now.result, now.error) == (JobState.FINISHED, {"steps": 7}, "")
    assert (now.attempt, now.step, now.owner, now.lease_until) == (attempt, 7, "", None)
    assert queue.waiting(queue.TRAINING) == 0  # nothing is run again
    assert_events_are_the_file(job)


def test_a_failure_says_why_and_is_not_repeated(sqlite, tmp_path):
    from tests.app.snapshots.test_freezing import freeze
    from tests.loop import fill_round, prompts

    fill_round(prompts(4))
    data = freeze(Purpose.SFT)
    job = make({"data": f"snapshot:{data.public_id}", "init_from": str(tmp_path / "no network")}, JobVerb.TRAIN_SFT)
    tasks.run(job.id)
    assert found(job).state is JobState.FAILED and "no network" in found(job).error
    assert found(job).attempt == 1


def test_a_checkpoint_that_is_gone_fails_the_job_before_it_starts(sqlite):
    job = make({"init_from": "checkpoint:gone", "data": "/x"}, JobVerb.TRAIN_SFT)
    tasks.run(job.id)
    assert found(job).state is JobState.FAILED and "gone" in found(job).error
