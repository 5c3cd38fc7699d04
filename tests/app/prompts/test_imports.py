"""Importing prompts: every bad row is told by line and field, and nothing is written until all is well."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import OperationalError

from app.accounts.tables import AuditEntry
from app.database import reading, transaction
from app.errors import BadInput
from app.kit import files, imports
from app.prompts.imports import PromptDefaults, import_prompts
from app.prompts.tables import Prompt, PromptSource
from training.contract.records import Split, UseCase

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"


def jsonl(path: Path, *rows) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def run(path: Path, **options):
    defaults = PromptDefaults(
        **{key: options.pop(key) for key in ("collection", "source", "owner", "owner_field") if key in options}
    )
    return import_prompts(path, as_csv=path.name.endswith(".csv"), defaults=defaults, **options)


def texts() -> list[str]:
    with reading() as session:
        return [prompt.messages[-1]["text"] for prompt in session.scalars(select(Prompt).order_by(Prompt.id))]


@pytest.fixture(params=[3, 500])
def chunk(request, monkeypatch) -> int:
    """How many rows are stored in one transaction; nothing that an import says or does depends on it."""
    monkeypatch.setattr(imports, "BATCH_ROWS", request.param)
    monkeypatch.setattr(imports, "PAUSE_SECONDS", 0)
    return request.param


def test_every_shape_of_row(database, tmp_path):
    path = jsonl(
        tmp_path / "prompts.jsonl",
        {"prompt": "One?", "owner": "acme", "use_case": "Open_QA", "source": "plain", "split": "valid"},
        {
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "text": "Yes?"},
                {"role": "user", "text": "Two?"},
            ]
        },
        {"instruction": "Three.\n", "input": " x "},
        {"instruction": "Four.", "input": ""},
        {"prompt": [{"role": "user", "content": "Five?"}]},
        {"instruction": "Six.", "instances": [{"input": "a", "output": "b"}, {"input": "c", "output": "d"}]},
        {
            "instruction": "Seven.",
            "input": "y",
            "prompt": "Seven.\n\nInput: y\nOutput:",
            "answers": {"closed_domain": True},
        },
        "",
    )
    report = run(path, collection="shapes")
    assert (report.rows, report.added, report.problems, report.written) == (8, 8, [], True)
    assert texts() == ["One?", "Two?", "Three.\n\n x ", "Four.", "Five?", "Six.\n\na", "Six.\n\nc", "Seven.\n\ny"]
    with reading() as session:
        one, two, *_, seven = session.scalars(select(Prompt).order_by(Prompt.id))
        assert (one.owner, one.use_case, one.source) == ("acme", UseCase.OPEN_QA, PromptSource.LABELER_PLAIN)
        assert one.split is Split.VALIDATION
        assert [message["role"] for message in two.messages] == ["user", "assistant", "user"]
        assert (two.source, two.collection) == (PromptSource.CUSTOMER, "shapes")
        assert seven.answers == {"closed_domain": True}


def test_every_bad_row_is_reported_and_nothing_written(database, tmp_path):
    path = jsonl(
        tmp_path / "prompts.jsonl",
        {"prompt": "Good one?"},
        {"text": "no prompt"},
        '{"prompt": "broken',
        {"prompt": "Odd?", "use_case": "poetry", "split": "training", "source": "web"},
        {"messages": [{"role": "user", "text": "x"}, {"role": "assistant", "text": "y"}]},
        {"prompt": "x\u0000y"},
        '["a list"]',
        {"prompt": "Good two?", "owner": "acme", "split": "train"},
        {"prompt": "Good three?", "owner": "acme", "split": "test"},
        {"prompt": "Answers?", "answers": {"nice": True}},
        {"prompt": ""},
    )
    report = run(path)
    assert not report.written
    assert texts() == []
    assert (report.rows, report.added, report.bad_rows) == (11, 2, 9)
    assert [(problem.line, problem.field) for problem in report.problems] == [
        (2, "prompt"),
        (3, "line"),
        (4, "source"),
        (4, "use_case"),
        (4, "split"),
        (5, "messages.1.role"),
        (6, "prompt"),
        (7, "line"),
        (9, "split"),
        (10, "answers"),
        (11, "prompt"),
    ]
    by_line = {problem.line: problem.message for problem in report.problems}
    assert "It has: text" in by_line[2]
    assert "“poetry”" in next(one.message for one in report.problems if one.field == "use_case")
    assert "acme" in by_line[9]
    good = run(path, skip_bad=True)
    assert good.written
    assert texts() == ["Good one?", "Good two?"]


def test_a_dry_run_writes_nothing_and_says_the_same(database, tmp_path, chunk):
    path = jsonl(tmp_path / "prompts.jsonl", {"prompt": "One?"}, {"prompt": "Two?"}, {"prompt": "One?"})
    dry = run(path, dry_run=True)
    assert texts() == []
    real = run(path)
    assert (dry.rows, dry.added, dry.known) == (real.rows, real.added, real.known) == (3, 2, 1)
    again = run(path)
    assert (again.added, again.known, again.written) == (0, 3, False)
    assert texts() == ["One?", "Two?"]


def test_an_import_that_breaks_off_keeps_what_is_stored_and_is_run_again(database, tmp_path, monkeypatch):
    path = jsonl(tmp_path / "prompts.jsonl", *({"prompt": f"Question {n}?"} for n in range(7)), {"prompt": "x" * 9999})
    monkeypatch.setattr(imports, "BATCH_ROWS", 2)
    begun = []

    def others_write_too():
        with transaction() as session:
            session.execute(update(Prompt).values(owner="elsewhere"))
        begun.append(path)
        if len(begun) == 3:
            raise OperationalError("BEGIN IMMEDIATE", {}, Exception("database is locked"))
        return transaction()

    monkeypatch.setattr(imports, "transaction", others_write_too)
    with pytest.raises(OperationalError):
        run(path)
    assert texts() == [f"Question {n}?" for n in range(4)]
    monkeypatch.setattr(imports, "transaction", transaction)
    report = run(path)
    assert (report.rows, report.added, report.known, len(report.left_out)) == (8, 3, 4, 1) and report.written
    assert texts() == [f"Question {n}?" for n in range(7)]
    with reading() as session:
        told = session.scalars(select(AuditEntry.detail).where(AuditEntry.action == "prompts.import"))
        assert [detail["added"] for detail in told] == [4, 3]


def test_rules_leave_rows_out_without_stopping_the_import(database, tmp_path, chunk):
    long = "Read this long beginning with care, it is the same in both. " * 5
    path = jsonl(
        tmp_path / "prompts.jsonl",
        {"prompt": long + "One?"},
        {"prompt": long + "Two?"},
        {"prompt": "word " * 2000},
        *({"prompt": f"Question {n}?", "owner": "acme"} for n in range(202)),
    )
    report = run(path)
    assert (report.added, report.written) == (201, True)
    assert [problem.line for problem in report.left_out] == [2, 3, 204, 205]
    assert sorted(report.reasons.values()) == [1, 1, 2] and report.left_out_rows == 4
    assert run(path, keep_similar=True).added == 1


def test_csv_rows_carry_the_line_they_start_on(database, tmp_path):
    path = tmp_path / "prompts.csv"
    path.write_bytes(
        b"\xef\xbb\xbfprompt,owner,use_case\r\n"
        b'"Two\r\nlines, and a comma",acme,chat\r\n'
        b"One,too,many,values\r\n"
        b",acme,chat\r\n"
        b"\xff\xfe,acme,chat\r\n"
        b"Last?,acme,nonsense\r\n"
        b"\r\n"
        b"Good?,,\r\n"
    )
    report = run(path)
    assert [(problem.line, problem.field) for problem in report.problems] == [
        (4, "line"),
        (5, "prompt"),
        (6, "line"),
        (7, "use_case"),
    ]
    assert run(path, skip_bad=True).added == 2
    assert texts() == ["Two\r\nlines, and a comma", "Good?"]


def test_csv_messages_are_json(database, tmp_path):
    path = tmp_path / "prompts.csv"
    path.write_text('messages\n"[{""role"": ""user"", ""text"": ""Hi?""}]"\n[broken\n')
    report = run(path, skip_bad=True)
    assert [(problem.line, problem.field) for problem in report.problems] == [(3, "messages")]
    assert texts() == ["Hi?"]


def test_gzip_is_read_and_a_cut_one_is_told(database, tmp_path):
    path = tmp_path / "prompts.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"prompt": "One?"}\n' * 3))
    assert run(path).added == 1
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(BadInput, match="cut off"):
        run(path)


def test_a_far_too_long_line_is_one_bad_row(database, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_LINE_BYTES", 100)
    path = jsonl(tmp_path / "prompts.jsonl", {"prompt": "One?"}, {"prompt": "x" * 1000}, {"prompt": "Three?"})
    report = run(path)
    assert [(problem.line, problem.field) for problem in report.problems] == [(2, "line")]
    assert report.added == 2


def test_owner_by_another_field(database, tmp_path):
    path = jsonl(
        tmp_path / "prompts.jsonl", {"prompt": "One?", "app": "Gmail"}, {"prompt": "Two?", "app": 7}, {"prompt": "3?"}
    )
    run(path, owner_field="app", owner="nobody")
    with reading() as session:
        assert list(session.scalars(select(Prompt.owner).order_by(Prompt.id))) == ["Gmail", "7", "nobody"]


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")
def test_the_user_oriented_instructions_are_252_prompts(database):
    path = DATA / "user_oriented" / "instructions.jsonl"
    options = {
        "collection": "user_oriented",
        "source": PromptSource.LABELER_USER_BASED,
        "owner_field": "motivation_app",
    }
    report = run(path, **options)
    assert (report.rows, report.added, report.known, report.left_out, report.problems) == (252, 252, 0, [], [])
    assert run(path, **options).known == 252
    with reading() as session:
        per_owner = session.execute(select(Prompt.owner, func.count(Prompt.split.distinct())).group_by(Prompt.owner))
        assert {count for _, count in per_owner} == {1}


@pytest.mark.parametrize("when", ["before it writes", "while it writes"])
def test_a_file_that_somebody_writes_to_is_refused_with_what_was_stored(database, tmp_path, monkeypatch, when):
    path = tmp_path / "growing.jsonl"
    monkeypatch.setattr(imports, "BATCH_ROWS", 2)
    path.write_text("".join(json.dumps({"prompt": f"Question {n}?"}) + "\n" for n in range(6)))
    seen = Counter()
    was = imports.fingerprint

    def grows(given):
        seen["looked"] += 1
        if seen["looked"] == {"before it writes": 2, "while it writes": 3}[when]:
            with path.open("a") as file:
                file.write('{"prompt": "half')
        return was(given)

    monkeypatch.setattr(imports, "fingerprint", grows)
    with pytest.raises(BadInput, match="changed while it was being imported"):
        run(path)
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(Prompt)) == (0 if when == "before it writes" else 2)
