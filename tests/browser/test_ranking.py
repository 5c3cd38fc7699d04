"""Rating and ranking from the first completion to the row: by few keys, by mouse, by touch, by Tab, without scripts."""

import re

import pytest

from app.comparisons.tables import SeededOrder
from tests.browser.ranking import (
    LETTERS,
    begin,
    board,
    card,
    chosen,
    handed_in,
    on_the_board,
    put,
    rate,
    ready,
    said,
    stored,
    stored_rows,
    tiers,
)
from tests.desk import make_round


@pytest.mark.parametrize(
    "ratings, wanted",
    [
        ("444444444", "928374651"),  # all alike, and yet a strict order
        ("444444444", "113355779"),  # all alike, in ties
        ("776655443", "113355779"),  # four questions, all of them ties
        ("776655443", "213456879"),  # and each of them split
        ("123456777", "987654123"),
    ],
)
def test_nine_are_rated_and_ranked_in_nine_and_nine_and_two_keys(page, ana, ratings, wanted):
    make_round(1, k=9)
    begin(page, ana)
    pressed = {"rating": 0, "ranking": 0, "other": 0}

    def press(key: str, kind: str) -> None:
        page.keyboard.press(key)
        pressed[kind] += 1

    for letter, rating in zip(LETTERS, ratings, strict=True):
        ready(page, f"Rate completion {letter}")
        press(rating, "rating")
    on_the_board(page)
    while "?" in board(page):
        press(wanted[LETTERS.index(chosen(page))], "ranking")
    press("Control+Enter", "other")
    handed_in(page)
    assert pressed["rating"] <= 9 and pressed["ranking"] <= 9 and pressed["other"] <= 2, pressed
    order = sorted(set(wanted))
    assert tiers() == "".join(str(order.index(tier) + 1) for tier in wanted)
    with_flags = [(row.rating, set(row.flags.values())) for row in stored_rows()]
    assert with_flags == [(int(rating), {False}) for rating in ratings], "going on answered no to every flag"


def test_by_mouse(page, ana):
    make_round(1, k=4)
    begin(page, ana)
    for letter, rating in zip("ABCD", (6, 2, 4, 4), strict=True):
        ready(page, f"Rate completion {letter}")
        panel = page.locator(f".panel[data-letter={letter}]")
        if letter == "B":
            panel.get_by_role("checkbox", name=re.compile("^Fails to follow")).check()
        panel.get_by_role("radio", name=str(rating), exact=True).check()
        page.get_by_role("button", name=re.compile(r"^Next \(no other flags\)")).click()
    on_the_board(page)
    assert board(page) == "1:A 2:CD? 4:B"
    drag(page, "D", 3)
    assert board(page) == "1:A 2:C 3:D 4:B" and said(page) == "D, tier 3 of 4"
    drag(page, "D", 1)
    assert board(page) == "1:AD 2:C 4:B" and said(page) == "D, tier 1 of 4, tied with A"
    drag(page, "C", 1, part=0.02)  # onto the upper edge: a tier of its own, above
    assert board(page) == "1:C 2:AD 4:B"
    drag(page, "B", "bad")
    assert board(page) == "1:C 2:AD x:B"
    page.get_by_role("button", name=re.compile("^Undo")).click()
    page.get_by_role("button", name=re.compile("^Undo")).click()
    assert board(page) == "1:AD 2:C 4:B"
    card(page, "B").click()
    put(page, 3).click()
    page.get_by_role("button", name=re.compile("^Submit and continue")).click()
    handed_in(page)
    assert tiers() == "1321" and stored().seeded_order is SeededOrder.EDITED


def drag(page, letter: str, tier: int | str, part: float = 0.5) -> None:
    """Drag a card with the mouse onto a row, at this part of its height."""
    page.locator("#board").scroll_into_view_if_needed()
    start = card(page, letter).bounding_box()
    page.mouse.move(start["x"] + start["width"] / 2, start["y"] + start["height"] / 2)
    page.mouse.down()
    end = page.locator(f"#board > li[data-tier='{tier}']").bounding_box()
    x, y = end["x"] + end["width"] / 2, end["y"] + end["height"] * part
    page.mouse.move(x, y - 8)
    page.mouse.move(x, y, steps=4)
    page.mouse.up()


@pytest.fixture
def phone(browser, live):
    context = browser.new_context(
        base_url=live, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, locale="en"
    )
    context.set_default_timeout(30_000)
    tab = context.new_page()
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    yield tab
    assert not errors, errors


def test_by_touch(phone, ana):
    make_round(1, k=3)
    begin(phone, ana)
    for letter, rating in zip("ABC", (5, 5, 3), strict=True):
        ready(phone, f"Rate completion {letter}")
        phone.locator(f".panel[data-letter={letter}] .scale label").nth(rating - 1).tap()
        phone.get_by_role("button", name=re.compile("^Next")).tap()
    on_the_board(phone)
    assert board(phone) == "1:AB? 3:C"
    phone.get_by_role("button", name=re.compile("^Show full text")).tap()
    phone.get_by_role("dialog").get_by_role("button", name="Close").tap()
    card(phone, "B").locator(".pick").tap()  # every drag has a tap that does the same
    put(phone, 2).tap()
    assert board(phone) == "1:A 2:B 3:C"
    drag_with_a_finger(phone, "C", 1)
    assert board(phone) == "1:AC 2:B" and said(phone) == "C, tier 1 of 3, tied with A"
    phone.get_by_role("button", name=re.compile("^Submit and stop")).tap()
    handed_in(phone)
    assert tiers() == "121"


