"""Onboarding in a real browser: with the keyboard alone, without scripts, and every page looked at by axe."""

from app.accounts.tables import Account
from app.database import reading, transaction
from app.guidelines import rules as guidelines
from app.guidelines.schemas import GuidelineIn
from app.onboarding import exercises, queries, screening, survey
from app.onboarding.schemas import ExerciseIn
from app.onboarding.tables import Screening
from app.rounds.tables import ItemKind
from tests.browser.conftest import sign_in
from tests.browser.day import copies
from tests.browser.looks import complaints
from tests.browser.ranking import rate
from tests.browser.test_accounts import tab_to
from tests.desk import make_round
from training.contract.records import Flag

PRACTICE = {
    "part": "practice",
    "prompt": "My neighbour plays the trumpet at night. What can I say to him?",
    "sensitive": True,
    "completions": [
        {"text": "Tell him kindly that you cannot sleep, and agree on an hour.", "tier": 1, "flags": {}},
        {"text": "People from there are all like that.", "tier": 2, "flags": {Flag.DENIGRATES: True}, "why": "Unkind."},
    ],
    "explanation": "The first **helps**. The second belittles people for where they come from.",
}


def write(**changes) -> str:
    with transaction() as session:
        given = ExerciseIn.model_validate({**PRACTICE, **changes})
        return exercises.write(session, given, None).item.public_id


def act(page, name: str) -> None:
    """Reach the button or link of that name by Tab and press it."""
    page.locator("main").focus()
    for _ in range(120):
        page.keyboard.press("Tab")
        named = page.evaluate("(document.activeElement.innerText || document.activeElement.value || '').trim()")
        if named.startswith(name):
            page.keyboard.press("Enter")
            return
    raise AssertionError(f"Tab never reaches {name!r}")


def test_practice_with_the_keyboard_alone(page, people):
    write()
    sign_in(page, people.labeler())
    act(page, "Practice")
    page.get_by_role("heading", name="Onboarding").wait_for()
    act(page, "Read guideline")
    page.get_by_role("heading", name="How to label: training").first.wait_for()
    act(page, "I have read this guideline")
    page.get_by_role("heading", name="Onboarding").wait_for()
    act(page, "Next practice exercise")
    page.get_by_role("heading", name="Before you read on").wait_for()
    assert "trumpet" not in page.content()
    page.keyboard.press("Enter")  # the button to show it has the focus
    page.get_by_text("trumpet").first.wait_for()


def test_a_whole_practice_exercise_with_the_keyboard_alone(page, people):
    write(sensitive=False)
    ana = people.labeler()
    with transaction() as session:
        guidelines.acknowledge(session, guidelines.current_guideline(session, "training"), ana)
    sign_in(page, ana)
    page.goto("/onboarding")
    act(page, "Next practice exercise")
    rate(page, "63")
    page.keyboard.press("Control+Enter")
    page.get_by_role("heading", name="Your answer and the reference").wait_for()
    assert page.get_by_text("The second belittles people").is_visible()
    prompt, completion = page.locator("section.prompt"), page.locator("article").first
    assert prompt.bounding_box()["y"] < completion.bounding_box()["y"], "one reads what was asked, then the answers"
    act(page, "Practice done")
    page.get_by_text("1 of 1 done").wait_for()


def test_feedback_on_practice_by_the_ordinary_form_without_scripts(browser, live, people):
    write(sensitive=False)
    ana = people.labeler()
    with transaction() as session:
        guidelines.acknowledge(session, guidelines.current_guideline(session, "training"), ana)
    context = browser.new_context(base_url=live, java_script_enabled=False)
    page = context.new_page()
    sign_in(page, ana)
    page.goto("/onboarding")
    page.get_by_role("button", name="Next practice exercise").click()
    page.get_by_text("trumpet").first.wait_for()
    page.get_by_role("button", name="Ranking").click()
    kind = page.locator("article", has_text="Tell him kindly").locator("[name^='tier.']").first.get_attribute("name")
    rude = page.locator("article", has_text="People from there").locator("[name^='tier.']").first.get_attribute("name")
    page.locator(f"[name='{kind}'][value='2']").check()
    page.locator(f"[name='{rude}'][value='1']").check()
    page.get_by_role("button", name="Submit and stop").click()
    page.get_by_role("heading", name="Your answer and the reference").wait_for()
    assert page.get_by_text("You ordered 0 of 1 pair the same way as the reference.").is_visible()
    assert page.get_by_text("The second belittles people").is_visible()
    page.get_by_role("link", name="Practice done").click()
    assert page.get_by_text("1 of 1 done").is_visible()


