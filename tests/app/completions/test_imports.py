"""Importing completions: prompts are found by text, empty ones are kept out, twice adds nothing."""

import json
from pathlib import Path

import pytest
from sqlalchemy import func, select

from app.completions.imports import import_completions
from app.completions.tables import Completion
from app.database import reading, transaction
from app.errors import BadInput
from app.policies import queries as policy_queries
from app.policies import rules as policies
from app.policies.tables import PolicyKind
from app.prompts.imports import PromptDefaults, import_prompts
from app.prompts.rules import add as add_prompt
from app.prompts.tables import PromptCollection, PromptSource

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"


def jsonl(path: Path, *rows) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def bank(*texts: str) -> None:
    with transaction() as session:
        for text in texts:
            add_prompt(session, messages=[{"role": "user", "text": text}], source=PromptSource.CUSTOMER)


def stored() -> list[tuple[str, str, str]]:
    with reading() as session:
        found = session.scalars(select(Completion).order_by(Completion.id))
        return [(one.prompt.messages[-1]["text"], one.policy.name, one.text) for one in found]


def test_rows_name_their_prompt_by_text_in_any_shape(database, tmp_path):
    bank("One?", "Do it.\n\nx", "Three?")
    path = jsonl(
        tmp_path / "answers.jsonl",
        {"prompt": " One?\n", "completion": " First. "},
        {"instruction": "Do it.", "input": "x", "prompt": "Do it.\n\nInput: x\nOutput:", "response": "Done."},
        {"messages": [{"role": "user", "content": "Three?"}, {"role": "assistant", "content": "Third."}]},
        {"prompt": "One?", "text": "Another.", "policy": "b"},
    )
    report = import_completions(path, as_csv=False, policy="a")
    assert (report.rows, report.added, report.problems, report.left_out) == (4, 4, [], [])
    assert stored() == [
        ("One?", "a", " First. "),
        ("Do it.\n\nx", "a", "Done."),
        ("Three?", "a", "Third."),
        ("One?", "b", "Another."),
    ]
    with reading() as session:
        assert policy_queries.by_name(session, "a").kind is PolicyKind.IMPORTED
    again = import_completions(path, as_csv=False, policy="a")
    assert (again.added, again.known, again.written) == (0, 4, False)
    assert len(stored()) == 4


def test_bad_rows_stop_it_and_empty_completions_are_left_out(database, tmp_path):
    bank("One?")
    path = jsonl(
        tmp_path / "answers.jsonl",
        {"prompt": "One?", "completion": "Fine."},
        {"prompt": "Unknown?", "completion": "Fine."},
        {"prompt": "One?"},
        {"prompt": "One?", "completion": "  "},
        {"prompt": "One?", "completion": None},
        {"prompt": "One?", "completion": 7},
        {"prompt": "One?", "completion": "a\u0000"},
        "nonsense",
        {"instruction": "x", "instances": [{"input": "a"}, {"input": "b"}], "completion": "c"},
    )
    report = import_completions(path, as_csv=False, policy="a")
    assert stored() == []
    assert [(one.line, one.field) for one in report.problems] == [
        (2, "prompt"),
        (3, "completion"),
        (6, "completion"),
        (7, "completion"),
        (8, "line"),
        (9, "instances"),
    ]
    assert [one.line for one in report.left_out] == [4, 5]
    assert import_completions(path, as_csv=False, policy="a", skip_bad=True).written
    assert stored() == [("One?", "a", "Fine.")]


def test_unknown_prompts_are_added_if_asked(database, tmp_path):
    path = jsonl(tmp_path / "answers.jsonl", *({"prompt": f"{n}?", "completion": f"{n}."} for n in (1, 2, 1)))
    dry = import_completions(path, as_csv=False, policy="a", add_prompts=PromptDefaults("mine"), dry_run=True)
    assert (dry.added, dry.known, stored()) == (2, 1, [])
    report = import_completions(path, as_csv=False, policy="a", add_prompts=PromptDefaults("mine"))
    assert (report.added, report.known) == (2, 1)
    with reading() as session:
        assert set(session.scalars(select(PromptCollection.name))) == {"mine"}


def test_nobody_imports_in_the_name_of_people(database, tmp_path):
    bank("One?")
    path = jsonl(tmp_path / "answers.jsonl", {"prompt": "One?", "completion": "x"})
    for name in ("people", "held-out people"):
        with pytest.raises(BadInput, match=f"“{name}” is reserved for what labelers write"):
            import_completions(path, as_csv=False, policy=name)
    assert stored() == []
    with transaction() as session:
        assert policies.people(session).kind is PolicyKind.PEOPLE, "the name was not taken"


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")
def test_the_answers_of_8_models_to_252_instructions(database):
    folder = DATA / "user_oriented"
    import_prompts(folder / "instructions.jsonl", as_csv=False, defaults=PromptDefaults("user_oriented"))
    empty = {}
    for path in sorted(folder.glob("*.jsonl")):
        if path.stem != "instructions":
            report = import_completions(path, as_csv=False, policy=path.stem)
            assert (report.problems, report.rows, report.known) == ([], 252, 0)
            assert report.added + len(report.left_out) == 252
            empty[path.stem] = len(report.left_out)
    assert {name: count for name, count in empty.items() if count} == {
        "davinci-self-instruct-and-superni-ft": 2,
        "davinci-superni-ft": 1,
        "davinci-t0-ft": 48,
    }
    with reading() as session:
        assert len(policy_queries.policies(session)) == 8
        assert session.scalar(select(func.count()).select_from(Completion)) == 252 * 8 - 51
