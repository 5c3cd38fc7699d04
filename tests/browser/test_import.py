"""From a file to an open round in a real browser, with the keyboard and without scripts."""

import json

import pytest
from sqlalchemy import select

from app.database import reading
from app.rounds.tables import Round, RoundState
from tests.browser.conftest import sign_in


@pytest.fixture
def files(tmp_path):
    def written(name: str, rows: list[dict]) -> str:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    questions = [f"Question {number} <b>?" for number in range(5)]
    return {
        "prompts": written("prompts.jsonl", [{"prompt": text} for text in questions] + [{"nothing": 1}]),
        "a": written("a.jsonl", [{"prompt": text, "completion": f"a: {text}"} for text in questions]),
        "b": written("b.jsonl", [{"prompt": text, "completion": f"b: {text}"} for text in questions]),
    }


def press(page, role: str, name: str, key: str = "Enter") -> None:
    """Go to a control and press a key, as one does with the keyboard alone."""
    control = page.get_by_role(role, name=name)
    control.focus()
    assert control.evaluate("element => element === document.activeElement")
    page.keyboard.press(key)


def test_from_a_file_to_an_open_round_by_keyboard(page, people, files):
    sign_in(page, people.admin())
    page.goto("/admin/prompts")
    press(page, "link", "Import")
    page.locator("[name=file]").set_input_files(files["prompts"])
    page.locator("[name=collection]").press_sequentially("mine")
    press(page, "button", "Check file")
    page.get_by_text("No prompt: a row needs prompt").wait_for()
    press(page, "button", "Import the 5 good rows anyway")
    page.get_by_text("Imported 5 (").wait_for()
    for name in ("a", "b"):
        page.goto("/admin/prompts/import?kind=completions")
        page.locator("[name=file]").set_input_files(files[name])
        page.locator("[name=policy]").press_sequentially(name)
        press(page, "button", "Check file")
        press(page, "button", "Import all 5")
        page.get_by_text("Imported 5 (").wait_for()
    page.goto("/admin/rounds")
    press(page, "link", "New round")
    page.wait_for_url("**/admin/rounds/new")
    page.keyboard.type("By keyboard")  # the name has the focus
    press(page, "checkbox", "mine", "Space")
    press(page, "button", "Create draft")
    page.get_by_text("Created a draft with 5 items").wait_for()
    press(page, "button", "Open round")
    page.get_by_text("0 of 5 answers submitted").wait_for()
    with reading() as session:
        assert session.scalars(select(Round)).one().state is RoundState.OPEN