def test_an_admin_writes_an_exercise_with_the_keyboard_alone(page, people):
    sign_in(page, people.admin())
    page.goto("/admin/onboarding")
    act(page, "New practice exercise")
    page.get_by_role("heading", name="New practice exercise").wait_for()
    tab_to(page, "Prompt")
    page.keyboard.type("Name a fruit.")
    for text in ("Apple.", "Stone."):
        tab_to(page, "Text")
        page.keyboard.type(text)
        tab_to(page, "Place")
        page.keyboard.press("ArrowDown" if text == "Apple." else "End")
    tab_to(page, "Explanation of the reference")
    page.keyboard.type("A stone is no fruit.")
    tab_to(page, "Save exercise")
    page.keyboard.press("Enter")
    page.get_by_role("status").get_by_text("Exercise saved").wait_for()
    with reading() as session:
        (made,) = queries.exercises(session)
    assert [one.tier for one in made.references] == [1, 4]


def test_every_page_of_onboarding_is_accessible(page, people, live):
    ana, olga = people.labeler(), people.admin()
    write()
    write(part="screening", prompt="What do you think of the new mosque?")
    with transaction() as session:
        asked = ExerciseIn(part="screening", prompt="Console somebody who lost a parent.")
        exercise = exercises.write(session, asked, None).item.public_id
        survey.offer(session, None)
    wrong = []
    sign_in(page, ana)
    wrong += complaints(page, "desk-practice")
    page.goto("/onboarding")
    wrong += complaints(page, "onboarding-first")
    with reading() as session:
        newest = guidelines.queries.newest_guideline(session, "training")
    page.goto(f"/guidelines/{newest.public_id}/changes?next=/onboarding")
    wrong += complaints(page, "guideline-first")
    page.goto("/account")
    wrong += complaints(page, "account")
    page.goto("/survey")
    wrong += complaints(page, "survey")
    page.get_by_role("button", name="Submit answers").click()
    page.get_by_role("status").get_by_text("You will not be asked again.").wait_for()
    page.goto("/survey")
    wrong += complaints(page, "survey-asked")

    # A practice exercise: the warning, then the feedback.
    with transaction() as session:
        guidelines.acknowledge(session, newest, ana)
        screening.invite(session, "ana", olga)
    page.goto("/")
    wrong += complaints(page, "desk-screening")
    page.goto("/onboarding")
    page.get_by_role("button", name="Next practice exercise").click()
    page.get_by_role("heading", name="Before you read on").wait_for()
    wrong += complaints(page, "warning")
    id = page.url.split("/assignments/")[1][:16]
    token = people.bearer(ana)
    answers = {letter: {"rating": 4, "flags_complete": True, "tier": tier} for letter, tier in (("A", 1), ("B", 2))}
    page.request.post(f"/api/v1/assignments/{id}/submit", data={"completions": answers}, headers=token)
    page.goto(f"/assignments/{id}")
    wrong += complaints(page, "feedback")

    # The screening, handed in.
    for _ in range(2):
        begun = page.request.post("/api/v1/onboarding/next", data={"part": "screening"}, headers=token).json()
        shown = page.request.get(f"/api/v1/assignments/{begun['assignment']}", headers=token).json()
        body = {"text": "I am so sorry. Tell me about her."}
        if shown["kind"] == "comparison":
            body = {"completions": answers}
        page.request.post(f"/api/v1/assignments/{begun['assignment']}/submit", data=body, headers=token)
    page.goto("/onboarding")
    page.locator("[name='comfort.religion'][value=yes]").check()
    wrong += complaints(page, "onboarding-screening")
    page.get_by_role("button", name="Save and submit").click()
    page.get_by_role("status").get_by_text("Submitted.").wait_for()
    wrong += complaints(page, "onboarding-handed-in")

    page.context.clear_cookies()
    sign_in(page, olga)
    with reading() as session:
        number = session.query(Screening).one().number
    for path, name in (
        ("/reviews", "reviews"),
        ("/admin/onboarding", "admin"),
        ("/admin/onboarding/exercises/new", "new-practice"),
        ("/admin/onboarding/exercises/new?part=screening&kind=demonstration", "new-demonstration"),
        (f"/admin/onboarding/exercises/{exercise}", "exercise-demonstration"),
        (f"/admin/onboarding/screenings/{number}", "screening"),
        ("/admin/onboarding/survey", "survey-few"),
        (f"/admin/accounts/{ana.public_id}", "account-paused"),
    ):
        page.goto(path)
        wrong += complaints(page, name)
    with reading() as session:
        practice = queries.exercises(session)[0].item.public_id
    page.goto(f"/admin/onboarding/exercises/{practice}")
    wrong += complaints(page, "exercise")
    for _ in range(5):
        with transaction() as session:
            survey.count(session, {"gender": ["female"], "glad": ["agree"], "nationality": ["PH"]})
    page.goto("/admin/onboarding/survey")
    wrong += complaints(page, "survey-results")
    page.goto("/reviews")
    page.locator("[name=rating][value='6']").check()
    page.get_by_role("button", name="Save and continue").click()
    page.get_by_text("No demonstrations to rate").wait_for()
    wrong += complaints(page, "reviews-empty")
    page.goto(f"/admin/onboarding/screenings/{number}")
    page.get_by_role("button", name="Accept into train pool").click()
    page.get_by_role("status").get_by_text("Decision saved.").wait_for()
    wrong += complaints(page, "screening-decided")
    with reading() as session:
        assert not session.get_one(Account, ana.id).paused
    assert not wrong, "\n".join(wrong)


