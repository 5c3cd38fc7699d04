"""A labeler's whole day in a real browser: by mouse, by touch, by keyboard alone, and without scripts."""

import re

from sqlalchemy import select

from app.assignments.tables import Assignment, AssignmentState, Draft, EarlierVersion, Skip
from app.comparisons.tables import Comparison
from app.database import reading
from app.demonstrations.tables import Demonstration
from app.reports.tables import Report
from app.rounds.tables import ItemKind
from tests.browser.conftest import sign_in
from tests.browser.day import at_work, going_on, rows, until
from tests.desk import make_round

COMPARE, WRITE = "Rank the completions", "Write a completion"


def a_day_of_work() -> None:
    """A comparison, a demonstration, and one more to be skipped."""
    make_round(1, k=2, number=1)
    make_round(2, kind=ItemKind.DEMONSTRATION, number=2)


def focused(page) -> str:
    return page.evaluate("document.activeElement.innerText || document.activeElement.name || ''")


def whole_page_loads(page) -> list[str]:
    """Notes every page that is loaded anew from now on."""
    loads: list[str] = []
    page.on("domcontentloaded", lambda tab: loads.append(tab.url))
    return loads


def test_by_mouse(page, ana, people):
    a_day_of_work()
    sign_in(page, ana)
    page.get_by_text("3 tasks to do.").wait_for()
    page.get_by_role("button", name="Start labeling").click()
    for rating in (5, 2):
        page.locator(".panel:not([hidden])").get_by_role("radio", name=str(rating), exact=True).check()
        page.get_by_role("button", name=re.compile(r"^Next \(no other flags\)")).click()
    at_work(page, COMPARE)
    page.locator("#board .slip.chosen").wait_for()
    page.get_by_role("button", name=re.compile("^Confirm order and submit")).click()
    at_work(page, WRITE)
    # Undone within ten seconds, and handed in again.
    page.get_by_role("button", name=re.compile("^Undo")).click()
    page.get_by_text("Submission withdrawn").wait_for()
    assert rows(Comparison) == []
    at_work(page, COMPARE)
    page.get_by_role("button", name=re.compile("^(Confirm order and submit|Submit and continue)")).click()
    at_work(page, WRITE)
    assert len(rows(Comparison)) == 1
    # Reporting a problem changes nothing about the work.
    page.get_by_label("Your completion").fill("A completion.")
    page.get_by_text("Report a problem with this task").click()
    page.get_by_label("What is wrong?").fill("The prompt ends in the middle.")
    page.get_by_role("button", name="Send report").click()
    page.get_by_text("Report sent. The reply will appear on your desk").wait_for()
    assert page.get_by_label("Your completion").input_value() == "A completion."
    assert len(rows(Report)) == 1
    with going_on(page):
        page.get_by_role("button", name=re.compile("^Submit and continue")).click()
    assert len(rows(Demonstration)) == 1
    at_work(page, WRITE)
    page.get_by_text("Skip task").click()
    page.get_by_label("Note (optional)").fill("no idea what is asked")
    page.get_by_role("button", name=re.compile("^The task is unclear")).click()
    page.get_by_text("No more tasks to do.").wait_for()
    assert [(one.reason, one.note) for one in rows(Skip)] == [("unclear", "no idea what is asked")]
    # The desk at the end of it.
    names, counts = (page.locator(f".figures {tag}").all_inner_texts() for tag in ("dt", "dd"))
    figures = dict(zip(names, counts, strict=True))
    assert (figures["Submitted today"], figures["Skipped"]) == ("2", "1")
    assert page.get_by_text("1 submitted, 0 to do").count() == 2
    page.get_by_role("link", name="1", exact=True).click()
    page.get_by_role("button", name=re.compile("^Resume")).click()
    at_work(page, WRITE)
    assert rows(Skip) == []
    page.get_by_label("Your completion").fill("Now I know.")
    page.get_by_role("button", name="Submit and stop").click()
    page.get_by_text("Submitted.").wait_for()
    # One's own work is changed until the round closes.
    page.get_by_role("link", name="prompt 1 of round 2").click()
    page.get_by_role("button", name="Edit submission").click()
    page.get_by_text("You are editing what you submitted").wait_for()
    page.get_by_label("Your completion").fill("Now I know better.")
    page.get_by_role("button", name="Submit and stop").click()
    page.get_by_text("Submitted again").wait_for()
    with_text = {one.content["text"] for one in rows(Draft) if "text" in one.content}
    assert with_text == {"A completion.", "Now I know better."}
    assert [one.content.get("text") for one in rows(EarlierVersion)] == [None, "Now I know."]


