"""A labeler's day in a real browser: by mouse, by keyboard alone, without scripts, and when things go wrong."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from app.accounts.tables import SignInSession
from app.assignments.tables import Assignment, Draft
from app.comparisons.tables import Comparison
from app.database import reading, transaction
from app.demonstrations.tables import Demonstration
from app.rounds.tables import ItemKind
from tests.browser.conftest import sign_in
from tests.desk import make_round


@pytest.fixture
def ana(people):
    return people.labeler("ana")


def one(table):
    with reading() as session:
        return session.scalars(select(table)).one_or_none()


def ranking() -> list[tuple[int | None, int | None, int]]:
    """Rating, tier and number of flags answered yes of each completion, in the order shown."""
    with reading() as session:
        stored = session.scalars(select(Comparison)).one()
        return [(row.rating, row.tier, sum(row.flags.values())) for row in stored.completions]


def handed_in(page) -> None:
    page.get_by_text("Handed in.").wait_for()


def test_a_day_by_mouse(page, ana):
    make_round(1, k=3, number=1)
    make_round(1, kind=ItemKind.DEMONSTRATION, number=2)
    sign_in(page, ana)
    page.get_by_role("button", name="Next piece of work").click()
    for rating in (5, 2, 7):
        page.get_by_role("radio", name=str(rating), exact=True).check()
        if rating == 2:
            page.get_by_role("checkbox", name=re.compile("^Fails to follow")).check()
        page.get_by_role("button", name=re.compile("^Go on: none of the other flags apply")).click()
    for letter, tier in (("A", 2), ("B", 3), ("C", 1)):
        group = page.get_by_role("group", name=f"Place of {letter}")
        group.get_by_role("radio", name=str(tier), exact=True).check()
    assert page.locator("#order").inner_text().split() == ["1:", "C", "2:", "A", "3:", "B"]
    page.get_by_role("button", name=re.compile("^Hand in and go on")).click()
    handed_in(page)
    assert ranking() == [(5, 2, 0), (2, 3, 1), (7, 1, 0)]
    page.get_by_label("Your completion").fill("A completion.\nOf two lines.")
    page.get_by_role("button", name="Hand in and stop").click()
    page.get_by_text("Nothing is waiting").wait_for()
    handed_in(page)
    with reading() as session:
        assert session.scalars(select(Demonstration)).one().completion.text == "A completion.\nOf two lines."


def test_a_day_by_single_keys(page, ana):
    make_round(1, k=4, number=1)
    make_round(1, kind=ItemKind.DEMONSTRATION, number=2)
    sign_in(page, ana)
    page.keyboard.press("Enter")  # the desk's button has the focus
    for letter, rating in zip("ABCD", (6, 3, 5, 1), strict=True):
        page.get_by_role("heading", name=f"Rate completion {letter}").wait_for()
        page.get_by_label("Single keys work").wait_for()  # the script is there
        page.keyboard.press(str(rating))
        if letter == "B":
            page.keyboard.press("q")
            page.keyboard.press("w")
            page.keyboard.press("w")
        page.keyboard.press("Enter")
    page.get_by_role("heading", name="Rank the completions").wait_for()
    page.get_by_label("Single keys work").wait_for()
    for key in ("1", "3", "2", "4"):  # each gives a place and goes to the next completion
        page.keyboard.press(key)
    page.keyboard.press("c")
    page.keyboard.press("1")  # C ties with A
    page.keyboard.press("Control+Enter")
    page.get_by_label("Your completion").wait_for()
    assert ranking() == [(6, 1, 0), (3, 2, 1), (5, 1, 0), (1, 3, 0)]
    page.get_by_label("Your completion").focus()
    page.keyboard.type("1 2 3 q w: typed, not pressed")
    page.keyboard.press("Control+Enter")
    page.get_by_text("Nothing more is waiting").wait_for()
    with reading() as session:
        assert session.scalars(select(Demonstration)).one().completion.text == "1 2 3 q w: typed, not pressed"


def tab_to(page, matches) -> None:
    """Press Tab until the focused element's words match."""
    described = "(e => (e.innerText || '') + ' ' + e.name + '=' + e.value)(document.activeElement)"
    for _ in range(80):
        page.keyboard.press("Tab")
        if re.search(matches, page.evaluate(described)):
            return
    raise AssertionError(f"nothing to be reached by Tab matches {matches}")


