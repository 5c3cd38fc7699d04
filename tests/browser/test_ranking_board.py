"""What the keys of the board do, what it says, and what it refuses."""

import re

import pytest

from app.assignments.tables import Draft
from app.database import reading
from tests.browser.ranking import begin, board, card, chosen, handed_in, on_the_board, put, rate, ready, said, tiers
from tests.desk import make_round


@pytest.fixture
def ranked(page, ana):
    """A board of five, of which two share a rating: "1:A 2:BC? 4:D 5:E"."""
    make_round(1, k=5)
    begin(page, ana)
    rate(page, "75532")
    assert board(page) == "1:A 2:BC? 4:D 5:E"
    return page


def press(page, *keys: str) -> str:
    """Press keys, then read the board."""
    for key in keys:
        page.keyboard.press(key)
    return board(page)


def test_it_starts_at_what_is_undecided_and_says_so(ranked):
    assert chosen(ranked) == "C", "the second of the two: does it tie with the one above?"
    assert said(ranked) == "C, tier 2 of 5, undecided with B"
    assert "undecided" in ranked.locator("#board > li.open").inner_text()
    key = ranked.locator("#board .question:visible kbd")
    assert key.is_visible()
    ranked.keyboard.press("a")
    assert not key.is_visible(), "a key is printed where it works: for the tier of the chosen card"


def test_a_tie_is_said_and_lower_ones_stay(ranked):
    assert press(ranked, "=") == "1:A 2:BC 4:D 5:E"
    assert said(ranked) == "C, tier 2 of 5, tied with B"
    assert press(ranked, "d", "t") == "1:A 2:BCD 5:E", "t is the twin of ="
    assert said(ranked) == "D, tier 2 of 5, tied with B, C"


def test_shift_and_arrows_go_through_ties_and_tiers_of_their_own(ranked):
    steps = [press(ranked, "Shift+ArrowUp") for _ in range(4)]
    assert steps == ["1:A 2:C 3:B 4:D 5:E", "1:AC 3:B 4:D 5:E", "1:C 2:A 3:B 4:D 5:E", "1:C 2:A 3:B 4:D 5:E"]
    assert press(ranked, "e", "Shift+ArrowDown") == "1:C 2:A 3:B 4:D 5:E", "there is nothing below the last"
    ranked.keyboard.press("c")
    steps = [press(ranked, "Shift+ArrowDown") for _ in range(3)]
    assert steps == ["2:AC 3:B 4:D 5:E", "1:A 2:C 3:B 4:D 5:E", "1:A 3:BC 4:D 5:E"]


def test_a_tier_of_its_own_unacceptable_and_undo(ranked):
    assert press(ranked, "n") == "1:A 2:B 3:C 4:D 5:E"
    assert press(ranked, "e", "x") == "1:A 2:B 3:C 4:D x:E" and said(ranked) == "E, unacceptable"
    assert press(ranked, "d", "1") == "1:AD 2:B 3:C x:E" and said(ranked) == "D, tier 1 of 5, tied with A"
    assert [press(ranked, "u") for _ in range(4)] == [
        "1:A 2:B 3:C 4:D x:E",
        "1:A 2:B 3:C 4:D 5:E",
        "1:A 2:BC? 4:D 5:E",
        "1:A 2:BC? 4:D 5:E",
    ]
    assert said(ranked) == "Nothing to undo."


def test_a_whole_tier_can_be_called_a_tie(page, ana):
    make_round(1, k=9)
    begin(page, ana)
    rate(page, "444444444")
    assert board(page) == "1:ABCDEFGHI?"
    page.get_by_role("button", name=re.compile("^Mark as tied")).click()
    assert board(page) == "1:ABCDEFGHI"
    assert press(page, "u") == "1:ABCDEFGHI?" and press(page, "w") == "1:ABCDEFGHI"
    page.keyboard.press("Control+Enter")
    handed_in(page)
    assert tiers() == "1" * 9


def test_what_is_undecided_is_refused_with_words_and_shown(ranked):
    ranked.get_by_role("button", name=re.compile("^(Submit and|Confirm order)")).first.click()
    assert said(ranked) == "Undecided: B, C. Mark each group as tied, or put it in order."
    assert chosen(ranked) == "C" and "/assignments/" in ranked.url
    press(ranked, "3")
    ranked.keyboard.press("Control+Enter")
    handed_in(ranked)
    assert tiers() == "12345"