def drag_with_a_finger(page, letter: str, tier: int) -> None:
    """Drag a card by its grip, as a finger does."""
    page.locator("#board").scroll_into_view_if_needed()
    devtools = page.context.new_cdp_session(page)
    start = card(page, letter).locator(".grip").bounding_box()
    end = page.locator(f"#board > li[data-tier='{tier}']").bounding_box()
    from_y, to_y = (box["y"] + box["height"] / 2 for box in (start, end))
    x = start["x"] + start["width"] / 2

    def touch(kind: str, *points: float) -> None:
        params = {"type": kind, "touchPoints": [{"x": x, "y": y} for y in points]}
        devtools.send("Input.dispatchTouchEvent", params)

    touch("touchStart", from_y)
    for step in range(1, 6):
        touch("touchMove", from_y + (to_y - from_y) * step / 5)
    page.wait_for_timeout(150)  # a finger that rests before it lifts flings nothing
    touch("touchMove", to_y + 1)
    touch("touchEnd")


def tab_to(page, matches: str) -> None:
    """Press Tab until the focused element's words match."""
    words = "(e => (e.getAttribute('aria-label') || e.innerText || '') + ' ' + e.name + '=' + e.value)"
    for _ in range(120):
        page.keyboard.press("Tab")
        if re.search(matches, page.evaluate(f"{words}(document.activeElement)")):
            return
    raise AssertionError(f"nothing to be reached by Tab matches {matches}")


def test_by_tab_enter_and_arrows_alone(page, ana):
    """As a screen reader's user works: single keys switched off."""
    make_round(1, k=2)
    url = begin(page, ana)
    page.evaluate("localStorage.setItem('plumbline.keys', 'off')")
    page.goto(url)
    for letter, presses in (("A", 3), ("B", 3)):
        ready(page, f"Rate completion {letter}")
        page.keyboard.press("5")
        assert page.locator("[type=radio]:checked:visible").count() == 0, "single keys are switched off"
        tab_to(page, rf"rating\.{letter}=")
        page.keyboard.press("Space")
        for _ in range(presses):
            page.keyboard.press("ArrowRight")
        tab_to(page, "Next .no other flags.")
        page.keyboard.press("Enter")
    on_the_board(page)
    assert board(page) == "1:AB?"
    for key in ("1", "x", "="):
        page.keyboard.press(key)
    assert board(page) == "1:AB?", "single keys are switched off"
    page.locator("h1").evaluate("title => { title.tabIndex = -1; title.focus(); }")
    tab_to(page, "^B, tier 1 of 2, undecided with A")
    page.keyboard.press("Enter")
    page.locator("h1").focus()
    tab_to(page, "^Move B to tier 2")
    page.keyboard.press("Enter")
    assert board(page) == "1:A 2:B" and chosen(page) == "B"
    tab_to(page, "^Submit and continue")
    page.keyboard.press("Enter")
    handed_in(page)
    assert tiers() == "12"


def test_without_scripts(browser, live, ana):
    make_round(1, k=3)
    context = browser.new_context(base_url=live, java_script_enabled=False, locale="en")
    context.set_default_timeout(30_000)
    page = context.new_page()
    begin(page, ana)
    for letter, rating in (("A", 4), ("B", 4), ("C", 6)):
        page.get_by_role("heading", name=f"Rate completion {letter}").wait_for()
        assert page.locator(".completion:visible").count() == 1
        page.get_by_role("radio", name=str(rating), exact=True).check()
        page.get_by_role("button", name=re.compile("^Next")).click()
    page.get_by_role("heading", name="Rank the completions").wait_for()
    order = page.locator("#order")
    assert re.sub(r"\s+", " ", order.inner_text()).strip() == "1: C 2: A ? B undecided"
    hand_in = page.get_by_role("button", name=re.compile("^Confirm order and submit"))
    hand_in.click()
    assert "Undecided: A, B. Mark each" in page.get_by_role("alert").inner_text(), "no tie is invented"
    for letter in "AB":
        page.get_by_role("group", name=f"Place of {letter}").get_by_role("radio", name="2", exact=True).check()
    page.get_by_role("button", name=re.compile("^Submit and stop")).click()
    handed_in(page)
    assert tiers() == "221" and stored().seeded_order is SeededOrder.EDITED


def test_an_order_that_nobody_touched_is_confirmed_by_words(page, ana):
    make_round(1, k=3)
    begin(page, ana)
    rate(page, "264")
    assert board(page) == "1:B 2:C 3:A"
    page.get_by_role("button", name=re.compile("^Confirm order and submit")).click()
    handed_in(page)
    one = stored()
    assert tiers() == "312" and one.seeded_order is SeededOrder.CONFIRMED
    assert one.first_action_at <= one.submitted_at
