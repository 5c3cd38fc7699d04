"""Writing in the browser: texts as shown and as written, demonstrations, prompts, with and without a script."""

import pytest
from playwright.sync_api import expect
from sqlalchemy import select

from app.accounts.tables import Account
from app.database import reading, transaction
from app.demonstrations.tables import Demonstration
from app.guidelines.queries import newest_form
from app.guidelines.tables import FormKind
from app.prompt_writing import rules as writing
from app.prompt_writing.schemas import WritingCallIn
from app.prompt_writing.tables import Writing
from app.prompts.tables import Prompt, PromptSource
from app.rounds.tables import ItemKind
from tests.browser.conftest import sign_in
from tests.browser.day import copies, expire_sessions, until
from tests.browser.looks import complaints
from tests.conftest import PASSWORD
from tests.desk import make_round

RICH = (
    r"""# Newton

Use **his method** on $x^2 - 2$, \(x_0 = 2\):

\[ x_{n+1} = \frac{1}{2}\left(x_n + \frac{2}{x_n}\right) \]

```python
def root(value: float, steps: int = 20) -> float:  # a rather long line that does not fit on a telephone
    return value
```

| step | guess | a rather long heading of a column | another rather long one | and one more |
|:-----|------:|---|---|---|
| 1 | 1.5 | some words that take room | some more | x |

هذا نص عربي مع كلمة English في الوسط.

"""
    + "unbroken" * 60
)


@pytest.fixture
def rich(people):
    """A prompt with everything in it waits for a demonstration; returns the labeler."""
    make_round(1, kind=ItemKind.DEMONSTRATION)
    with transaction() as session:
        session.scalar(select(Prompt)).messages = [{"role": "user", "text": RICH}]
    return people.labeler("ana")


def begin(page, labeler) -> None:
    sign_in(page, labeler)
    page.locator("main form[action='/assignments/next'] button").first.click()
    page.locator("#text").wait_for()


def test_texts_are_shown_as_meant_and_as_written_and_fit(page, rich):
    begin(page, rich)
    prompt = page.locator(".prompt .text")
    assert prompt.locator("math").count() == 3 and prompt.locator("td").count() == 5
    expect(prompt.get_by_role("heading", name="Newton")).to_be_visible()
    keyword = prompt.locator("pre .k").first
    colours = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colours.append(keyword.evaluate("one => getComputedStyle(one).color"))
    assert len(set(colours)) == 2, "code has colours of its own in each theme"
    page.set_viewport_size({"width": 360, "height": 900})
    for inner in ("pre[tabindex]", ".scroll"):
        wide, narrow = prompt.locator(inner).first.evaluate("one => [one.scrollWidth, one.clientWidth]")
        assert wide > narrow, f"{inner} scrolls in itself"
    assert not complaints(page, "writing")
    top = prompt.bounding_box()["y"]
    page.locator(".prompt").get_by_label("Show raw text").check()
    expect(prompt.locator("pre.raw")).to_have_text(RICH, use_inner_text=False)
    expect(prompt.locator(".markdown")).to_be_hidden()
    assert abs(prompt.bounding_box()["y"] - top) < 1 and not complaints(page, "writing")
    page.locator(".prompt").get_by_label("Show raw text").uncheck()
    expect(prompt.locator(".markdown")).to_be_visible()


def test_a_completion_is_counted_and_previewed_while_it_is_written(page, rich, monkeypatch):
    begin(page, rich)
    page.locator("details.preview summary").click()
    page.locator("#text").fill("**bold**")
    expect(page.locator("#preview strong")).to_have_text("bold")
    expect(page.locator("#length")).to_contain_text("about 2 of 1024 tokens")
    page.locator("#text").fill("word " * 1000)
    expect(page.locator("#length")).to_contain_text("too many")
    expect(page.get_by_role("status").filter(has_text="too many")).to_have_count(1)  # said when it becomes so
    expect(page.locator("#length")).to_be_in_viewport(ratio=1)  # under a text longer than the window
    expect(page.get_by_role("button", name="Submit and continue")).to_be_in_viewport(ratio=1)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("Shorten it by")
    assert page.locator("#text").input_value() == "word " * 1000
    page.locator("details.about summary").click()
    page.get_by_role("group", name="Closed domain").get_by_label("no", exact=True).check(force=True)
    page.locator("[name=use_case]").select_option("chat")
    page.locator("#text").fill("**Short.**")
    assert not complaints(page, "writing")
    page.keyboard.press("Control+Enter")
    page.get_by_text("Submitted").first.wait_for()
    with reading() as session:
        stored = session.scalar(select(Demonstration))
        assert stored.answers == {"closed_domain": False} and stored.use_case == "chat" and stored.form.version == 1
        assert stored.completion.text == "**Short.**"