def test_what_is_not_rated_waits_to_be_placed(page, ana):
    make_round(1, k=3)
    begin(page, ana)
    ready(page, "Rate completion A")
    page.keyboard.press("5")
    ready(page, "Rate completion B")
    page.keyboard.press("q")
    page.keyboard.press("ArrowRight")
    ready(page, "Rate completion C")
    page.keyboard.press("]")
    on_the_board(page)
    assert board(page) == "-:BC 1:A" and said(page) == "B, not placed yet"
    page.keyboard.press("Control+Enter")
    assert said(page).startswith("Not ranked yet: B, C.")
    assert press(page, "2", "2") == "1:A 2:BC"
    page.keyboard.press("Control+Enter")
    handed_in(page)
    from app.comparisons.tables import ComparedCompletion

    with reading() as session:
        a, b, c = session.query(ComparedCompletion).order_by(ComparedCompletion.shown_position).all()
    assert set(a.flags.values()) == {False} and b.flags == {"fails_task": True} and c.flags == {}
    assert (b.rating, c.rating) == (None, None), "what the arrows left stays unanswered"


def test_the_board_is_found_again_as_it_was_left(ranked):
    left = press(ranked, "=", "e", "1", "d", "x")
    assert left == "1:AE 2:BC x:D"
    ranked.wait_for_function("document.getElementById('saved').innerText.startsWith('Saved')")
    for _ in range(50):
        with reading() as session:
            answers = session.query(Draft).one().content["completions"]
        if answers["D"].get("unacceptable"):
            break
        ranked.wait_for_timeout(100)
    ranked.reload()
    on_the_board(ranked)
    assert board(ranked) == left


def test_a_rating_that_changes_before_anything_is_moved_changes_the_seeds(ranked):
    ranked.get_by_role("button", name=re.compile("^Completion E, done")).click()
    ready(ranked, "Rate completion E")
    ranked.keyboard.press("6")
    on_the_board(ranked)
    assert board(ranked) == "1:A 2:E 3:BC? 5:D"


def test_hints_are_said_and_stop_nobody(page, ana):
    make_round(1, k=5, text="word " * 200)
    begin(page, ana)
    rate(page, "75532")
    ranked = page
    assert ranked.locator("#odd li").count() == 0
    assert "at least 1 min 4" in ranked.locator("#too-fast").inner_text(), "a thousand words in no time"
    press(ranked, "=", "e", "1")
    hints = ranked.locator("#odd li").all_inner_texts()
    assert hints == [f"{one} is rated 5 but ranked below E, rated 2." for one in "BC"]
    ranked.locator("[name=active_seconds]").evaluate("counter => { counter.value = 3000; }")
    ranked.locator("#too-fast").wait_for(state="hidden")
    ranked.keyboard.press("Control+Enter")
    handed_in(ranked)
    assert tiers() == "12231"


def test_two_are_compared_word_by_word_and_one_is_read_whole(page, ana):
    make_round(1, k=3, text="It <b>runs</b> <script>window.hacked = 1</script> to the `sea`,")
    begin(page, ana)
    rate(page, "765")
    for letter in "ca":
        page.keyboard.press(letter)
        page.keyboard.press("m")
    page.keyboard.press("c")
    assert chosen(page) == "C", "a letter of a completion means that completion, whatever is marked"
    page.keyboard.press("a")
    page.keyboard.press("v")
    dialog = page.get_by_role("dialog")
    dialog.locator("mark").nth(1).wait_for()
    assert dialog.locator("h3").all_inner_texts() == ["Completion A", "Completion C"]
    assert [len(found) for found in dialog.locator("mark").all_inner_texts()] == [2, 2], "a digit and its space"
    assert "<script>window.hacked = 1</script>" in dialog.inner_text() and page.evaluate("window.hacked") is None
    assert page.evaluate("document.activeElement.id") == "peek-heading"
    page.keyboard.press("Escape")
    assert chosen(page) == "A"
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    page.keyboard.press("Space")
    dialog.get_by_role("heading", name="Completion B").wait_for()
    page.keyboard.press("Space")
    dialog.wait_for(state="hidden")
    assert chosen(page) == "B" and page.locator(".slip.marked").count() == 0


def test_keys_are_dead_while_one_types(ranked):
    notes = ranked.get_by_label("Notes (optional)")
    notes.focus()
    ranked.keyboard.type("a x n = u 1 w")
    assert notes.input_value() == "a x n = u 1 w" and board(ranked) == "1:A 2:BC? 4:D 5:E"


def test_a_drag_that_is_let_go_outside_changes_nothing(ranked):
    box = card(ranked, "E").bounding_box()
    ranked.mouse.move(box["x"] + 60, box["y"] + 10)
    ranked.mouse.down()
    ranked.mouse.move(5, 5, steps=5)
    ranked.mouse.up()
    assert board(ranked) == "1:A 2:BC? 4:D 5:E"
    put(ranked, 1).click()
    assert board(ranked) == "1:AE 2:BC? 4:D"
