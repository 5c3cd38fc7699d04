"""`make bench`: how fast the product is on this machine, as a table and as data/benchmarks.json.

`make bench ONLY="desk against_trl"` measures a part.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

from app.config import ROOT
from tests.benchmarks import against_trl, ppo, sampling, serving_labelers
from tests.benchmarks.forms import forms
from tests.benchmarks.hh_harmless import hh_harmless
from tests.benchmarks.hygiene import hygiene, importing
from tests.benchmarks.personal_data import personal_data
from tests.benchmarks.rounds import line
from tests.benchmarks.serving import serving
from tests.end_to_end.test_run import Run

Figure = tuple[str, float, str]  # what was measured, how much, of what


def starting(folder: Path) -> Iterator[Figure]:
    """`plumbline run` with the demo, from nothing and a second time."""
    run = Run(folder / "data")
    for name in ("first start, packages installed", "second start"):
        began = time.monotonic()
        run.start("--demo")
        yield name, time.monotonic() - began, "s"
        run.process.terminate()
        run.process.wait(60)
        run.process.stdout.close()


def desk(folder: Path) -> Iterator[Figure]:
    """40 and 200 labelers who claim, draft, skip and submit at once, on both databases."""
    report = folder / "desk.xml"
    pytest = [sys.executable, "-m", "pytest", "-q", "-o", "junit_family=xunit1", f"--junitxml={report}"]
    tests = ["tests/end_to_end/test_concurrency.py", "-k", "many_labelers"]
    subprocess.run([*pytest, *tests], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    for case in ElementTree.parse(report).iter("testcase"):
        parameters = case.get("name").partition("[")[2].rstrip("]")  # "sqlite-40"
        for found in case.iter("property"):
            yield f"desk, {parameters} labelers", float(found.get("value")), "requests/s"


def ranking(folder: Path) -> Iterator[Figure]:
    """Nine completions of 4,000 characters in a browser: what a key waits for, and the longest task (50 ms at most)."""
    report = folder / "ranking.xml"
    pytest = [sys.executable, "-m", "pytest", "-q", "-o", "junit_family=xunit1", f"--junitxml={report}"]
    subprocess.run([*pytest, "tests/benchmarks/test_ranking.py"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    for found in ElementTree.parse(report).iter("property"):
        yield found.get("name"), float(found.get("value")), "ms"


def training(folder: Path) -> Iterator[Figure]:
    """The miniature base network on a fortieth of its text, from the shell, one thread."""
    run_folder = folder / "base"
    train = [sys.executable, "-m", "training.train_base", "miniature_base", "--set", "corpus_words=60000"]
    subprocess.run(
        [*train, "--run-folder", str(run_folder)],
        cwd=ROOT,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    events = [json.loads(line) for line in (run_folder / "events.jsonl").read_text().splitlines()]
    times = [datetime.fromisoformat(event["at"]).timestamp() for event in events if event["kind"] == "progress"]
    tokens = events[-1]["result"]["base/tokens"]
    yield "base network, one thread", tokens / (times[-1] - times[0]), "tokens/s"


MEASURES = {
    measure.__name__: measure
    for measure in (starting, desk, ranking, training, serving, forms, hh_harmless, personal_data, hygiene, importing)
}
COMPARISONS = {  # ours and a peer in turn
    "serving_labelers": serving_labelers.rows,
    "against_trl": against_trl.rows,
    "ppo": ppo.rows,
    "sampling": sampling.rows,
}


def main(only: list[str]) -> None:
    """Measure everything, or what is named, and print it."""
    unknown = set(only) - {*MEASURES, *COMPARISONS}
    if unknown:
        sys.exit(f"{', '.join(sorted(unknown))}: no such measure; there are {', '.join([*MEASURES, *COMPARISONS])}")
    figures: list[Figure] = []
    comparisons: list[dict] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for measure in (measure for key, measure in MEASURES.items() if not only or key in only):
            for name, value, unit in measure(Path(folder)):
                figures.append((name, value, unit))
                print(f"{name:<45} {value:>10.1f} {unit}", flush=True)
        for compare in (compare for key, compare in COMPARISONS.items() if not only or key in only):
            for name, numbers in compare(Path(folder)):
                comparisons.append({"name": name, **{key: round(value, 3) for key, value in numbers.items()}})
                print(line(name, numbers), flush=True)
    path = ROOT / "data" / "benchmarks.json"
    path.parent.mkdir(exist_ok=True)
    machine = {"python": platform.python_version(), "system": platform.platform(), "cores": os.cpu_count()}
    rows = [{"name": name, "value": round(value, 2), "unit": unit} for name, value, unit in figures]
    path.write_text(json.dumps({"machine": machine, "figures": rows, "comparisons": comparisons}, indent=2) + "\n")
    print(f"written to {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