def test_a_day_by_tab_space_and_arrows_alone(page, ana):
    """As a screen reader's user works: no single-key shortcut at all."""
    make_round(1, k=2)
    sign_in(page, ana)
    page.evaluate("localStorage.setItem('plumbline.keys', 'off')")
    page.keyboard.press("Enter")
    for letter, presses in (("A", 4), ("B", 1)):
        page.get_by_role("heading", name=f"Rate completion {letter}").wait_for()
        page.keyboard.press("5")
        assert page.locator("[name=rating]:checked").count() == 0, "single keys are switched off"
        tab_to(page, "rating=")
        page.keyboard.press("Space")
        for _ in range(presses):
            page.keyboard.press("ArrowRight")
        tab_to(page, "flag.violent_content=")
        page.keyboard.press("Space")
        tab_to(page, "Go on: none")
        page.keyboard.press("Enter")
    page.get_by_role("heading", name="Rank the completions").wait_for()
    tab_to(page, r"tier\.A=")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    tab_to(page, r"tier\.B=")
    page.keyboard.press("Space")
    page.keyboard.press("Shift+Tab")
    for _ in range(60):
        page.keyboard.press("Shift+Tab")
        if page.evaluate("document.activeElement.innerText || ''").startswith("Hand in and go on"):
            break
    page.keyboard.press("Enter")
    handed_in(page)
    assert ranking() == [(5, 2, 1), (2, 1, 1)]


def test_a_day_without_scripts(browser, live, ana):
    make_round(1, k=2, number=1)
    make_round(1, kind=ItemKind.DEMONSTRATION, number=2)
    context = browser.new_context(base_url=live, java_script_enabled=False)
    context.set_default_timeout(10_000)
    page = context.new_page()
    sign_in(page, ana)
    page.get_by_role("button", name="Next piece of work").click()
    page.get_by_role("radio", name="4", exact=True).check()
    page.keyboard.press("Enter")  # in a field: goes on
    page.get_by_role("heading", name="Rate completion B").wait_for()
    page.get_by_role("checkbox", name=re.compile("^Contains violent")).check()
    page.get_by_role("button", name=re.compile("^Back to A")).click()
    page.get_by_role("button", name="Completion B").click()
    assert page.get_by_role("checkbox", name=re.compile("^Contains violent")).is_checked()
    page.get_by_role("button", name=re.compile("^Go on")).click()  # the browser itself asks for a rating
    assert page.get_by_role("heading", name="Rate completion B").is_visible()
    page.get_by_role("radio", name="2", exact=True).check()
    page.get_by_role("button", name=re.compile("^Go on")).click()
    page.get_by_role("group", name="Place of B").get_by_role("radio", name="1", exact=True).check()
    page.get_by_role("button", name=re.compile("^Hand in and go on")).click()
    assert "Not ranked yet: A" in page.get_by_role("alert").inner_text()
    page.get_by_role("group", name="Place of A").get_by_role("radio", name="2", exact=True).check()
    page.get_by_role("button", name=re.compile("^Hand in and go on")).click()
    assert "Handed in." in page.inner_text("#notes")
    assert ranking() == [(4, 2, 0), (2, 1, 1)]
    page.get_by_label("Your completion").fill("first words")
    page.get_by_role("button", name=re.compile("^Save the draft")).click()
    page.get_by_text("Skip this").click()
    page.get_by_label("The task is unclear").check()
    page.get_by_role("button", name="Skip", exact=True).click()
    assert "Skipped" in page.inner_text("#notes") and one(Demonstration) is None
    with reading() as session:
        assert {"text": "first words"} in session.scalars(select(Draft.content)).all()
    context.close()


def until(page, holds) -> None:
    """Wait until something is so in the database or on the page."""
    for _ in range(100):
        if holds():
            return
        page.wait_for_timeout(100)
    raise AssertionError("it did not come to be so within ten seconds")


@pytest.fixture
def writing(page, ana):
    """Ana's page with a demonstration to write."""
    make_round(1, kind=ItemKind.DEMONSTRATION)
    sign_in(page, ana)
    page.get_by_role("button", name="Next piece of work").click()
    page.get_by_label("Single keys work").wait_for()  # the script is there
    return page


def test_the_draft_is_saved_while_one_writes_and_found_again(writing):
    writing.get_by_label("Your completion").press_sequentially("every word counts", delay=5)
    until(writing, lambda: one(Draft).content == {"text": "every word counts"})
    writing.locator("#saved", has_text="Saved").wait_for()
    writing.reload()
    assert writing.get_by_label("Your completion").input_value() == "every word counts"
    writing.goto("/")
    writing.get_by_role("button", name=re.compile("^Resume")).click()
    assert writing.get_by_label("Your completion").input_value() == "every word counts"


def test_what_is_written_before_the_script_comes_is_saved_too(writing):
    writing.route("**/desk.js*", lambda route: (writing.wait_for_timeout(500), route.continue_()))
    writing.goto(writing.url, wait_until="commit")
    writing.get_by_label("Your completion").fill("quick fingers")
    until(writing, lambda: one(Draft).content == {"text": "quick fingers"})


