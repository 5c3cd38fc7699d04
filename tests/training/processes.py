"""Runs in spawned processes, which share no random state with the tests, as under torchrun or when resumed.

Importing torch and transformers takes seconds, so a process does one job after another. Before each it seeds its random
states from the operating system: what a run then draws without its seed differs from process to process.
"""

import importlib
import multiprocessing
import os
import random
import socket
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from training.contract import events
from training.contract.recipes import make_config
from training.run import parallel
from training.run.run_folder import RunFolder, Stopped

PATIENCE_SECONDS = 400  # for one job; less than pytest has for a test


class Job(NamedTuple):
    """One process's part of a run."""

    verb: str
    keys: dict
    folder: Path
    stop_at: int = 0  # the step at which this process is asked to stop
    number: int = 0
    count: int = 1
    port: int = 0


class Outcome(NamedTuple):
    """The exit code that a job would have had, why it failed, and the hashes that its process sent the others."""

    code: int
    error: str
    hashes: list[str]


class Worker(NamedTuple):
    """A spawned process, its job pipe, and its number, the same in all runs: torch caches what follows from it."""

    process: multiprocessing.Process
    pipe: Connection
    number: int


class Workers:
    """Spawned processes; the longest idle one gets the next job."""

    def __init__(self) -> None:
        self._hired: list[Worker] = []
        self._idle: list[Worker] = []

    def hire(self, number: int = 0) -> None:
        """Start one more process, which imports what runs need while others work."""
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_work, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        self._hired.append(Worker(process, ours, number))
        self._idle.append(self._hired[-1])

    def start(self, job: Job) -> Worker:
        """Give the job to an idle process of its number, or to a new one."""
        if job.number not in [worker.number for worker in self._idle]:
            self.hire(job.number)
        worker = next(worker for worker in self._idle if worker.number == job.number)
        self._idle.remove(worker)
        worker.pipe.send(job)
        return worker

    def finish(self, worker: Worker) -> Outcome:
        """Wait until the job is done; a process that does not finish gets no other job."""
        assert worker.pipe.poll(PATIENCE_SECONDS), f"the run did not end within {PATIENCE_SECONDS} s"
        outcome = worker.pipe.recv()
        self._idle.append(worker)
        return outcome

    def kill(self, worker: Worker) -> None:
        """End a process by SIGKILL in the middle of its job."""
        assert not worker.pipe.poll(), "the run ended before it could be killed"
        worker.process.kill()
        worker.process.join()
        assert worker.process.exitcode == -9

    def outcomes(self, verb: str, keys: dict, folder: Path, each: list[dict], stop_at: int = 0) -> list[Outcome]:
        """Run once, with one process per entry of `each`, whose keys override `keys`; the last is asked to stop."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        last = len(each) - 1
        jobs = [
            Job(verb, {**keys, **own}, folder, stop_at if number == last else 0, number, len(each), port)
            for number, own in enumerate(each)
        ]
        workers = [self.start(job) for job in jobs]
        found: dict[int, Outcome] = {}
        while len(found) < len(workers):
            failed = [outcome.error for outcome in found.values() if outcome.error]  # the others may wait for it
            ready = wait([workers[i].pipe for i in range(len(each)) if i not in found], 30 if failed else None)
            assert ready, failed
            found |= {i: self.finish(worker) for i, worker in enumerate(workers) if worker.pipe in ready}
        return [found[i] for i in range(len(each))]

    def run(self, verb: str, keys: dict, folder: Path, processes: int = 1, stop_at: int = 0) -> Path:
        """Run once in so many processes, which must all end alike and with the same hashes; return the run folder."""
        outcomes = self.outcomes(verb, keys, folder, [{}] * processes, stop_at)
        for outcome in outcomes:
            assert outcome.code == (143 if stop_at else 0), outcome.error
            assert outcome.hashes == outcomes[0].hashes
        return folder

    def close(self) -> None:
        """End all processes."""
        for worker in self._hired:
            worker.process.kill()
            worker.process.join()


def _work(pipe: Connection) -> None:
    """Do one job after another until the pipe closes."""
    importlib.import_module("training.train_ppo")  # imports what all verbs need
    with suppress(EOFError):
        while True:
            pipe.send(_do(pipe.recv()))


def _do(job: Job) -> Outcome:
    random.seed(os.urandom(8))
    np.random.seed(int.from_bytes(os.urandom(4), "big"))
    torch.manual_seed(int.from_bytes(os.urandom(7), "big"))
    launcher = {
        "RANK": job.number, "LOCAL_RANK": job.number, "WORLD_SIZE": job.count,
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": job.port,
    }  # fmt: skip
    os.environ |= {name: str(value) for name, value in launcher.items()}
    hashes: list[str] = []
    check_alike = parallel.check_alike

    def noted(digest: str, when: str) -> None:
        hashes.append(digest)
        check_alike(digest, when)

    parallel.check_alike = noted
    try:
        parallel.join()
        with StopsAt(job.folder) as run_folder:
            run_folder.step = job.stop_at
            importlib.import_module(f"training.{job.verb}").run(make_config(job.verb, job.keys), run_folder)
    except Stopped:
        return Outcome(143, "", hashes)
    except SystemExit as left:  # all but the first exit when training is over
        return Outcome(int(left.code), "", hashes)
    except Exception:
        return Outcome(1, traceback.format_exc(), hashes)
    finally:
        parallel.check_alike = check_alike
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        parallel._number, parallel._count = 0, 1
        for name in launcher:
            del os.environ[name]
    return Outcome(0, "", hashes)


class StopsAt(RunFolder):
    """A run folder that is asked to stop, as by SIGTERM, once a step is reported."""

    step = 0

    def report(self, event: events.Event) -> None:
        super().report(event)
        self.stop_requested |= isinstance(event, events.Progress) and event.step >= self.step > 0
