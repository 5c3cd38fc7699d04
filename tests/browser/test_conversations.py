"""A conversation as its labeler writes it: by keyboard, by mouse, without a script, and on a small screen."""

import re

import pytest

from app.assignments import rules as assignments
from app.conversations import queries, tasks
from app.database import reading, transaction
from app.policies import rules as policies
from app.policies.schemas import PolicyIn
from app.policies.tables import PolicyKind
from app.prompts import rules as prompts
from app.prompts.tables import PromptSource
from app.rounds import rules as rounds
from app.rounds.schemas import RoundPlan
from tests.browser.conftest import sign_in
from tests.browser.looks import complaints
from tests.chat_server import chat_server

OPENING = "Name a river in Europe, and say in two sentences what it is known for."
TOPIC = "A bot that helps people to choose a bicycle for the way to work."


@pytest.fixture
def server(database):
    """The policy that suggests, whose name nobody at the desk may see."""
    with chat_server() as made:
        made.answer = lambda request: [f"Suggestion {len(made.requests)}-{n}." for n in range(request["n"])]
        with transaction() as session:
            new = PolicyIn(name="zz-secret-policy", kind=PolicyKind.ENDPOINT, endpoint_url=made.url)
            policies.create(session, new, None)
        yield made


def open_round(**plan) -> None:
    with transaction() as session:
        said = [{"role": "user", "text": OPENING}]
        prompt = prompts.add(session, messages=said, source=PromptSource.CUSTOMER)
        plan = plan or {"starters": {"prompts": [prompt.public_id]}}
        made = rounds.create(session, name="Talk", plan=RoundPlan.model_validate({"conversations": plan}))
        rounds.resample_items(session, made)
        assignments.open_round(session, made)


def begin(page, people):
    sign_in(page, people.labeler("ana"))
    page.get_by_role("button", name="Start labeling").click()
    page.wait_for_selector("#text")


def stored():
    with reading() as session:
        (found,), _ = queries.page(session, None, 2)
    return found


def test_a_conversation_by_keyboard_alone(page, people, server):
    open_round()
    begin(page, people)
    page.wait_for_load_state("networkidle")  # keys work once their scripts are there
    assert page.evaluate("document.activeElement.id") == "text"
    page.keyboard.type("The Rhine. It")
    page.keyboard.press("Tab")
    page.keyboard.press("g")
    page.wait_for_selector(".suggestion")
    assert page.input_value("#text") == "The Rhine. It", "one goes on writing meanwhile"
    assert page.locator("#suggesting").inner_text() == "A suggestion is ready."
    page.keyboard.press("t")
    assert page.input_value("#text") == "The Rhine. It\n\nSuggestion 1-0."
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    page.keyboard.press("Tab")
    page.keyboard.press("t")
    assert page.input_value("#text") == "Suggestion 1-0."
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("text=Now you are the person")
    assert page.evaluate("document.activeElement.id") == "text"
    page.keyboard.type("Why?")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("text=Now you are the assistant")
    page.keyboard.type("Because it is long.")
    page.locator("text=Submit and stop").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/")
    found = stored()
    assert [(one.text, one.origin) for one in found.conversation.messages] == [
        ("Suggestion 1-0.", "taken"),
        ("Why?", "written"),
        ("Because it is long.", "written"),
    ]
    tasks.sample(found.alternatives.id)
    page.goto("/")
    page.get_by_role("button", name="Start labeling").click()
    page.wait_for_url("**/assignments/*")
    assert "zz-secret" not in page.content()


def test_every_state_of_the_page_is_accessible_and_looks_right(page, people, server):
    open_round(topics=[TOPIC], alternatives=4)
    begin(page, people)
    wrong = complaints(page, "topic")
    page.fill("#text", "Which bicycle is good for hills, rain and a child seat?")
    page.click("text=Add message")
    page.wait_for_selector("text=Now you are the assistant")
    page.fill("#text", "That depends on how far it is. How long is the way?")
    page.click("text=Add message")
    page.wait_for_selector("text=Now you are the person")
    page.fill("#text", "About eight kilometres, with one steep hill.")
    page.click("text=Add message")
    page.wait_for_selector("text=Now you are the assistant")
    server.answer = lambda _request: [
        "For hills and rain look for **low gears**, disc brakes and mudguards:\n\n"
        "- a trekking bicycle carries a child seat on its rack\n- an e-bike takes the hills off you\n\n"
        "`Tip`: try the seat on before you buy."
    ]
    page.click("text=Suggest a message")
    page.wait_for_selector(".suggestion")
    wrong += complaints(page, "suggestion")
    page.click("text=Use suggestion")
    page.click("text=Add message")
    page.wait_for_selector("text=Now you are the person")
    page.get_by_role("button", name="Edit message 1").click()
    page.wait_for_selector("[name='message.0']")
    wrong += complaints(page, "changing")
    page.fill("[name='message.0']", "Which bicycle for hills and rain?")
    page.click("text=Done")
    page.wait_for_selector("[name='message.0']", state="detached")
    assert "Which bicycle for hills and rain?" in page.locator(".transcript").inner_text()
    server.reply = (500, {}, b"")
    page.click("text=Suggest a message")
    page.wait_for_selector("text=No suggestion is available right now")
    wrong += complaints(page, "none")
    page.click("text=Submit and stop")
    page.wait_for_url("**/")
    page.locator("table a").first.click()
    page.wait_for_selector(".transcript")
    wrong += complaints(page, "handed in")
    server.reply = None
    server.answer = lambda request: [f"Answer {n}: take one with low gears." for n in range(request["n"])]
    tasks.sample(stored().alternatives.id)
    page.goto("/")
    page.get_by_role("button", name="Start labeling").click()
    page.wait_for_url("**/assignments/*")
    page.wait_for_selector(".prompt")
    wrong += complaints(page, "comparison")
    page.context.clear_cookies()
    sign_in(page, people.admin())
    page.goto(f"/admin/conversations/{stored().conversation.public_id}")
    wrong += complaints(page, "admin")
    page.get_by_role("link", name="Talk").first.click()
    page.get_by_role("heading", name="Settings").wait_for()
    wrong += complaints(page, "round")
    page.goto("/admin/rounds/new")
    assert not wrong, "\n".join(wrong)


