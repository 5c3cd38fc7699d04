"""Every state of the desk and its pages: accessible in light and dark, at 360 px and wide, with targets one can hit."""

import re
from collections.abc import Iterator

from app.assignments import drafts, queries, rules
from app.assignments.tables import SkipReason
from app.database import transaction
from app.reports import rules as reports
from app.rounds.tables import ItemKind
from tests.app.assignments.test_changes import hand_in, written
from tests.browser.conftest import sign_in
from tests.browser.day import at_work, expire_sessions
from tests.browser.looks import complaints
from tests.desk import make_round

WRITE = "Write a completion"
HIT = "button:not(.visually-hidden), label:has(> input), summary, a.button"
SMALL = f"""[...document.querySelectorAll('main :is({HIT}), dialog[open] button')]
    .filter(one => one.checkVisibility()).map(one => [one.innerText, one.getBoundingClientRect()])
    .filter(([, box]) => box.width && (box.width < 24 || box.height < 24)).map(([text]) => text)"""


def states(page, people) -> Iterator[str]:
    """Names of the states the page is brought to, one after another."""
    ana, olga = people.labeler("ana"), people.admin("olga")
    sign_in(page, ana)
    yield "desk, empty"
    page.goto("/work/submitted")
    yield "list, empty"
    page.goto("/reports")
    yield "reports, empty"
    make_round(1, k=9, number=1, text="word " * 300 + "unbrokenlongword" * 30)
    make_round(12, kind=ItemKind.DEMONSTRATION, number=2)
    page.goto("/")
    yield "desk, first visit"
    page.get_by_role("button", name="Start labeling").click()
    at_work(page, "Rate completion A")
    yield "rating"
    page.get_by_text("Skip task").click()
    page.get_by_text("Report a problem with this task").click()
    yield "rating, skip and report open"
    page.get_by_role("button", name="Keyboard shortcuts").click()
    yield "rating, keys shown"
    page.keyboard.press("Escape")
    page.goto(f"{page.url.split('?')[0]}?at=ranking")
    at_work(page, "Rank the completions")
    yield "ranking"
    with transaction() as session:
        held = rules.claim(session, ana)
        reports.make(session, held, ana, "Answer C is cut off in the middle of a sentence.")
        rules.skip(session, held, ana, SkipReason.BROKEN, "see my report")
    for number in range(7):
        hand_in(ana, written(f"What ana wrote, number {number}, is long enough to be read."))
    with transaction() as session:
        [report] = session.query(reports.Report)
        reports.reply(session, report, olga, "Thank you. The round was made anew without it.")
    page.goto("/")
    yield "desk, full"
    for listing in ("unfinished", "submitted", "skipped"):
        page.goto(f"/work/{listing}")
        yield f"list, {listing}"
    page.goto(f"/reports/{report.public_id}")
    yield "report, answered"
    page.goto("/")
    page.get_by_role("link", name=re.compile("^prompt 6 of round 2")).click()
    yield "handed in"
    page.get_by_role("button", name="Edit submission").click()
    at_work(page, WRITE)
    yield "changing what was handed in"
    page.get_by_role("button", name="Discard changes").click()
    page.get_by_text("Changes discarded. Your submission remains as it was.").wait_for()
    page.get_by_role("button", name="Next task").click()
    at_work(page, WRITE)
    yield "writing"
    page.get_by_role("button", name=re.compile("^Submit and continue")).click()
    page.get_by_role("alert").wait_for()
    yield "writing, refused"
    url = page.url
    page.context.set_offline(True)
    page.get_by_label("Your completion").fill("Written in a tunnel, a few words that reached nobody yet.")
    page.locator("#saved", has_text="No connection").wait_for()
    yield "writing, offline"
    copy = page.evaluate("Object.entries(localStorage).find(([key]) => key.startsWith('plumbline.words.'))")
    page.context.set_offline(False)
    page.locator("#saved", has_text="Saved").wait_for()
    page.evaluate("([key, value]) => localStorage.setItem(`${key}2`, value)", copy)
    page.get_by_label("Your completion").fill("Other words, which the server has.")
    page.locator("#saved", has_text="Saved").wait_for()
    page.wait_for_timeout(1500)
    page.goto("/")
    yield "desk, words in the browser"
    page.goto(url)
    at_work(page, WRITE)
    page.locator("#standing").get_by_text("never reached the server").wait_for()
    yield "writing, words offered"
    page.get_by_role("button", name="Keep this version, discard the other").click()
    with transaction() as session:
        found = queries.assignment(session, url.rsplit("/", 1)[1], ana)
        draft = queries.draft(session, found, ana)
        drafts.save(session, found, ana, {"text": "From the other tab."}, version=draft.version)
    page.get_by_label("Your completion").fill("From this tab.")
    page.get_by_role("alert").wait_for()
    yield "writing, changed elsewhere"
    page.get_by_role("button", name="Keep this page's version").click()
    page.locator("#saved", has_text="Saved").wait_for()
    page.get_by_role("button", name=re.compile("^Submit and continue")).click()
    page.get_by_role("button", name=re.compile("^Undo")).wait_for()
    page.evaluate("document.querySelector('.undo').replaceWith(document.querySelector('.undo').cloneNode(true))")
    yield "next page, with undo"
    expire_sessions()
    page.get_by_label("Your completion").fill("After the session was over.")
    page.locator("#saved", has_text="You were signed out").wait_for()
    yield "writing, session over"
    sign_in(page, olga)
    page.goto("/admin/reports")
    yield "admin, reports"
    page.get_by_role("link", name=re.compile("^Answer C is cut off")).click()
    yield "admin, one report"
    yield from closing(page, ana, olga)


def closing(page, ana, olga) -> Iterator[str]:
    """A round is closed over a draft, and what its labeler and its admin see of that."""
    with transaction() as session:
        held = rules.claim(session, ana, 2)
        draft = queries.draft(session, held, ana)
        drafts.save(session, held, ana, {"text": "Half a sentence"}, version=draft.version)
    page.goto("/admin/rounds")
    page.get_by_role("link", name=re.compile("^Round 2")).click()
    yield "admin, an open round"
    page.get_by_role("link", name="Close round").click()
    page.get_by_text("Labelers keep their drafts").wait_for()
    yield "admin, closing a round"
    page.get_by_role("button", name="Close round").click()
    page.get_by_role("button", name="Reopen round").wait_for()
    yield "admin, a closed round"
    page.goto("/admin/rounds/new")
    yield "admin, a new round"
    sign_in(page, ana)
    page.get_by_role("heading", name="Closed before you submitted").wait_for()
    page.get_by_text("Discard", exact=True).first.click()
    yield "desk, a draft of a closed round"
    page.goto("/work/closed")
    yield "list, closed"
    page.get_by_role("button", name="Submit as is: prompt").click()
    page.get_by_text("kept as an extra answer").wait_for()
    assert page.get_by_role("heading", name="Closed before you submitted").count() == 0


def test_every_state_is_accessible_and_fits(page, people):
    wrong, seen = [], []
    for name in states(page, people):
        seen.append(name)
        wrong += [complaint.replace("PATH", name) for complaint in complaints(page, "PATH")]
        page.set_viewport_size({"width": 360, "height": 800})
        wrong += [f"{name}: too small to hit: {text}" for text in page.evaluate(SMALL)]
        page.set_viewport_size({"width": 1280, "height": 800})
    assert not wrong, "\n".join(wrong)
    assert len(seen) == 31, seen
