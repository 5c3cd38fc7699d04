"""Ours and a peer in turn, within each round, in a process each: medians of in-round ratios."""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from app.config import ROOT

RUNNERS = ROOT / "tests" / "benchmarks" / "runners"
ROUNDS = 5


class Runner:
    """A child that does its work whenever it is told to; see runners/answer.py."""

    def __init__(self, python: str, script: str, folder: Path) -> None:
        env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        env["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(RUNNERS.parent)])
        self.log = (folder / f"{script}.log").open("w+")
        self.process = subprocess.Popen(
            [python, str(RUNNERS / f"{script}.py"), str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, env=env, cwd=folder,
        )  # fmt: skip
        self._read()

    def run(self, times: int = 1) -> dict[str, float]:
        """The numbers of one of so many runs."""
        self.process.stdin.write(f"{times}\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, float]:
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            raise RuntimeError(f"{self.process.args[1]} ended:\n{self.log.read()[-3000:]}")
        return json.loads(line)

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait(60)
        self.log.close()


def line(name: str, numbers: dict[str, float]) -> str:
    """A comparison for a reader: how many times as fast by the clock and by processor time, and what either used."""
    shown = [f"{name:<64}"]
    if "ratio" not in numbers:
        return "  ".join([*shown, *(f"{key} {value:.4g}" for key, value in numbers.items())])
    for key, what in (("ratio", "by the clock"), ("processor_ratio", "by processor time")):
        shown.append(f"{numbers[key]:5.2f}x {what} [{numbers[key + '_low']:.2f}, {numbers[key + '_high']:.2f}]")
    for key, what, form in (("share", "of a core", ".2f"), ("tokens", "tokens", ".0f"), ("peak_mib", "MiB", ".0f")):
        if f"ours_{key}" in numbers:
            shown.append(f"{numbers['ours_' + key]:{form}} / {numbers['peer_' + key]:{form}} {what}")
    return "  ".join(shown)


def compare(folder: Path, ours: str, peer: str, peer_python: Path, rounds: int = ROUNDS) -> dict[str, float]:
    """How many times as fast ours does its work (pairs, or tokens to learn from), with the spread over the rounds.

    `share` is processor seconds per second: how much of its one core a run got while others used the machine.
    """
    with Runner(sys.executable, ours, folder) as us, Runner(str(peer_python), peer, folder) as them:
        first = us.run(), them.run()  # which also warms both up
        # Ours goes on for a third as long as theirs, so that what else runs on the machine disturbs both nearly alike.
        times = max(1, round(first[1]["processor_seconds"] / first[0]["processor_seconds"] / 3))
        pairs = [(us.run(times), them.run()) for _ in range(rounds)]
    done = [us["work"] / them["work"] for us, them in pairs]  # a peer may leave out what fills no whole batch
    by_clock = [times * them["seconds"] / us["seconds"] for times, (us, them) in zip(done, pairs, strict=True)]
    by_processor = [
        times * them["processor_seconds"] / us["processor_seconds"]
        for times, (us, them) in zip(done, pairs, strict=True)
    ]
    numbers = {
        "ratio": median(by_clock),
        "ratio_low": min(by_clock),
        "ratio_high": max(by_clock),
        "processor_ratio": median(by_processor),
        "processor_ratio_low": min(by_processor),
        "processor_ratio_high": max(by_processor),
    }
    for name, runs in (("ours", [us for us, _ in pairs]), ("peer", [them for _, them in pairs])):
        for key in runs[0]:
            numbers[f"{name}_{key}"] = median(run[key] for run in runs)
        numbers[f"{name}_share"] = median(run["processor_seconds"] / run["seconds"] for run in runs)
    return numbers
