"""How rating and ranking look and are reached: contrast, names, widths, targets, and texts of every kind."""

import pytest

from app.accounts.tables import Account
from app.database import transaction
from tests.browser.looks import too_wide, violations
from tests.browser.ranking import begin, board, on_the_board, rate, ready
from tests.desk import make_round

LONG = "word " * 300 + "unbrokenlongword" * 40 + "\n\n```python\n" + "x = 1  # " + "long " * 60 + "\n```\n"
PLAIN = "Words without any mark. " * 160
HEBREW = "הנהר עולה בגבעות ורץ אל הים. " * 20
SMALL = """() => [...document.querySelectorAll('main :is(button, label, summary, a, .grip)')]
  .filter(e => e.checkVisibility() && !e.closest('.markdown') && !e.matches('.visually-hidden, .as-written'))
  .map(e => [e.innerText || e.className, e.getBoundingClientRect()])
  .filter(([, box]) => box.width && (box.width < 24 || box.height < 24))
  .map(([text, box]) => `${text} ${box.width}x${box.height}`)"""


def wrong(page, state: str, schemes: tuple[str, ...]) -> list[str]:
    """What is wrong with the page as it stands."""
    found = too_wide(page, state) + [f"{state}: too small to hit: {one}" for one in page.evaluate(SMALL)]
    for scheme in schemes:
        found += violations(page, state, scheme)
    return found


def until(page, holds: str) -> None:
    """Wait until an expression holds; the page's policy lets nothing be evaluated in it for longer."""
    for _ in range(100):
        if page.evaluate(holds):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never: {holds}")


@pytest.mark.parametrize(
    "width, text, schemes",
    [(360, LONG, ("light", "dark")), (1280, PLAIN, ("light",)), (1920, HEBREW, ("dark",))],
    ids=["phone", "desk", "wide"],
)
def test_every_state_is_accessible_and_fits(page, ana, width, text, schemes):
    make_round(1, k=9, text=text)
    page.set_viewport_size({"width": width, "height": 800})
    begin(page, ana)
    ready(page, "Rate completion A")
    found = wrong(page, "rating", schemes)
    page.keyboard.press("q")
    rate(page, "554433217")
    found += wrong(page, "seeded", schemes)
    page.keyboard.press("Control+Enter")
    assert page.locator("#said.refused").inner_text().startswith("Undecided: ")
    assert page.evaluate(IN_SIGHT, ".slip.chosen, #said.refused") == [True] * 2, "why it is refused is in sight"
    for key in ("b", "=", "2", "x", "e", "9", "m", "a", "m"):
        page.keyboard.press(key)
    assert "x:" in board(page)
    found += wrong(page, "ranked", schemes)
    page.keyboard.press("v")
    page.get_by_role("dialog").wait_for()
    found += wrong(page, "side by side", schemes)
    page.keyboard.press("Escape")
    page.keyboard.press("Space")
    page.get_by_role("dialog").wait_for()
    found += wrong(page, "the whole text", schemes)
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keyboard shortcuts").wait_for()
    found += wrong(page, "the keys", schemes)
    assert not found, "\n".join(found)


def test_text_stands_in_the_direction_of_its_words(page, ana):
    make_round(1, k=2, text=HEBREW)
    begin(page, ana)
    ready(page, "Rate completion A")
    shown = page.locator(".completion:visible .markdown p, .completion:visible .markdown").first
    assert shown.evaluate("e => getComputedStyle(e).direction") == "rtl"
    rate(page, "42")
    excerpt = page.locator(".slip .excerpt").first
    assert excerpt.evaluate("e => getComputedStyle(e).direction") == "rtl"


def test_the_focus_and_the_place_on_the_page_are_known_after_each_step(page, ana):
    make_round(1, k=3, text=LONG)
    page.set_viewport_size({"width": 1280, "height": 700})
    begin(page, ana)
    for letter, rating in (("A", "4"), ("B", "5")):
        ready(page, f"Rate completion {letter}")
        page.mouse.wheel(0, 3000)
        until(page, "scrollY > 200")
        page.keyboard.press(rating)
        following = chr(ord(letter) + 1)
        assert page.evaluate("document.activeElement.innerText") == f"Completion {following}"
        top = page.evaluate("document.activeElement.getBoundingClientRect().top")
        assert 0 <= top < 350, "what is to be read begins at the top"
        assert f"{letter}: rated {rating}; no other flags apply." in page.locator("#said").inner_text()
    assert "3 of 3" in page.locator(".position").inner_text() and "To do: C" in page.locator(".position").inner_text()
    page.keyboard.press("6")
    on_the_board(page)
    assert page.evaluate("document.activeElement.className") == "pick"


