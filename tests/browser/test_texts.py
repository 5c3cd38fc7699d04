"""What policies wrote, in a browser: every word has its place on the page, on a phone too, and none lies on another."""

import pytest
from sqlalchemy import select

from app.completions.tables import Completion
from app.database import transaction
from tests.browser.looks import AXE, RULES, too_wide
from tests.browser.ranking import LETTERS, begin, on_the_board, rate, ready
from tests.desk import make_round

TEXTS = [
    "[Answer]: 42\n\nSee[^1] and [a report](https://a.example/2024/a-path-that-is-long?id=17 'Annual').\n\n"
    "[^1]: invented\n\n[1]: https://example.invalid/source\n\n"
    "`a  b`, 2*3*4, \\*x\\*, C:\\.ssh, &amp;, ![alt](https://a.example 'title')",
    f"{'- ' * 14}forty-two\n\n{'> ' * 24}deep words\n\n7) seven\n8) eight\n\n1986. A great year\n\n   and loose\n\n"
    "999999999. Nine digits\n\n```python title=x\nx = 1\n```\n\n3. c\n2. b\n1. a\n\n- 5\n\n+ 30\n\n12. twelve\n13. x",
    f"a | b\n--|--\n1 | 2 | dropped cell | another\n\n|{'column |' * 29} last column |\n{'|--' * 30}|",
    "A zero\u200bwidth, over\u202eride, BOM\ufeff, soft\u00adhyphen, می‌خواهم, עברית\u200f, <b>tag</b> <!-- comment -->",
    "  if x:\n      return 1\n\nFormula $\\boxed{42}$, $\\cancel{abc}$, $x \\phantom{secret}$, "
    "$a^{b^{c^{d^{e^{small}}}}}$, $\\frac{1}{\\frac{2}{\\frac{3}{\\frac{4}{5}}}}$ and "
    f"${' + '.join(['abcdefgh'] * 12)}$ and $$\\begin{{aligned}}a &= b \\\\ c &= d\\end{{aligned}}$$ {'unbroken' * 60}",
    "    indented = 1\n        more = 2",
]
PARTS = [
    *("[Answer]: 42", "(https://a.example/2024/a-path-that-is-long?id=17 'Annual')", "[^1]: invented", "[1]: https://"),
    *(
        "2*3*4, \\*x\\*, C:\\.ssh, &amp;, ![alt](https://a.example 'title')",
        "forty-two",
        "deep words",
        "python title=x",
    ),
    *(
        "7) seven",
        "1986. ",
        "A great year",
        "999999999. ",
        "3. c\n2. b\n1. a",
        "dropped cell",
        "another",
        "last column",
    ),
    *("zero⟨U+200B⟩width", "over⟨U+202E⟩ride", "<b>tag</b> <!-- comment -->", "$x \\phantom{secret}$", "unbroken"),
]
# Text that has no room, is too small, or lies outside its card where nothing scrolls, or under the number of its item.
HIDDEN = """() => [...document.querySelectorAll('.completion .text')].filter(e => e.checkVisibility()).flatMap(text => {
  const card = text.getBoundingClientRect(), found = [];
  const style = node => getComputedStyle(node.parentElement);
  const scrollable = e => ['auto', 'scroll'].includes(getComputedStyle(e).overflowX);
  const scrolls = e => e !== text && (scrollable(e) || scrolls(e.parentElement));
  const walker = document.createTreeWalker(text.querySelector('.markdown'), NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (!node.data.trim()) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const boxes = [...range.getClientRects()].filter(box => box.width > 0 && box.height > 3);
    const out = boxes.some(box => box.left < card.left - 1 || box.right > card.right + 1);
    const small = parseFloat(style(node).fontSize) < 8;
    if (!boxes.length || style(node).visibility !== 'visible' || small || (out && !scrolls(node.parentElement)))
      found.push(node.data.slice(0, 40));
  }
  for (const number of text.querySelectorAll('.number')) {
    const range = document.createRange();
    range.selectNodeContents(number.parentElement);
    range.setStartAfter(number);
    const own = number.getBoundingClientRect();
    const first = [...range.getClientRects()].find(box => box.width > 0 && box.top < own.bottom - 3);
    if (first && first.left < own.right - 1) found.push(`under ${number.textContent}`);
  }
  return found;
})"""


@pytest.fixture
def texts(page, ana):
    """Ana's page with a completion of each text to rate."""
    make_round(1, k=len(TEXTS))
    with transaction() as session:
        for completion, text in zip(session.scalars(select(Completion).order_by(Completion.id)), TEXTS, strict=True):
            completion.text = text
    begin(page, ana)
    return page


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")], ids=["phone", "desk"])
def test_every_word_has_its_place(texts, width, scheme):
    texts.set_viewport_size({"width": width, "height": 800})
    texts.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    wrong, read = [], ""
    for letter in LETTERS[: len(TEXTS)]:
        ready(texts, f"Rate completion {letter}")
        texts.evaluate(AXE)
        found = texts.evaluate("rules => axe.run('.completion .markdown', rules)", RULES)["violations"]
        wrong += texts.evaluate(HIDDEN) + too_wide(texts, letter) + [f"{letter}: {one['help']}" for one in found]
        read += texts.locator(".completion:visible .markdown").inner_text() + "\n"
        texts.keyboard.press("4")
    assert not wrong, wrong
    for part in PARTS:
        assert part in read, part


def test_the_ranking_shows_texts_as_they_are_written(texts):
    rate(texts, "4" * len(TEXTS))
    on_the_board(texts)
    assert any(excerpt.startswith("[Answer]: 42") for excerpt in texts.locator(".excerpt").all_text_contents())
    place = {text: n for n, text in enumerate(texts.locator(".ranked pre.raw").all_text_contents())}
    letters = texts.eval_on_selector_all(".ranked", "all => all.map(one => one.dataset.letter)")
    for text in TEXTS[4:]:
        texts.keyboard.press(letters[place[text]].lower())
        texts.keyboard.press("m")
    texts.keyboard.press("v")
    texts.get_by_role("dialog").locator("mark").first.wait_for()
    assert set(texts.locator("#peek .raw.text").all_text_contents()) == set(TEXTS[4:]), (
        "with the blanks they begin with"
    )