def test_by_touch(browser, live, ana):
    a_day_of_work()
    context = browser.new_context(
        base_url=live, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, locale="en"
    )
    context.set_default_timeout(30_000)
    page = context.new_page()
    sign_in(page, ana)
    page.get_by_role("button", name="Start labeling").tap()
    assert page.locator("kbd:visible").count() == 0
    for rating in (3, 6):
        page.locator(".panel:not([hidden]) .scale label").nth(rating - 1).tap()
        page.get_by_role("button", name=re.compile("^Next")).tap()
    at_work(page, COMPARE)
    page.locator("#board .slip.chosen").wait_for()
    page.get_by_role("button", name=re.compile("^Confirm order and submit")).tap()
    at_work(page, WRITE)
    page.get_by_label("Your completion").fill("By touch.")
    with going_on(page):
        page.get_by_role("button", name=re.compile("^Submit and continue")).tap()
    page.get_by_role("button", name=re.compile("^Undo")).tap()
    page.get_by_text("Submission withdrawn").wait_for()
    assert rows(Demonstration) == []
    with going_on(page):
        page.get_by_role("button", name=re.compile("^Submit and continue")).tap()
    assert len(rows(Demonstration)) == 1
    at_work(page, WRITE)
    page.get_by_text("Skip task").tap()
    page.get_by_role("button", name=re.compile("^Something is broken")).tap()
    page.get_by_text("No more tasks to do.").wait_for()
    assert [one.reason for one in rows(Skip)] == ["broken"]


def test_by_keyboard_alone(page, ana):
    a_day_of_work()
    sign_in(page, ana)
    page.locator("main button:focus").wait_for()
    page.keyboard.press("Enter")  # the desk's button has the focus
    for letter, rating in (("A", 3), ("B", 6)):
        at_work(page, f"Rate completion {letter}")
        page.keyboard.press(str(rating))
    at_work(page, COMPARE)
    page.locator("#board .slip.chosen").wait_for()
    page.keyboard.press("Control+Enter")
    at_work(page, WRITE)
    assert focused(page) == WRITE, "after going on, the focus stands on the page's heading"
    page.keyboard.press("u")  # undo: its key is printed on the button
    page.get_by_text("Submission withdrawn").wait_for()
    at_work(page, COMPARE)
    page.locator("#board .slip.chosen").wait_for()
    page.keyboard.press("Control+Enter")
    at_work(page, WRITE)
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keyboard shortcuts").wait_for()
    told = page.get_by_role("dialog").inner_text()
    assert "Skip task" in told and "Save draft" in told and "Submit and continue" in told
    page.keyboard.press("Escape")
    page.get_by_label("Your completion").focus()
    page.keyboard.type("p ? k u 1: typed, not pressed")
    with going_on(page):
        page.keyboard.press("Control+Enter")
    at_work(page, WRITE)
    assert len(rows(Demonstration)) == 1
    page.keyboard.press("p")
    page.get_by_role("button", name=re.compile("^It needs knowledge")).wait_for()
    page.keyboard.press("2")  # one key for the reason
    page.get_by_text("No more tasks to do.").wait_for()
    assert [one.reason for one in rows(Skip)] == ["needs_expertise"]
    texts = [one.content["text"] for one in rows(Draft) if one.content.get("text")]
    assert texts == ["p ? k u 1: typed, not pressed"]


def test_single_keys_can_be_switched_off(page, ana):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    sign_in(page, ana)
    page.keyboard.press("Enter")
    at_work(page, WRITE)
    page.get_by_label("Use single-key shortcuts").uncheck()
    assert page.locator("kbd.key:visible").count() == 0, "no button shows a key that does nothing"
    page.locator("h1").focus()
    for key in ("p", "?", "k"):
        page.keyboard.press(key)
    assert not page.get_by_role("dialog").is_visible()
    assert page.locator("details.pass[open]").count() == 0
    page.reload()
    at_work(page, WRITE)
    assert not page.get_by_label("Use single-key shortcuts").is_checked(), "it is remembered"


