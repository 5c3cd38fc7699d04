"""docs/import.md: every example row is imported without a bad row, and every prompt of them goes over REST too."""

import json
import re

import pytest

from app.comparisons.formats import ComparisonFormat
from app.comparisons.imports import import_comparisons
from app.completions.imports import import_completions
from app.config import ROOT
from app.prompts.imports import PromptDefaults, import_prompts

BLOCKS = dict(re.findall(r"```jsonl ([\w-]+)\n(.*?)```", (ROOT / "docs" / "import.md").read_text(), re.DOTALL))


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_rows_of_the_guide_are_good(database, tmp_path):
    assert set(BLOCKS) == {"prompts", "completions", *ComparisonFormat}
    for kind, text in BLOCKS.items():
        path = tmp_path / f"{kind}.jsonl"
        path.write_text(text)
        if kind == "prompts":
            defaults = PromptDefaults("mine", owner_field="customer")
            report = import_prompts(path, as_csv=False, defaults=defaults)
        elif kind == "completions":
            report = import_completions(path, as_csv=False, policy="a")
        else:
            report = import_comparisons(path, format=ComparisonFormat(kind), defaults=PromptDefaults(kind))
        assert report.problems == []
        assert report.left_out == []
        assert report.added >= report.rows > 0


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_row_of_prompts_goes_over_rest(client, people):
    olga = people.bearer(people.admin())
    for line in BLOCKS["prompts"].splitlines():
        stored = client.post("/api/v1/prompts", json=json.loads(line.replace("customer", "owner")), headers=olga)
        assert stored.status_code == 201, (line, stored.text)
    assert len(stored.json()["items"]) == 2, "each of its instances is a prompt"