def test_without_a_script_the_save_counts_and_shows(browser, live, rich):
    context = browser.new_context(base_url=live, java_script_enabled=False)
    page = context.new_page()
    begin(page, rich)
    page.locator("#text").fill("*so*")
    page.locator("main").get_by_role("button", name="Save draft").last.click()
    page.locator("details.preview summary").click()
    expect(page.locator("#preview em")).to_have_text("so")
    expect(page.locator("#length")).to_contain_text("about 1 of 1024")
    page.locator(".prompt").get_by_label("Show raw text").check()
    expect(page.locator(".prompt .markdown")).to_be_hidden()
    page.locator("#text").fill("word " * 1000)
    page.get_by_role("button", name="Submit and continue").click()
    expect(page.get_by_role("alert")).to_contain_text("Shorten it by")
    assert page.locator("#text").input_value().strip() == ("word " * 1000).strip()


@pytest.fixture
def wanted(people):
    """Few-shot prompts are wanted."""
    boss = people.admin("chief")
    with transaction() as session:
        writing.call(session, WritingCallIn(kind=PromptSource.LABELER_FEW_SHOT, wanted=5), boss)
        writing.call(session, WritingCallIn(kind=PromptSource.LABELER_PLAIN, wanted=5), boss)


def test_a_prompt_is_saved_while_it_is_written_and_found_again(page, people, wanted):
    ana = people.labeler("ana")
    sign_in(page, ana)
    page.goto("/prompts/write")
    page.get_by_role("region", name="Any task").get_by_role("button").click()
    page.get_by_label("Prompt", exact=True).fill("Why is the sea salty?")
    expect(page.locator("#saved")).to_contain_text("Saved")
    expect(page.locator("#length")).to_contain_text("about 6 of")
    assert not complaints(page, "writing")
    page.goto("/prompts/write")
    page.get_by_role("link", name="Why is the sea salty?").click()
    page.wait_for_url("**/prompts/write/*")
    page.wait_for_load_state("networkidle")  # its scripts are there, which know the key
    page.get_by_label("Prompt", exact=True).press("Control+Enter")
    page.get_by_text("Submitted. Thank you.").wait_for()
    page.get_by_role("region", name="Any task").get_by_role("button").click()
    page.get_by_label("Prompt", exact=True).fill("Why is the sea salty??")
    page.get_by_role("button", name="Submit prompt").click()
    expect(page.get_by_role("alert")).to_contain_text("nearly the same")
    page.get_by_label("This is a different task").check()
    page.get_by_role("button", name="Submit prompt").click()
    page.get_by_text("Submitted. Thank you.").wait_for()


