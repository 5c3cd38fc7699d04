"""docs/architecture.md names every file of training/ and every feature of app/, and nothing that is not there."""

import re

from app.config import ROOT

TEXT = (ROOT / "docs" / "architecture.md").read_text()
PLAIN = {"__init__.py", "__main__.py"}


def test_every_file_of_training_has_a_caption():
    """Files named on one row of the table share its folder."""
    named = set()
    for row in re.findall(r"^\| (`[a-z_/]+\.py`.*?) \|", TEXT, re.MULTILINE):
        files = re.findall(r"`([a-z_/]+\.py)`", row)
        folder = files[0].rpartition("/")[0]
        named |= {file if "/" in file or not folder else f"{folder}/{file}" for file in files}
    there = {str(path.relative_to(ROOT / "training")) for path in (ROOT / "training").rglob("*.py")}
    assert {file for file in there if file.rpartition("/")[2] not in PLAIN} == named - {
        "tables.py", "queries.py", "rules.py", "schemas.py", "pages.py", "api.py", "tasks.py", "commands.py",
    }  # fmt: skip


def test_every_feature_of_app_is_listed():
    """A feature is a folder of app/ but for what all of them share."""
    features = {path.parent.name for path in (ROOT / "app").glob("*/__init__.py")} - {"kit", "web"}
    assert all(f"`{feature}`" in TEXT for feature in features), features
    odd = set(re.findall(r"`([a-z_]+)`:", TEXT))
    assert odd <= {path.stem for path in (ROOT / "app").rglob("*.py")}, "names that need a word are names of files"
