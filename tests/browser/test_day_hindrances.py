"""What goes wrong in a day: two tabs, a session that ends, a double click, a lost lease, a round that closes."""

import re

from sqlalchemy import update

from app.assignments import rules
from app.assignments.tables import Assignment, EarlierVersion
from app.completions.tables import Completion
from app.database import transaction
from app.demonstrations.tables import Demonstration
from app.rounds.tables import Round
from tests.browser.conftest import sign_in
from tests.browser.day import (
    at_work,
    copies,
    editor,
    expire_sessions,
    going_on,
    line,
    rows,
    saved_text,
    sign_in_again,
    until,
)
from tests.desk import make_round

HAND_IN = re.compile("^Submit and continue")


def test_two_tabs_show_both_texts_and_ask(writing):
    other = writing.context.new_page()
    other.goto(writing.url)
    at_work(other, "Write a completion")
    editor(other).fill("in the other tab")
    until(writing, lambda: saved_text("in the other tab"))
    editor(writing).fill("in this tab")
    alert = writing.get_by_role("alert")
    alert.get_by_text("in the other tab").wait_for()
    assert alert.get_by_text("in this tab").is_visible(), "both are shown"
    assert saved_text("in the other tab"), "nothing is overwritten unasked"
    assert editor(writing).input_value() == "in this tab"
    assert "Not saved" in line(writing)
    alert.get_by_role("button", name="Keep this page's version").click()
    until(writing, lambda: saved_text("in this tab"))
    assert alert.count() == 0
    editor(other).fill("in the other tab again")
    other.get_by_role("alert").get_by_role("button", name="Use the other version").click()
    until(other, lambda: editor(other).input_value() == "in this tab")
    assert saved_text("in this tab") and copies(other) == []


def test_two_tabs_hand_in_once(writing):
    other = writing.context.new_page()
    other.goto(writing.url)
    at_work(other, "Write a completion")
    editor(writing).fill("handed in here")
    writing.get_by_role("button", name=HAND_IN).click()
    writing.get_by_text("Submitted.").wait_for()
    editor(other).fill("and once more there")
    other.get_by_role("button", name=HAND_IN).click()
    other.get_by_role("alert").get_by_text("already").wait_for()
    assert "choose" not in line(other) and editor(other).input_value() == "and once more there"
    other.get_by_role("button", name=HAND_IN).click()
    to_it = other.get_by_role("link", name="View your submission")
    until(other, lambda: to_it.evaluate("link => link === document.activeElement"))
    assert [one.text for one in rows(Completion)] == ["handed in here"]
    to_it.click()
    other.get_by_role("button", name="Edit submission").click()
    at_work(other, "Write a completion")
    other.get_by_role("button", name="Use this version").click()
    until(other, lambda: editor(other).input_value() == "and once more there")


def test_back_shows_how_the_work_stands_by_now(writing):
    editor(writing).fill("first words")
    until(writing, lambda: saved_text("first words"))
    writing.reload()
    at_work(writing, "Write a completion")
    editor(writing).fill("final words")
    with going_on(writing):
        writing.get_by_role("button", name="Submit and stop").click()
    writing.go_back()
    writing.get_by_text("You submitted this on").wait_for()
    assert writing.get_by_text("final words").is_visible() and editor(writing).count() == 0


def test_a_session_that_expires_in_mid_writing_keeps_the_words(writing, ana):
    expire_sessions()
    editor(writing).fill("written after it expired")
    writing.locator("#saved", has_text="You were signed out").wait_for()
    writing.locator("#saved").get_by_role("link", name="Sign in").click()
    assert saved_text("written after it expired")
    sign_in_again(writing, ana)
    assert editor(writing).input_value() == "written after it expired"
    assert copies(writing) == []


def test_signed_out_in_another_tab_keeps_the_words_here(writing, ana):
    other = writing.context.new_page()
    other.goto("/")
    other.get_by_role("button", name="Sign out").click()
    other.wait_for_url("**/sign-in")
    editor(writing).fill("written afterwards")
    writing.locator("#saved", has_text="You are signed out").wait_for()
    writing.locator("#saved").get_by_role("link", name="Sign in").click()
    sign_in_again(writing, ana)
    writing.get_by_role("button", name="Use this version").click()
    until(writing, lambda: saved_text("written afterwards"))


def test_handing_in_with_an_expired_session_keeps_the_words(writing, ana):
    expire_sessions()
    editor(writing).fill("handed in too late")
    writing.get_by_role("button", name=HAND_IN).click()
    writing.locator("#saved").get_by_role("link", name="Sign in").click()
    sign_in_again(writing, ana)
    assert editor(writing).input_value() == "handed in too late"
    writing.get_by_role("button", name=HAND_IN).click()
    until(writing, lambda: len(rows(Demonstration)) == 1)


def test_a_double_click_hands_in_once(writing):
    editor(writing).fill("once is enough")
    writing.get_by_role("button", name=HAND_IN).dblclick()
    writing.get_by_text("Submitted.").wait_for()
    assert len(rows(Demonstration)) == 1