def test_a_half_written_self_assessment_waits_in_the_browser(page, people):
    ana, olga = people.labeler(), people.admin()
    with transaction() as session:
        only = exercises.write(session, ExerciseIn(part="screening", prompt="Console somebody."), olga)
        screening.invite(session, "ana", olga)
        exercises.change(session, only, olga, retired=True)
    sign_in(page, ana)
    page.goto("/onboarding")
    note = page.get_by_label("Other groups, cultures")
    for written, button in (
        ("Basque, and Bask folklo", None),
        ("Basque folklore", "Save"),
        ("Basque", "Save and submit"),
    ):
        note.fill(written)
        page.reload()
        assert note.input_value() == written
        assert page.get_by_text("Not sent yet").is_visible()
        if button:
            page.locator("[name='comfort.religion'][value=yes]").check()
            page.get_by_role("button", name=button, exact=button == "Save").click()
            page.get_by_role("status").get_by_text("Saved." if button == "Save" else "Submitted.").wait_for()
            assert copies(page) == [] and page.get_by_text("Not sent yet").count() == 0
    with reading() as session:
        assert session.query(Screening).one().comfort_note == "Basque"


def test_a_changed_guideline_is_read_before_new_work(page, people):
    make_round(1, number=1, kind=ItemKind.DEMONSTRATION)
    ana = people.labeler()
    with transaction() as session:
        first = guidelines.current_guideline(session, "training")
        guidelines.acknowledge(session, first, ana)
        body = first.body.replace("**Ties are welcome**", "**Ties are very welcome**").replace("Rambling", "Length")
        new = GuidelineIn(name="training", title=first.title, body=body, what_changed="More on ties.")
        guidelines.add_version(session, new, None)
    make_round(1, number=2, kind=ItemKind.DEMONSTRATION)
    sign_in(page, ana)
    page.get_by_role("button", name="Start labeling").click()
    page.get_by_role("heading", name="The guideline has changed").wait_for()
    assert page.locator("ins", has_text="very").count() == 1
    assert not complaints(page, "guideline-changed")
    page.get_by_role("button", name="I have read this guideline").click()
    page.get_by_role("button", name="Start labeling").click()
    page.wait_for_url("**/assignments/*")