def test_without_scripts(browser, live, ana):
    a_day_of_work()
    context = browser.new_context(base_url=live, java_script_enabled=False)
    context.set_default_timeout(30_000)
    page = context.new_page()
    sign_in(page, ana)
    page.get_by_role("button", name="Start labeling").click()
    assert page.locator("kbd:visible").count() == 0, "no button shows a key that does nothing"
    for rating in ("4", "2"):
        page.locator(".panel:not([hidden])").get_by_role("radio", name=rating, exact=True).check()
        page.get_by_role("button", name=re.compile("^Next")).click()
    page.get_by_role("button", name=re.compile("^Confirm order and submit")).click()
    assert "Submitted." in page.inner_text("#notes")
    page.get_by_role("button", name=re.compile("^Undo")).click()
    assert "Submission withdrawn" in page.inner_text("#notes") and rows(Comparison) == []
    page.get_by_role("button", name=re.compile("^(Confirm order and submit|Submit and continue)")).click()
    page.get_by_label("Your completion").fill("first words")
    page.get_by_role("button", name=re.compile("^Save draft")).click()
    page.get_by_text("Report a problem with this task").click()
    page.get_by_label("What is wrong?").fill("It is in a language I do not read.")
    page.get_by_role("button", name="Send report").click()
    assert "Report sent." in page.inner_text("#notes")
    assert page.get_by_label("Your completion").input_value() == "first words"
    page.get_by_text("Skip task").click()
    page.get_by_role("button", name=re.compile("^I would rather not read this")).click()
    assert "Skipped" in page.inner_text("#notes") and rows(Demonstration) == []
    page.get_by_label("Your completion").fill("Without scripts.")
    page.get_by_role("button", name="Submit and stop").click()
    assert len(rows(Demonstration)) == 1
    page.get_by_role("link", name="prompt 1 of round 2").click()
    page.get_by_role("button", name="Edit submission").click()
    page.get_by_label("Your completion").fill("Changed without scripts.")
    page.get_by_role("button", name="Discard changes").click()
    assert "Changes discarded. Your submission remains as it was." in page.inner_text("#notes")
    page.get_by_text("Without scripts.").wait_for()


def test_the_answer_to_a_report_is_on_the_desk(page, ana, people, client):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    sign_in(page, ana)
    page.get_by_role("button", name="Start labeling").click()
    at_work(page, WRITE)
    page.get_by_text("Report a problem with this task").click()
    page.get_by_role("button", name="Send report").click()
    page.get_by_role("alert").get_by_text("The text is empty").wait_for()
    page.get_by_label("What is wrong?").fill("Is this a joke?")
    page.get_by_role("button", name="Send report").click()
    page.get_by_text("Report sent.").wait_for()
    olga = people.sign_in(client, people.admin("olga"))
    [report] = rows(Report)
    olga.post(f"/admin/reports/{report.public_id}/reply", data={"text": "No. Take it as it is.", **people.csrf(olga)})
    page.goto("/")
    page.get_by_text("No. Take it as it is.").wait_for()
    page.get_by_role("link", name="View report").click()
    page.get_by_role("heading", name="Your report").wait_for()
    page.goto("/")
    page.get_by_role("button", name="Mark as read").click()
    page.wait_for_url("**/")
    assert page.get_by_text("No. Take it as it is.").count() == 0


def test_the_next_page_is_there_at_once(page, ana):
    make_round(3, kind=ItemKind.DEMONSTRATION)
    sign_in(page, ana)
    page.get_by_role("button", name="Start labeling").click()
    at_work(page, WRITE)
    loads = whole_page_loads(page)
    for number in (1, 2):
        with page.expect_response(lambda reply: reply.url.endswith("/ahead")) as prepared:
            pass
        following = prepared.value.json()["next"]
        until(
            page,
            lambda url=following: page.evaluate(
                "url => performance.getEntriesByName(location.origin + url).length", url
            ),
        )
        page.get_by_label("Your completion").fill(f"number {number}")
        asked: list[str] = []
        page.on(
            "request", lambda request, asked=asked: asked.append(f"{request.method} {request.url.split('/', 3)[3]}")
        )
        page.get_by_role("button", name=re.compile("^Submit and continue")).click()
        page.wait_for_url(f"**{following}")
        page.get_by_text("Submitted.").wait_for()
        pages = [one for one in asked if one.startswith("GET assignments")]
        assert pages == [], "the page was there before it was asked for"
        assert focused(page) == WRITE
        at_work(page, WRITE)
    assert loads == [], "and nothing is loaded anew"
    assert sum(one.ahead_for_id is not None for one in rows(Assignment)) == 0
    page.go_back()
    page.get_by_role("heading", name="Submitted").wait_for()


def test_one_comparison_after_another_without_a_page_load(page, ana):
    """What one page's script listens to ends with it: a key rates once, and only what is shown."""
    make_round(3, k=3)
    sign_in(page, ana)
    page.keyboard.press("Enter")
    loads: list[str] = []
    for ratings in ("642", "135", "726"):
        for letter, rating in zip("ABC", ratings, strict=True):
            at_work(page, f"Rate completion {letter}")
            page.locator(f".completion[data-letter={letter}]:not([hidden])").wait_for()
            page.keyboard.press("w")
            page.keyboard.press("w")  # the flag is set and unset, once each
            page.keyboard.press(rating)
        at_work(page, COMPARE)
        page.locator("#board .slip.chosen").wait_for()
        loads = loads or whole_page_loads(page)
        with going_on(page):
            page.keyboard.press("Control+Enter")
    page.get_by_text("No more tasks to do").wait_for()
    with reading() as session:
        stored = [one.completions for one in session.scalars(select(Comparison))]
    assert [[row.rating for row in one] for one in stored] == [[6, 4, 2], [1, 3, 5], [7, 2, 6]]
    assert not any(row.flags["inappropriate_for_customer_assistant"] for one in stored for row in one)
    assert [url for url in loads if "/assignments/" in url] == []