SHIFTS = """
window.shifts = [];
new PerformanceObserver(list => window.shifts.push(...list.getEntries().filter(one => !one.hadRecentInput).map(
  one => [one.value, one.sources.map(({node}) => node?.id || node?.className || node?.nodeName)]))
).observe({type: 'layout-shift', buffered: true});
"""


def test_nothing_on_the_page_jumps(page, ana):
    """A browser counts what moves by itself; 0.1 and more is called poor, and here it is nothing that can be seen."""
    make_round(1, k=9, text=PLAIN)
    page.add_init_script(SHIFTS)
    url = begin(page, ana)
    moved = []

    def settled(name: str) -> None:
        page.wait_for_timeout(600)  # what a script adds a moment later counts too
        moved.append((name, page.evaluate("shifts")))

    ready(page, "Rate completion A")
    settled("rating")
    rate(page, "554433217")
    settled("from rating to ranking")
    page.reload()
    on_the_board(page)
    settled("ranking")
    page.goto("/")
    page.get_by_role("heading", level=1, name="Your desk").wait_for()
    settled("desk")
    page.goto(url)
    on_the_board(page)
    settled("back from the desk")
    assert all(sum(value for value, _ in shifts) < 0.002 for _, shifts in moved), moved


def test_nothing_moves_when_motion_is_unwelcome(page, ana):
    make_round(1, k=2)
    page.emulate_media(reduced_motion="reduce")
    begin(page, ana)
    rate(page, "42")
    moving = "getComputedStyle(e).transitionDuration !== '0s' || getComputedStyle(e).animationName !== 'none'"
    assert page.evaluate(f"[...document.querySelectorAll('.ranking *')].filter(e => {moving}).length") == 0


IN_SIGHT = """selector => [...document.querySelectorAll(selector)].filter(e => e.checkVisibility()).map(e => {
  const box = e.getBoundingClientRect();
  const hit = document.elementFromPoint(box.x + box.width / 2, box.bottom - 2);
  return box.top >= 0 && box.bottom <= innerHeight && (e === hit || e.contains(hit));
})"""


def test_all_that_is_asked_is_in_sight_at_once(page, ana):
    """On 1280 x 800 nobody scrolls to see the eleven flags and what they mean, nor, up to K = 6, to hand in."""
    make_round(1, k=6, text=PLAIN)
    page.set_viewport_size({"width": 1280, "height": 800})
    begin(page, ana)
    ready(page, "Rate completion A")
    assert page.evaluate(IN_SIGHT, ".flags label") == [True] * 11
    assert page.evaluate(IN_SIGHT, ".rating .scale label") == [True] * 7
    assert page.evaluate(IN_SIGHT, ".rating .acts button") == [True] * 3
    rate(page, "554433")
    assert page.evaluate("scrollY") == 0
    assert page.evaluate(IN_SIGHT, ".slip, #said, .acts button") == [True] * 10
    page.get_by_role("button", name="Confirm order and submit").click()
    assert page.locator("#said.refused").inner_text().startswith("Undecided: ")
    assert page.evaluate(IN_SIGHT, ".slip.chosen, #said.refused") == [True] * 2
    page.set_viewport_size({"width": 360, "height": 740})
    page.get_by_role("button", name="Confirm order and submit").click()
    assert page.evaluate(IN_SIGHT, ".slip.chosen, #said.refused") == [True] * 2
    with transaction() as session:
        session.get_one(Account, ana.id).language = "de"
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(f"{page.url.split('?')[0]}?at=A")
    page.get_by_role("heading", level=1, name="Antwort A bewerten").wait_for()
    assert page.evaluate(IN_SIGHT, ".flags label, .rating .acts button") == [True] * 14, "in German too"


def test_what_was_just_done_pushes_nothing_out_of_sight(page, ana):
    make_round(2, k=2)
    page.set_viewport_size({"width": 1280, "height": 800})
    begin(page, ana)
    rate(page, "64")
    page.keyboard.press("Control+Enter")
    page.get_by_role("button", name="Undo").wait_for()
    ready(page, "Rate completion A")
    assert page.evaluate(IN_SIGHT, ".flags label, .rating .acts button, #notes button") == [True] * 15
    assert wrong(page, "handed in", ("light", "dark")) == []