def test_a_conversation_without_a_script(browser, live, people, server):
    open_round()
    context = browser.new_context(base_url=live, java_script_enabled=False, locale="en")
    page = context.new_page()
    begin(page, people)
    page.fill("#text", "half a")
    page.click("text=Suggest a message")
    page.wait_for_selector(".suggestion")
    assert page.input_value("#text") == "half a"
    page.fill("#text", "")
    page.click("text=Use suggestion")
    assert page.input_value("#text") == "Suggestion 1-0."
    page.click("text=Submit and stop")
    page.wait_for_url("**/")
    assert [one.origin for one in stored().conversation.messages] == ["taken"]


def test_a_conversation_is_undone_at_once_and_changed_later(page, people, server):
    open_round()
    begin(page, people)
    page.fill("#text", "The Rhine.")
    page.click("text=Submit and stop")
    page.get_by_role("button", name=re.compile("^Undo")).click()
    page.get_by_text("Submission withdrawn").wait_for()
    with reading() as session:
        assert queries.page(session, None, 2)[0] == []
    assert page.input_value("#text") == "The Rhine."
    page.click("text=Submit and stop")
    page.wait_for_url("**/")
    first = stored().conversation
    page.locator("table a").first.click()
    page.get_by_role("button", name="Edit submission").click()
    page.get_by_text("You are editing what you submitted").wait_for()
    page.click("text=Add message")
    page.wait_for_selector("text=Now you are the person")
    page.fill("#text", "Why that one?")
    page.click("text=Add message")
    page.wait_for_selector("text=Now you are the assistant")
    page.fill("#text", "Everybody knows it.")
    page.click("text=Submit and stop")
    page.get_by_text("Submitted again").wait_for()
    found = stored().conversation
    assert found.public_id == first.public_id
    assert [one.text for one in found.messages] == ["The Rhine.", "Why that one?", "Everybody knows it."]


def test_what_is_typed_while_a_policy_writes_is_kept_and_so_is_the_draft(page, people, server):
    open_round()
    begin(page, people)
    page.fill("#text", "My own words.")
    page.wait_for_selector("#saved:has-text('Saved')")
    page.reload()
    assert page.input_value("#text") == "My own words."
    page.click("text=Suggest a message")
    page.wait_for_selector(".suggestion")
    page.click("text=Suggest a message")
    page.locator(".suggestion").nth(1).wait_for()
    assert page.locator(".suggestion .raw").all_inner_texts() == ["Suggestion 2-0.", "Suggestion 1-0."]
    page.locator(".suggestion button").last.click()
    assert page.input_value("#text") == "My own words.\n\nSuggestion 1-0."
    page.click("text=Submit and stop")
    page.wait_for_url("**/")
    assert [one.origin for one in stored().conversation.messages] == ["edited"]


def test_a_suggestion_hides_nothing_and_is_taken_as_it_is(page, people, server):
    open_round()
    unseen = "\u200b\u202e\u2066\u00ad\ufeff\x1b\u2028\U000e0041\u3164"
    server.answer = lambda request: [f"Take{unseen}one 👩‍👧."] * request["n"]
    begin(page, people)
    page.click("text=Suggest a message")
    for _ in ("by the script", "by the page"):
        page.wait_for_selector(".suggestion")
        shown = "".join(f"⟨U+{ord(sign):04X}⟩" for sign in unseen)
        assert page.locator(".suggestion .raw").inner_text() == f"Take{shown}one 👩‍👧."
        page.fill("#text", "")
        page.locator(".suggestion button").click()
        assert page.input_value("#text") == f"Take{unseen}one 👩‍👧."
        page.wait_for_selector("#saved:has-text('Saved')")
        page.reload()