def test_leaving_the_page_gives_the_next_one_back(page, ana):
    make_round(2, kind=ItemKind.DEMONSTRATION)
    sign_in(page, ana)
    page.get_by_role("button", name="Start labeling").click()
    at_work(page, WRITE)
    until(page, lambda: any(one.ahead_for_id for one in rows(Assignment)))
    page.wait_for_timeout(300)  # its page is being fetched
    page.goto("/")
    until(page, lambda: not any(one.ahead_for_id for one in rows(Assignment)))
    assert sorted(one.state for one in rows(Assignment)) == [AssignmentState.LEASED, AssignmentState.OPEN]


def test_undo_goes_after_its_seconds(page, ana, monkeypatch):
    from app.assignments import changes

    monkeypatch.setattr(changes, "UNDO_SECONDS", 2)
    make_round(2, kind=ItemKind.DEMONSTRATION)
    sign_in(page, ana)
    page.get_by_role("button", name="Start labeling").click()
    page.get_by_label("Your completion").fill("once")
    page.get_by_role("button", name="Submit and stop").click()
    undo = page.get_by_role("button", name=re.compile("^Undo"))
    undo.wait_for()
    assert undo.inner_text() == "Undo", "on the desk no key is at hand"
    undo.wait_for(state="detached")
    assert page.get_by_text("Submitted.").is_visible()


def test_the_lists_of_the_desk_have_pages(page, ana):
    from tests.app.assignments.test_changes import hand_in, written

    make_round(25, kind=ItemKind.DEMONSTRATION)
    for number in range(25):
        hand_in(ana, written(f"text {number}"))
    sign_in(page, ana)
    page.get_by_role("link", name="All submitted").click()
    seen = page.locator("tbody tr").count()
    page.get_by_role("link", name="Older").click()
    page.wait_for_url("**cursor=*")
    assert (seen, page.locator("tbody tr").count()) == (20, 5)


def test_the_first_visit_to_the_desk_is_light(browser, live, ana, people):
    """Label Studio: 8.2 MB in 35 requests; doccano: 739 kB in 21."""
    from tests.app.assignments.test_changes import hand_in, written

    make_round(8, kind=ItemKind.DEMONSTRATION)
    for number in range(6):
        hand_in(ana, written(f"text {number}"))
    context = browser.new_context(base_url=live)
    page = context.new_page()
    sign_in(page, ana)
    cookies = context.cookies()
    context = browser.new_context(base_url=live)
    context.add_cookies(cookies)
    page = context.new_page()
    network = context.new_cdp_session(page)
    network.send("Network.enable")
    sizes: dict[str, float] = {}
    network.on("Network.loadingFinished", lambda done: sizes.update({done["requestId"]: done["encodedDataLength"]}))
    page.goto("/", wait_until="networkidle")
    assert page.get_by_role("heading", name="Your desk").is_visible()
    assert len(sizes) <= 10, f"{len(sizes)} requests"
    assert sum(sizes.values()) <= 100_000, f"{sum(sizes.values()):.0f} bytes"


def test_nothing_of_a_task_stays_in_the_browser_after_it(page, ana):
    """A day is hundreds of tasks in one document; each used to leave its nodes and listeners behind."""
    make_round(9, k=2)
    sign_in(page, ana)
    loads = whole_page_loads(page)
    page.get_by_role("button", name="Start labeling").click()
    browser = page.context.new_cdp_session(page)
    browser.send("Performance.enable")

    def held() -> dict[str, int]:
        browser.send("HeapProfiler.collectGarbage")
        found = {one["name"]: one["value"] for one in browser.send("Performance.getMetrics")["metrics"]}
        return {name: int(found[name]) for name in ("Nodes", "JSEventListeners")}

    def one_task() -> None:
        at_work(page, "Rate completion A")
        page.keyboard.press("5")
        at_work(page, "Rate completion B")
        page.keyboard.press("2")
        at_work(page, COMPARE)
        page.locator("#board .slip.chosen").wait_for()
        with going_on(page):
            page.keyboard.press("Control+Enter")

    for _ in range(2):
        one_task()
    at_work(page, "Rate completion A")
    early = held()
    for _ in range(6):
        one_task()
    at_work(page, "Rate completion A")
    late = held()
    assert len(rows(Comparison)) == 8 and len(loads) == 1, "all tasks were done in one document"
    assert late["Nodes"] < 1.5 * early["Nodes"], (early, late)
    assert late["JSEventListeners"] < 1.5 * early["JSEventListeners"], (early, late)
