"""No word is lost: saved while one writes, kept in the browser until the server has it, and not when one lets it go."""

import re

from sqlalchemy import update

from app.assignments import drafts
from app.assignments.tables import Assignment, Draft, Skip
from app.database import transaction
from app.demonstrations.tables import Demonstration
from app.reports.tables import Report
from tests.browser.conftest import sign_in
from tests.browser.day import (
    at_work,
    copies,
    editor,
    expire_sessions,
    going_on,
    rows,
    saved_text,
    sign_in_again,
    until,
)

HAND_IN = re.compile("^Hand in and go on")


def test_the_draft_is_saved_within_two_seconds_and_found_again(writing):
    editor(writing).press_sequentially("every word counts", delay=5)
    until(writing, lambda: saved_text("every word counts"))
    writing.locator("#saved", has_text="Saved").wait_for()
    until(writing, lambda: copies(writing) == [])
    writing.reload()
    assert editor(writing).input_value() == "every word counts"
    writing.goto("/")
    writing.get_by_role("button", name=re.compile("^Resume")).click()
    assert editor(writing).input_value() == "every word counts"


def test_who_writes_without_a_pause_is_saved_too(writing):
    """Saving counts from the first unsaved word, so it never waits for the last one."""
    for _word in range(300):
        editor(writing).press_sequentially("word ", delay=10)
        if any(draft.content.get("text") for draft in rows(Draft)):
            return
    raise AssertionError("nothing is saved while one goes on writing")


def test_what_is_written_before_the_script_comes_is_saved_too(writing):
    held: list = []
    writing.route("**/desk.js*", lambda route: held.append(route))
    writing.goto(writing.url, wait_until="commit")
    editor(writing).fill("quick fingers")
    until(writing, lambda: held)
    held[0].continue_()
    until(writing, lambda: saved_text("quick fingers"))


def test_a_tab_closed_in_mid_word_loses_nothing(writing):
    url = writing.url
    editor(writing).fill("closed in mid w")
    writing.close(run_before_unload=False)
    again = writing.context.new_page()
    again.goto(url)
    until(again, lambda: saved_text("closed in mid w") or again.get_by_text("the server never got").is_visible())


def test_without_a_network_the_page_says_so_and_saves_when_it_is_back(writing):
    writing.context.set_offline(True)
    editor(writing).fill("written in a tunnel")
    writing.locator("#saved", has_text="No connection").wait_for()
    assert writing.locator("#saved").get_attribute("data-state") == "offline"
    assert "No connection" in writing.locator("#spoken").inner_text(), "it is spoken once"
    assert len(copies(writing)) == 1
    writing.get_by_role("button", name=HAND_IN).click()
    writing.locator("#saved", has_text="not sent yet").wait_for()
    assert editor(writing).input_value() == "written in a tunnel", "the page stays"
    writing.context.set_offline(False)
    until(writing, lambda: saved_text("written in a tunnel"))
    until(writing, lambda: copies(writing) == [])
    writing.locator("#saved", has_text="Saved").wait_for()
    writing.locator("#spoken", has_text="Saved").wait_for(state="attached")
    writing.get_by_role("button", name=HAND_IN).click()
    until(writing, lambda: len(rows(Demonstration)) == 1)


def leave_words_behind(writing, text: str) -> str:
    """Write without a network and close the tab; returns the page's address."""
    writing.context.set_offline(True)
    editor(writing).fill(text)
    writing.locator("#saved", has_text="No connection").wait_for()
    url = writing.url
    writing.close(run_before_unload=False)
    return url


def test_words_in_the_browser_alone_are_offered_on_return(writing):
    context = writing.context
    url = leave_words_behind(writing, "only here")
    context.set_offline(False)
    page = context.new_page()
    page.goto("/")
    page.get_by_text("In this browser is text that the server never got").wait_for()
    page.get_by_role("link", name=re.compile("^Open the work of")).click()
    page.wait_for_url(f"**{url[-20:]}")
    at_work(page, "Write a completion")
    page.locator("#standing").get_by_text("that the server never got").wait_for()
    assert editor(page).input_value() == "" and not saved_text("only here"), "nothing is applied unasked"
    page.get_by_role("button", name="Use this one").click()
    until(page, lambda: saved_text("only here"))
    until(page, lambda: editor(page).input_value() == "only here")
    assert copies(page) == []


def test_words_in_the_browser_never_go_over_newer_ones_on_the_server(writing, ana):
    context = writing.context
    url = leave_words_behind(writing, "older, here")
    with transaction() as session:
        held = session.query(Assignment).one()
        drafts.save(session, held, ana, {"text": "newer, there"}, version=0)
    context.set_offline(False)
    page = context.new_page()
    page.goto(url)
    page.locator("#standing").get_by_text("The server has newer text").wait_for()
    assert page.get_by_text("older, here").is_visible() and editor(page).input_value() == "newer, there"
    page.get_by_role("button", name="Keep this one, let the other go").click()
    assert copies(page) == [] and saved_text("newer, there")