def test_no_word_of_a_prompt_is_lost(page, people, wanted):
    """Without a network, in two tabs, and when the session ends in mid-writing."""
    ana = people.labeler("ana")
    sign_in(page, ana)
    page.goto("/prompts/write")
    page.get_by_role("region", name="Any task").get_by_role("button").click()
    page.wait_for_load_state("networkidle")  # its scripts are there
    context, url = page.context, page.url

    def editor(tab):
        return tab.get_by_label("Prompt", exact=True)

    context.set_offline(True)
    editor(page).fill("Written in a tunnel")
    expect(page.locator("#saved")).to_contain_text("No connection")
    expect(page.get_by_role("status").filter(has_text="No connection")).to_have_count(1)
    page.get_by_role("button", name="Submit prompt").click()
    expect(editor(page)).to_have_value("Written in a tunnel")
    page.close(run_before_unload=False)
    context.set_offline(False)
    one, other = context.new_page(), context.new_page()
    one.goto(url)
    expect(one.locator("#problem")).to_contain_text("that never reached the server")
    assert editor(one).input_value() == "", "nothing is applied unasked"
    one.get_by_role("button", name="Use this version").click()
    expect(editor(one)).to_have_value("Written in a tunnel")
    assert copies(one) == []
    other.goto(url)
    editor(one).fill("In one tab")
    expect(one.locator("#saved")).to_contain_text("Saved")
    until(one, lambda: copies(one) == [])
    editor(other).fill("In the other")
    alert = other.get_by_role("alert")
    expect(alert.locator(".raw")).to_have_text(["In the other", "In one tab"])
    alert.get_by_role("button", name="Keep this page's version").click()
    until(other, lambda: copies(other) == [])
    expire_sessions()
    editor(other).fill("After the session was over")
    other.locator("#saved").get_by_role("link", name="Sign in").click()
    other.fill("[name=username]", ana.username)
    other.fill("[name=password]", PASSWORD)
    other.get_by_role("button", name="Sign in").click()
    other.get_by_role("button", name="Use this version").click()
    expect(editor(other)).to_have_value("After the session was over")
    editor(other).fill("Let me out")
    other.get_by_role("button", name="Sign out").click()
    other.wait_for_url("**/sign-in")
    with reading() as session:
        assert session.scalar(select(Writing)).content["text"] == "Let me out", "signing out saves first"


def test_without_a_script_pairs_become_prompts(browser, live, people, wanted):
    context = browser.new_context(base_url=live, java_script_enabled=False)
    page = context.new_page()
    sign_in(page, people.labeler("ana"))
    page.goto("/prompts/write")
    page.get_by_role("region", name="A task with examples").get_by_role("button").click()
    page.get_by_label("Instruction").fill("Name the colour.")
    for number, (given, answer) in enumerate((("sun", "yellow"), ("sky", "blue"))):
        page.get_by_label("Input").nth(number).fill(given)
        page.get_by_label("Its completion").nth(number).fill(answer)
    page.get_by_role("button", name="Add two pairs").click()
    assert page.get_by_label("Its completion").nth(1).input_value() == "blue"
    assert page.get_by_label("Input").count() == 5
    page.get_by_role("button", name="Submit prompt").click()
    page.get_by_text("Submitted as 2 prompts").wait_for()
    with reading() as session:
        assert [prompt.owner for prompt in session.scalars(select(Prompt))] == ["labeler ana"] * 2


def test_a_form_is_changed_on_its_page(page, people):
    sign_in(page, people.admin())
    page.goto("/admin/forms/completion")
    assert not complaints(page, "writing")
    page.get_by_role("button", name="Add question").click()
    new = page.locator("fieldset.asked").last
    new.get_by_label("Question", exact=True).fill("Too long")
    new.get_by_label("Definition, on one line").fill("It says more than was asked.")
    new.get_by_label("Name in the data").fill("too_long")
    page.locator(".acts").get_by_role("button", name="Preview").click()
    expect(page.get_by_role("region", name="As labelers see it")).to_contain_text("It says more than was asked.")
    page.get_by_role("button", name="Save as version 2").click()
    page.get_by_text("Saved as version 2").wait_for()
    with reading() as session:
        assert newest_form(session, FormKind.COMPLETION).questions[-1]["name"] == "too_long"


def test_work_is_done_in_german_too(page, rich):
    """German words are longer; nothing grows too wide for a telephone, and the page says its language."""
    with transaction() as session:
        session.get_one(Account, rich.id).language = "de"
    begin(page, rich)
    expect(page.get_by_role("heading", level=1)).to_have_text("Antwort schreiben")
    assert page.locator("html").get_attribute("lang") == "de"
    page.locator("details.about summary").click()
    assert not complaints(page, "writing in German")
