"""`plumbline import` and `plumbline round`: from files to an open round, as a person types it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import cli
from app.errors import BadInput, Conflict, NotFound


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(cli, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def as_json(*words: str, code: int = 0):
    return json.loads(run(*words, "--json", code=code))


@pytest.fixture
def files(database, tmp_path) -> Path:
    questions = [f"Question {number}?" for number in range(6)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in questions))
    for name in ("a", "b"):
        rows = [{"prompt": text, "completion": f"{name} says {text}"} for text in questions]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "Other?", "chosen": "x", "rejected": "y"}\n')
    return tmp_path


def test_from_files_to_a_closed_round(files):
    assert "6 prompts would be added" in run("import", "prompts", files / "prompts.jsonl", "--dry-run")
    assert "6 prompts added" in run("import", "prompts", files / "prompts.jsonl", "--collection", "mine")
    assert as_json("import", "prompts", files / "prompts.jsonl")["known"] == 6
    for name in ("a", "b"):
        assert "6 completions added" in run("import", "completions", files / f"{name}.jsonl", "--policy", name)
    assert "1 comparisons added" in run("import", "comparisons", files / "pairs.jsonl", "--format", "pairs")

    made = as_json(
        "round", "create", "One", "--collection", "mine", "--comparisons", "4", "--policy", "a", "--policy", "b:1"
    )
    assert made["items"] == {"comparison": 4}
    assert made["plan"]["policies"] == [{"policy": "a"}, {"policy": "b", "count": 1}]
    assert made["state"] == "draft"
    assert as_json("round", "open", "1")["assignments"] == {"open": 4, "leased": 0, "submitted": 0}
    assert "open" in run("round", "list")
    assert as_json("round", "close", "1")["state"] == "closed"
    both = as_json("round", "create", "Two", "--demonstrations", "0", "--comparisons", "0", "--fresh", "--open")
    assert both["items"] == {"demonstration": 7, "comparison": 3}
    assert [round["number"] for round in as_json("round", "list")] == [2, 1]
    assert "held-out" in run("round", "show", "2")


def test_a_bad_file_fails_and_says_where(files):
    bad = files / "bad.jsonl"
    bad.write_text('{"prompt": "One?"}\n{"prompt": 7}\n')
    said = run("import", "prompts", bad, code=1)
    assert "line 2: prompt: prompt is int, not text" in said
    assert "Nothing was imported" in said
    assert as_json("import", "prompts", bad, code=1)["problems"][0]["line"] == 2
    assert "1 prompts added" in run("import", "prompts", bad, "--skip-bad")


def test_what_does_not_work_says_why(files, tmp_path):
    with pytest.raises(NotFound, match="no round 7"):
        run("round", "open", "7")
    with pytest.raises(BadInput, match="at least one of them"):
        run("round", "create", "Nothing")
    run("import", "prompts", files / "prompts.jsonl")
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"demonstrations": {"count": 2}, "comparison": {}}))
    with pytest.raises(BadInput, match="comparison: Extra inputs"):
        run("round", "create", "Planned", "--plan", plan)
    plan.write_text(json.dumps({"demonstrations": {"count": 2}}))
    assert as_json("round", "create", "Planned", "--plan", plan)["items"] == {"demonstration": 2}
    run("round", "open", "1")
    with pytest.raises(Conflict):
        run("round", "prepare", "1")


def test_a_policy_is_named_with_or_without_its_count(files):
    run("import", "prompts", files / "prompts.jsonl")
    for asked, says in {
        "big": "no policy “big”",
        "big:²": "no policy “big:²”",
        "big:v2": "no policy “big:v2”",
        "big:v2:3": "no policy “big:v2”",
        "big:0": "--policy big:0: count: .*greater than or equal to 1",
        "big:12": "--policy big:12: count: .*less than or equal to 9",
    }.items():
        with pytest.raises(BadInput, match=says):
            run("round", "create", "Named", "--comparisons", "0", "--policy", asked)