def test_a_reload_in_mid_word_loses_nothing_and_alarms_nobody(writing):
    """The page that is left sends its last words while the next one is being made, which may be without them."""
    editor(writing).fill("reloaded in mid w")
    writing.wait_for_timeout(300)
    assert len(copies(writing)) == 1 and not saved_text("reloaded in mid w")
    writing.reload()
    until(writing, lambda: editor(writing).input_value() == "reloaded in mid w")
    until(writing, lambda: copies(writing) == [])
    assert writing.locator("#standing .alert").count() == 0
    editor(writing).fill("and left in mid w")
    writing.wait_for_timeout(300)
    writing.goto("/")
    until(writing, lambda: copies(writing) == [])
    assert saved_text("and left in mid w")
    assert not writing.get_by_text("that the server never got").is_visible()


def test_words_of_another_account_are_never_shown(writing, people):
    context = writing.context
    url = leave_words_behind(writing, "ana's own words")
    context.set_offline(False)
    context.clear_cookies()
    page = context.new_page()
    ben = people.labeler("ben")
    with transaction() as session:
        session.execute(update(Assignment).values(labeler_id=None, state="open", lease_until=None, claimed_at=None))
    sign_in(page, ben)
    assert not page.get_by_text("the server never got").is_visible()
    page.get_by_role("button", name="Start labeling").click()
    at_work(page, "Write a completion")
    assert url.rsplit("/", 1)[1] in page.url, "the very same assignment"
    assert page.get_by_text("ana's own words").count() == 0
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    assert len(copies(page)) == 1, "and they wait for ana"


def test_leaving_by_a_link_saves_first(writing):
    editor(writing).fill("and away")
    writing.get_by_role("link", name="Desk").click()
    writing.get_by_role("heading", level=1, name="Your desk").wait_for()
    assert saved_text("and away") and copies(writing) == []
    assert not writing.get_by_text("the server never got").is_visible()


def test_signing_out_saves_first(writing):
    editor(writing).fill("saved on the way out")
    writing.get_by_role("button", name="Sign out").click()
    writing.wait_for_url("**/sign-in")
    assert saved_text("saved on the way out") and copies(writing) == []


def test_signing_out_without_a_network_asks(writing):
    writing.context.set_offline(True)
    editor(writing).fill("not yet there")
    writing.get_by_role("button", name="Sign out").click()
    dialog = writing.get_by_role("dialog", name="Some of what you wrote has not reached the server")
    dialog.get_by_role("button", name="Stay signed in").click()
    assert editor(writing).input_value() == "not yet there" and len(copies(writing)) == 1
    writing.context.set_offline(False)
    until(writing, lambda: saved_text("not yet there"))


def test_signing_out_can_let_words_go(writing):
    writing.route("**/draft", lambda route: route.abort())
    editor(writing).fill("let it go")
    writing.get_by_role("button", name="Sign out").click()
    writing.get_by_role("button", name="Sign out and discard text").click()
    writing.wait_for_url("**/sign-in")
    assert copies(writing) == [] and not saved_text("let it go")


def report_note(page):
    return page.get_by_label("What is wrong with it?")


def test_a_half_written_report_waits_in_the_browser_until_it_is_sent(writing, ana):
    writing.get_by_text("Report a problem with this item").click()
    report_note(writing).press_sequentially("It breaks off aft")
    writing.reload()
    report_note(writing).and_(writing.locator(":visible")).wait_for()
    assert report_note(writing).input_value() == "It breaks off aft"
    assert writing.locator(".report").get_by_text("Not sent yet").is_visible()
    writing.goto("/")
    writing.locator("#unsent", has_text="It breaks off aft").get_by_role("link").click()
    at_work(writing, "Write a completion")
    expire_sessions()
    report_note(writing).press_sequentially("er a word")
    writing.get_by_role("button", name="Send the report").click()
    writing.locator("#saved").get_by_role("link", name="Sign in").click()
    sign_in_again(writing, ana)
    at_work(writing, "Write a completion")
    assert report_note(writing).input_value() == "It breaks off after a word" and not rows(Report)
    writing.get_by_role("button", name="Send the report").click()
    writing.locator(".note", has_text="Reported.").wait_for()
    assert copies(writing) == [] and len(rows(Report)) == 1
    work = writing.url
    writing.goto(f"/reports/{rows(Report)[0].public_id}")
    again = writing.get_by_label("Write again")
    again.fill("By the way")
    writing.reload()
    assert again.input_value() == "By the way"
    writing.get_by_role("button", name="Send").click()
    writing.locator("ol.talk", has_text="By the way").wait_for()
    until(writing, lambda: copies(writing) == [])
    assert again.input_value() == ""
    writing.goto(work)
    at_work(writing, "Write a completion")
    writing.get_by_text("Report a problem with this item").click()
    report_note(writing).fill("And ano")
    writing.get_by_role("button", name="Sign out").click()
    writing.get_by_role("button", name="Sign out and discard text").click()
    writing.wait_for_url("**/sign-in")
    assert copies(writing) == []


def test_the_note_of_a_skip_waits_until_it_is_skipped(writing):
    writing.get_by_text("Skip this").click()
    writing.get_by_label("Note (optional)").fill("Too much law")
    writing.reload()
    at_work(writing, "Write a completion")
    assert writing.get_by_label("Note (optional)").input_value() == "Too much law"
    with going_on(writing):
        writing.get_by_role("button", name="It needs knowledge I do not have").click()
    assert [one.note for one in rows(Skip)] == ["Too much law"] and copies(writing) == []
