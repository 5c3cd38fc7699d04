"""docs/training-correctness.md lacks no row, and every test that it names exists."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "training-correctness.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE)


def test_every_named_test_exists():
    assert len(NAMED) > 60
    for path, name in NAMED:
        assert re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path}::{name}"


def test_each_of_the_28_rows_has_its_test():
    rows = re.findall(r"^\| (\d+) \|(.*)$", PAGE, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 29))
    without = [int(number) for number, text in rows if "::test_" not in text]
    assert without == [19]  # proven by the test of 18
