"""How long the browser is busy while nine completions of 4,000 characters are rated, ranked and compared."""

import random

import pytest

from tests.browser.conftest import browser, chromium, database, live, page  # noqa: F401
from tests.browser.ranking import begin, board, card, chosen, handed_in, rate
from tests.desk import make_round

CHARACTERS = 4000
WATCH = """
window.tasks = []; window.waits = [];
new PerformanceObserver(list => window.tasks.push(...list.getEntries().map(one => [one.startTime, one.duration])))
  .observe({type: 'longtask', buffered: true});
new PerformanceObserver(list => window.waits.push(...list.getEntries().map(one => [one.startTime, one.duration])))
  .observe({type: 'event', durationThreshold: 16, buffered: true});
"""


def words(random_words: random.Random) -> str:
    """A text of so many characters, in paragraphs, with some Markdown."""
    made = ""
    while len(made) < CHARACTERS:
        made += "".join(random_words.choices("abcdefghiklmnoprstu", k=random_words.randint(2, 9)))
        made += random_words.choice([" ", " ", " ", " ", ", ", ". ", "\n\n", " **so** "])
    return made[:CHARACTERS]


@pytest.fixture
def nine(page, people, monkeypatch):  # noqa: F811
    """The first page of nine long completions, watched."""
    from tests import desk

    write = random.Random(5)
    plain = desk._item

    def with_long_texts(session, round, position, kind, k, answers, text):
        plain(session, round, position, kind, k, answers, text)
        from app.completions.tables import Completion

        shared = words(write)
        for completion in session.query(Completion):  # alike in the first half, as completions of one prompt are
            completion.text = (shared[: CHARACTERS // 2] + words(write))[:CHARACTERS]

    monkeypatch.setattr(desk, "_item", with_long_texts)
    make_round(1, k=9)
    page.add_init_script(WATCH)
    begin(page, people.labeler())
    return page


def since(page, mark: float) -> tuple[float, float]:  # noqa: F811
    """The longest task and the longest wait for an answer on the screen since a moment, both in ms."""
    page.wait_for_timeout(300)  # until what was measured has been told
    longest = "list => Math.max(0, ...list.filter(([start]) => start >= {}).map(one => one[1]))"
    return tuple(page.evaluate(f"({longest.format(mark)})(window.{kind})") for kind in ("tasks", "waits"))


def test_busy(nine, record_property):
    """Rate, rank by key and by mouse, undo, look at two side by side."""
    rate(nine, "444444444")
    mark = nine.evaluate("performance.now()")
    for tier in "928374651":
        assert chosen(nine)
        nine.keyboard.press(tier)
    for key in ("Shift+ArrowUp", "Shift+ArrowUp", "n", "=", "x", "u", "u", "u"):
        nine.keyboard.press(key)
    box, end = card(nine, "A").bounding_box(), card(nine, "B").bounding_box()
    nine.mouse.move(box["x"] + 80, box["y"] + 10)
    nine.mouse.down()
    nine.mouse.move(end["x"] + 80, end["y"] + 10, steps=20)
    nine.mouse.up()
    task, wait = since(nine, mark)
    record_property("ranking, longest task", task)
    record_property("ranking, longest wait for a key", wait)

    mark = nine.evaluate("performance.now()")
    for key in ("a", "m", "b", "m", "v"):
        nine.keyboard.press(key)
    nine.locator("dialog mark").first.wait_for()
    assert nine.locator("dialog mark").count() > 10
    record_property("two side by side, longest task", since(nine, mark)[0])
    nine.keyboard.press("Escape")
    assert "?" not in board(nine)
    nine.keyboard.press("Control+Enter")
    handed_in(nine)


def test_rating(nine, record_property):
    """The next completion, from the key to the screen."""
    nine.get_by_label("Use single-key shortcuts").wait_for()
    nine.wait_for_timeout(500)
    mark = nine.evaluate("performance.now()")
    for digit in "4444444":
        nine.keyboard.press(digit)
        nine.wait_for_timeout(100)
    task, wait = since(nine, mark)
    record_property("rating, longest task", task)
    record_property("rating, longest wait for the next completion", wait)