def test_nothing_written_is_said_and_the_page_stays(writing):
    writing.get_by_role("button", name=HAND_IN).click()
    writing.get_by_role("alert").get_by_text("The completion is empty").wait_for()
    assert editor(writing).evaluate("e => e === document.activeElement"), "one writes on where it is missing"
    editor(writing).fill("now something")
    writing.get_by_role("alert").wait_for(state="detached")  # it goes with the next save that is fine
    writing.get_by_role("button", name=HAND_IN).click()
    until(writing, lambda: len(rows(Demonstration)) == 1)


def test_an_empty_report_is_refused_where_it_is_written(writing):
    writing.get_by_text("Report a problem with this task").click()
    writing.get_by_role("button", name="Send report").click()
    writing.locator(".report [role=alert]", has_text="The text is empty").wait_for()
    assert writing.get_by_label("What is wrong?").evaluate("e => e === document.activeElement")
    writing.keyboard.type("It breaks off.")
    writing.get_by_role("button", name="Send report").click()
    writing.locator(".note", has_text="Report sent.").wait_for()
    assert writing.get_by_role("alert").count() == 0


def test_enter_in_the_note_of_a_skip_answers_nothing(page, ana):
    make_round(1, k=2)
    sign_in(page, ana)
    page.get_by_role("button", name="Start labeling").click()
    at_work(page, "Rate completion A")
    page.locator(".scale label", has_text="5").first.click()
    page.get_by_text("Skip task").click()
    page.get_by_label("Note (optional)").press("Enter")
    assert "The task is unclear" in page.evaluate("document.activeElement.innerText")
    assert page.get_by_role("heading", level=1).inner_text() == "Rate completion A"
    assert page.locator("[name='flags_complete.A']").input_value() == ""


def test_a_lost_lease_is_said_and_the_work_is_taken(writing, people):
    ben = people.labeler("ben")
    with transaction() as session:
        session.execute(update(Assignment).values(labeler_id=ben.id, fence=2))
    editor(writing).fill("a little late")
    writing.get_by_role("alert").get_by_text("ran out").wait_for()
    writing.get_by_role("button", name=HAND_IN).click()
    writing.get_by_text("kept as an extra answer").wait_for()
    assert rows(Demonstration)[0].surplus is True


def close_rounds() -> None:
    with transaction() as session:
        for round in session.query(Round):
            rules.close_round(session, round)


def test_a_round_that_closes_while_one_writes_is_said(writing):
    close_rounds()
    editor(writing).fill("a little late")
    writing.get_by_role("alert").get_by_text("This round was closed").wait_for()
    assert not writing.get_by_text("somebody else").is_visible()
    url = writing.url
    writing.get_by_role("button", name=HAND_IN).click()
    writing.get_by_text("Submitted and kept as an extra answer").wait_for()
    writing.goto(url)
    assert writing.get_by_text("It is kept as an extra answer").is_visible()


def test_a_round_that_closes_while_one_changes_what_was_handed_in(writing):
    url = writing.url
    editor(writing).fill("It stands.")
    with going_on(writing):
        writing.get_by_role("button", name="Submit and stop").click()
    writing.goto(url)
    writing.get_by_role("button", name="Edit submission").click()
    at_work(writing, "Write a completion")
    editor(writing).fill("Too late.")
    close_rounds()
    writing.get_by_role("button", name=HAND_IN).click()
    writing.get_by_role("alert").get_by_text("Your earlier submission remains").wait_for()
    assert editor(writing).input_value() == "Too late."
    writing.goto(url)
    assert writing.get_by_text("It stands.").is_visible() and writing.get_by_text("Too late.").is_visible()
    assert [one.text for one in rows(Completion)] == ["It stands."]
    assert [one.ended_at for one in rows(EarlierVersion)] == [None]


def test_a_round_that_closes_before_an_undo(writing):
    editor(writing).fill("It stands.")
    writing.get_by_role("button", name="Submit and stop").click()
    writing.get_by_role("button", name=re.compile("^Undo")).wait_for()
    close_rounds()
    writing.get_by_role("button", name=re.compile("^Undo")).click()
    writing.get_by_text("The round has closed in the meantime").wait_for()
    assert [one.text for one in rows(Completion)] == ["It stands."]


def test_active_time_is_counted(writing):
    editor(writing).fill("thinking")
    until(writing, lambda: int(writing.locator("[name=active_seconds]").input_value()) >= 2)
    writing.get_by_role("button", name=HAND_IN).click()
    writing.get_by_text("Submitted.").wait_for()
    assert 2 <= rows(Demonstration)[0].active_seconds < 30


def test_a_busy_server_is_said_only_if_it_takes_long(writing):
    """No word for less than 300 ms."""
    writing.evaluate(
        """() => {
          const line = document.getElementById("saved");
          window.states = [];
          const note = () => states.push(line.dataset.state);
          new MutationObserver(note).observe(line, {attributes: true, childList: true});
        }"""
    )
    editor(writing).fill("fast")
    until(writing, lambda: saved_text("fast"))
    writing.locator("#saved", has_text="Saved").wait_for()
    assert "saving" not in writing.evaluate("states")
    writing.route("**/draft", lambda route: (writing.wait_for_timeout(600), route.continue_()))
    editor(writing).fill("slow")
    until(writing, lambda: saved_text("slow"))
    assert "saving" in writing.evaluate("states")
