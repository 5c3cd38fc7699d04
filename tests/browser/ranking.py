"""A labeler's way through one comparison in a real browser: what the tests of rating and ranking share."""

import re

from sqlalchemy import select

from app.assignments import rules as assignments
from app.comparisons.tables import ComparedCompletion, Comparison
from app.database import reading, transaction
from tests.browser.conftest import sign_in

LETTERS = "ABCDEFGHI"


def begin(page, labeler, at: str = "") -> str:
    """Sign in, take the first piece of work, and be on its page; returns the page's address."""
    sign_in(page, labeler)
    with transaction() as session:
        url = f"/assignments/{assignments.claim(session, labeler).public_id}"
    page.goto(f"{url}?at={at}" if at else url)
    return url


def ready(page, heading: str) -> None:
    """Wait for a page of work and its scripts."""
    page.get_by_role("heading", level=1, name=heading).wait_for()
    page.get_by_label("Use single-key shortcuts").wait_for()


def rate(page, ratings: str) -> None:
    """Rate every completion by its digit, and be on the ranking."""
    for letter, rating in zip(LETTERS, ratings, strict=False):
        ready(page, f"Rate completion {letter}")
        page.keyboard.press(rating)
    on_the_board(page)


def on_the_board(page) -> None:
    """Wait for the ranking and its board."""
    ready(page, "Rank the completions")
    page.locator("#board .slip.chosen").wait_for()


def chosen(page) -> str:
    """Letter of the card that is acted on, which has the focus too."""
    focused = page.evaluate("document.activeElement.closest('.slip')?.dataset.letter")
    pressed = page.locator(".pick[aria-pressed=true]")
    assert pressed.count() == 1
    letter = pressed.evaluate("pick => pick.parentElement.dataset.letter")
    assert focused == letter, "the focus stands on the card that is acted on"
    return letter


def board(page) -> str:
    """The rows of the board that hold something: "1:A 2:BC? 9:D x:E" ("?" undecided, "x" unacceptable, "-" nowhere)."""
    rows = page.eval_on_selector_all(
        "#board > li",
        """rows => rows.map(row => {
          const held = [...row.querySelectorAll('.slip')].map(slip => slip.dataset.letter).join('');
          const name = {bad: 'x', 0: '-'}[row.dataset.tier] ?? row.dataset.tier;
          return held && `${name}:${held}${row.classList.contains('open') ? '?' : ''}`;
        }).filter(Boolean)""",
    )
    return " ".join(rows)


def said(page) -> str:
    """What the live region says."""
    return page.locator("#said").inner_text()


def card(page, letter: str):
    """The card of a completion."""
    return page.locator(f".slip[data-letter={letter}]")


def put(page, tier: int | str):
    """The button of a row, that puts the chosen card there."""
    return page.locator(f"#board > li[data-tier='{tier}'] .put")


def handed_in(page) -> None:
    """Wait until it is handed in."""
    page.get_by_text(re.compile("Submitted")).first.wait_for()


def stored() -> Comparison:
    """The one comparison there is."""
    with reading() as session:
        return session.scalars(select(Comparison)).one()


def stored_rows() -> list[ComparedCompletion]:
    """Its completions in the order shown."""
    with reading() as session:
        return list(session.scalars(select(ComparedCompletion).order_by(ComparedCompletion.shown_position)))


def tiers() -> str:
    """Its tiers in the order shown, unacceptable ones with an x: "121x"."""
    return "".join("x" if row.unacceptable else str(row.tier) for row in stored_rows())
