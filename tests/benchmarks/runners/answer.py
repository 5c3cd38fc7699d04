"""A runner's side of a comparison: does its work each time it is told to, and says what that took.

Runners of peers live in environments of their own, so this imports nothing but the standard library.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
STATUS = Path("/proc/self/status")


def work() -> tuple[Path, dict]:
    """The folder that the comparison was given, and its work.json."""
    folder = Path(sys.argv[1])
    return folder, json.loads((folder / "work.json").read_text())


def answer(run: Callable[[], dict[str, float]]) -> None:
    """Call `run` as often as each line on standard input says; the numbers of one call go back as a line of JSON."""
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is none of the parent's business
    print(json.dumps({"ready": True}), file=told, flush=True)
    loaded = _status("VmRSS")
    for line in sys.stdin:
        times = int(line)
        _forget_peak()
        wall, processor = time.perf_counter(), time.process_time()
        for _ in range(times):
            numbers = run()
        wall, processor = (time.perf_counter() - wall) / times, (time.process_time() - processor) / times
        took = {"seconds": wall, "processor_seconds": processor, "peak_mib": (_status("VmHWM") - loaded) / 1024}
        print(json.dumps({**numbers, **took}), file=told, flush=True)


def _forget_peak() -> None:
    """Let the kernel count the peak from now on (Linux)."""
    if STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")


def _status(key: str) -> float:
    """A line of /proc/self/status in KiB."""
    if not STATUS.exists():
        return float("nan")
    return float(next(line for line in STATUS.read_text().splitlines() if line.startswith(key)).split()[1])