def test_two_tabs_show_both_texts_and_ask(writing):
    other = writing.context.new_page()
    other.goto(writing.url)
    other.get_by_label("Your completion").fill("in the other tab")
    until(writing, lambda: one(Draft).content == {"text": "in the other tab"})
    writing.get_by_label("Your completion").fill("in this tab")
    alert = writing.get_by_role("alert")
    alert.get_by_text("in the other tab").wait_for()
    assert one(Draft).content == {"text": "in the other tab"}, "nothing is overwritten unasked"
    assert writing.get_by_label("Your completion").input_value() == "in this tab"
    alert.get_by_role("button", name="Keep what is on this page").click()
    until(writing, lambda: one(Draft).content == {"text": "in this tab"})
    other.get_by_label("Your completion").fill("in the other tab again")
    other.get_by_role("alert").get_by_role("button", name="Take the other one").click()
    until(other, lambda: other.get_by_label("Your completion").input_value() == "in this tab")


def test_a_session_that_expires_in_mid_writing_keeps_the_words(writing, ana):
    with transaction() as session:
        session.execute(update(SignInSession).values(expires_at=datetime.now(UTC) - timedelta(minutes=1)))
    writing.get_by_label("Your completion").fill("written after it expired")
    writing.get_by_role("link", name="Sign in").click()
    assert one(Draft).content == {"text": "written after it expired"}
    sign_in_here(writing, ana)
    assert writing.get_by_label("Your completion").input_value() == "written after it expired"
    assert "/assignments/" in writing.url


def sign_in_here(page, account) -> None:
    """Sign in on the page one was sent to."""
    from tests.conftest import PASSWORD

    page.fill("[name=username]", account.username)
    page.fill("[name=password]", PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/assignments/*")


def test_handing_in_with_an_expired_session_keeps_the_words(writing, ana):
    with transaction() as session:
        session.execute(update(SignInSession).values(expires_at=datetime.now(UTC) - timedelta(minutes=1)))
    writing.get_by_label("Your completion").fill("handed in too late")
    writing.get_by_role("button", name=re.compile("^Hand in and go on")).click()
    writing.get_by_role("link", name="Sign in").click()
    sign_in_here(writing, ana)
    assert writing.get_by_label("Your completion").input_value() == "handed in too late"
    writing.get_by_role("button", name=re.compile("^Hand in and go on")).click()
    handed_in(writing)


def test_a_lost_network_says_so_and_saves_when_it_is_back(writing):
    writing.context.set_offline(True)
    writing.get_by_label("Your completion").fill("written in a tunnel")
    writing.get_by_role("alert").get_by_text("No connection").wait_for()
    writing.get_by_role("button", name=re.compile("^Hand in and go on")).click()
    writing.wait_for_timeout(300)
    assert writing.get_by_label("Your completion").input_value() == "written in a tunnel", "the page stays"
    writing.context.set_offline(False)
    until(writing, lambda: one(Draft).content == {"text": "written in a tunnel"})
    writing.get_by_role("button", name=re.compile("^Hand in and go on")).click()
    handed_in(writing)


def test_a_double_click_hands_in_once(writing):
    writing.get_by_label("Your completion").fill("once is enough")
    writing.get_by_role("button", name=re.compile("^Hand in and go on")).dblclick()
    handed_in(writing)
    assert one(Demonstration) is not None


def test_a_lost_lease_is_said_and_the_work_is_taken(writing, people):
    ben = people.labeler("ben")
    with transaction() as session:
        session.execute(update(Assignment).values(labeler_id=ben.id, fence=2))
    writing.get_by_label("Your completion").fill("a little late")
    writing.get_by_role("alert").get_by_text("ran out").wait_for()
    writing.get_by_role("button", name=re.compile("^Hand in and go on")).click()
    writing.get_by_text("kept as an extra answer").wait_for()
    assert one(Demonstration).surplus is True


def test_active_time_is_counted(writing):
    writing.get_by_label("Your completion").fill("thinking")
    until(writing, lambda: int(writing.locator("[name=active_seconds]").input_value()) >= 2)
    writing.get_by_role("button", name=re.compile("^Hand in and go on")).click()
    handed_in(writing)
    assert 2 <= one(Demonstration).active_seconds < 30


@pytest.mark.parametrize("width", [360, 1000, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_or_is_too_small_to_hit(browser, live, ana, width, scheme):
    make_round(1, k=9, text="word " * 300 + "unbrokenlongword" * 30)
    context = browser.new_context(base_url=live, color_scheme=scheme, viewport={"width": width, "height": 800})
    page = context.new_page()
    sign_in(page, ana)
    page.get_by_role("button", name="Next piece of work").click()
    for at in ("A", "ranking"):
        page.goto(page.url.split("?")[0] + f"?at={at}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        small = page.evaluate(
            """[...document.querySelectorAll('main button:not(.visually-hidden), main label, main summary')]
            .map(e => [e.innerText, e.getBoundingClientRect()])
            .filter(([, box]) => box.width && (box.width < 24 || box.height < 24)).map(([text]) => text)"""
        )
        assert small == []
    context.close()
