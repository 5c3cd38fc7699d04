"""What goes wrong while one rates and ranks: no network, two tabs, a session that ends."""

import re

from app.assignments.tables import Draft
from app.comparisons.tables import Comparison
from tests.browser.day import copies, expire_sessions, going_on, rows, sign_in_again, until
from tests.browser.ranking import begin, board, handed_in, on_the_board, rate, ready, stored_rows, tiers
from tests.desk import make_round


def ratings() -> str:
    """What the draft says of the completions, in their order."""
    [draft] = rows(Draft)
    said = draft.content.get("completions", {})
    return "".join(str(said.get(letter, {}).get("rating") or "-") for letter in "ABC")


def test_the_network_is_cut_and_comes_back_in_the_middle(page, ana):
    make_round(1, k=3)
    begin(page, ana)
    ready(page, "Rate completion A")
    page.keyboard.press("5")
    until(page, lambda: ratings() == "5--")
    page.context.set_offline(True)
    ready(page, "Rate completion B")
    page.keyboard.press("3")
    ready(page, "Rate completion C")  # the next completion is in the page: no network is needed for it
    page.locator("#saved", has_text="No connection").wait_for()
    assert len(copies(page)) == 1
    page.keyboard.press("4")  # to the ranking, which the server makes
    page.locator("#saved[data-state=offline]").wait_for()
    assert page.get_by_role("heading", level=1, name="Rate completion C").is_visible(), "the page stays"
    page.context.set_offline(False)
    until(page, lambda: ratings() == "534")
    page.get_by_role("button", name=re.compile("^Next")).click()
    on_the_board(page)
    assert board(page) == "1:A 2:C 3:B"
    page.context.set_offline(True)
    page.keyboard.press("b")
    page.keyboard.press("1")
    page.keyboard.press("Control+Enter")
    page.locator("#saved", has_text="not sent yet").wait_for()
    assert board(page) == "1:AB 2:C" and rows(Comparison) == []
    page.context.set_offline(False)
    page.locator("#saved", has_text="Saved").wait_for()
    page.keyboard.press("Control+Enter")
    handed_in(page)
    assert tiers() == "112" and [row.rating for row in stored_rows()] == [5, 3, 4]
    assert copies(page) == []


def test_two_tabs_ask_which_order_stands(page, ana):
    make_round(1, k=3)
    begin(page, ana)
    ready(page, "Rate completion A")
    page.keyboard.press("f")
    rate(page, "765")
    other = page.context.new_page()
    other.goto(page.url)
    on_the_board(other)
    other.keyboard.press("c")
    other.keyboard.press("1")
    until(page, lambda: rows(Draft)[0].content["completions"]["C"]["tier"] == 1)
    page.keyboard.press("b")
    page.keyboard.press("1")
    alert = page.get_by_role("alert")
    alert.get_by_text("changed elsewhere").wait_for()
    assert board(page) == "1:AB 3:C", "nothing is overwritten unasked"
    here, there = alert.locator(".raw").all_inner_texts()
    assert here.splitlines() == [
        "A: place 1, rated 7, Gives harmful advice",
        "B: place 1, rated 6",
        "C: place 3, rated 5",
    ]
    assert there.splitlines() == [
        "A: place 1, rated 7, Gives harmful advice",
        "B: place 2, rated 6",
        "C: place 1, rated 5",
    ]
    alert.get_by_role("button", name="Use the other version").click()
    until(page, lambda: board(page) == "1:AC 2:B")
    page.keyboard.press("Control+Enter")
    handed_in(page)
    assert tiers() == "121"
    other.keyboard.press("b")
    other.keyboard.press("3")
    other.keyboard.press("Control+Enter")
    other.get_by_role("alert").wait_for()
    assert tiers() == "121" and len(rows(Comparison)) == 1, "it is handed in once"


def test_an_order_in_the_browser_alone_is_offered_without_a_word_of_ratings_that_it_does_not_hold(page, ana):
    make_round(1, k=3)
    url = begin(page, ana)
    rate(page, "765")
    page.context.set_offline(True)
    page.keyboard.press("c")
    page.keyboard.press("1")
    page.locator("#saved", has_text="No connection").wait_for()
    context = page.context
    page.close(run_before_unload=False)
    context.set_offline(False)
    again = context.new_page()
    again.goto(url)
    again.locator("#standing").get_by_text("that never reached the server").wait_for()
    here, there = again.locator("#standing .raw").all_inner_texts()
    assert here.splitlines() == ["A: place 1", "B: place 2", "C: place 1"]
    assert there.splitlines() == ["A: place 1", "B: place 2", "C: place 3"]
    again.get_by_role("button", name="Use this version").click()
    until(again, lambda: board(again) == "1:AC 2:B")
    assert ratings() == "765"


def test_a_session_that_expires_in_mid_ranking_keeps_the_order(page, ana):
    make_round(1, k=3)
    begin(page, ana)
    rate(page, "765")
    expire_sessions()
    page.keyboard.press("b")
    page.keyboard.press("3")
    page.keyboard.press("Control+Enter")
    page.locator("#saved").get_by_role("link", name="Sign in").click()
    sign_in_again(page, ana)
    on_the_board(page)
    assert board(page) == "1:A 3:BC" and rows(Comparison) == []
    with going_on(page):
        page.keyboard.press("Control+Enter")
    assert tiers() == "122"
