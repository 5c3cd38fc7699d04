"""The README's tour, done once with the keyboard alone: from the first page to an admin's signing out."""

import json
import re
from collections.abc import Callable

from sqlalchemy import func, select

from app.accounts.tables import Account, Role, SignInSession
from app.assignments.tables import Assignment as Given
from app.assignments.tables import AssignmentState, Skip, SkipReason
from app.comparisons.tables import Comparison
from app.completions.tables import Completion
from app.database import reading
from app.demonstrations.tables import Demonstration
from app.jobs.tables import Job, JobState, JobVerb
from app.plans.tables import Plan
from app.prompts.tables import Prompt
from app.rounds.tables import Round, RoundState
from app.snapshots.tables import Snapshot, SnapshotState
from tests.browser.day import going_on
from tests.browser.ranking import on_the_board
from tests.conftest import PASSWORD
from tests.trainer import work
from training.contract.records import Purpose

QUESTIONS = ("Name a river.", "Name a mountain.", "Name a sea.")
WRITTEN = "One line,\nand a second one."

# What has the focus: its group's legend, its own name, and whether it can be seen.
FOCUSED = """() => {
  const e = document.activeElement, box = e.getBoundingClientRect();
  const name = e.getAttribute('aria-label') || e.labels?.[0]?.innerText || e.innerText || '';
  return [e.closest('fieldset')?.querySelector('legend')?.innerText ?? '', name.trim().split('\\n')[0],
          box.bottom > 0 && box.top < innerHeight && box.width > 0]
}"""
# A press of Enter clicks as well, but only a pointer goes down.
POINTER = "addEventListener('pointerdown', () => localStorage.setItem('pointer', 'used'), true)"


class Keyboard:
    """Hands that have a keyboard and no mouse."""

    def __init__(self, page) -> None:
        self.page = page
        page.on("filechooser", lambda _: None)  # so that every dialog is caught, whenever it opens

    def tab(self, name: str, group: str = "") -> None:
        """Press Tab until what is called so, in a group called so, has the focus; it must be on the screen then."""
        met = []
        for _ in range(150):
            self.page.keyboard.press("Tab")
            legend, own, visible = self.page.evaluate(FOCUSED)
            if re.match(name, own) and re.match(group, legend):
                assert visible, f"{own!r} has the focus and is not on the screen"
                return
            met.append(own)
        raise AssertionError(f"Tab never reaches {name!r} of {group!r}; it went by {met}")

    def start(self) -> None:
        """Wait until the page has put the focus where one begins."""
        self.page.locator(":focus").wait_for()

    def press(self, name: str, to: str) -> None:
        """Go to a link or button, press Enter, and be on the page with this heading."""
        self.tab(name)
        self.enter(to)

    def enter(self, to: str) -> None:
        """Press Enter and be on the page with this heading."""
        self.page.keyboard.press("Enter")
        self.page.get_by_role("heading", level=1, name=re.compile(to)).wait_for()

    def fill(self, name: str, text: str) -> None:
        """Go to a field, which selects what is in it, and type."""
        self.tab(name)
        self.page.keyboard.type(text)

    def tick(self, name: str, group: str = "") -> None:
        """Go to a checkbox and change it."""
        self.tab(name, group)
        self.page.keyboard.press("Space")

    def choose(self, group: str, name: str) -> None:
        """Go to a group of radio buttons and along it by the arrows."""
        self.tab("", group)
        self.page.keyboard.press("Space")
        for _ in range(10):
            if re.match(name, self.page.evaluate(FOCUSED)[1]):
                return
            self.page.keyboard.press("ArrowDown")
        raise AssertionError(f"no arrow leads to {name!r} of {group!r}")

    def sign_in(self, username: str, to: str) -> None:
        """Fill in the form on which signing out leaves one; its first field has the focus."""
        self.start()
        self.page.keyboard.type(username)
        self.page.keyboard.press("Tab")
        self.page.keyboard.type(PASSWORD)
        self.enter(to)

    def upload(self, path, collection: str, more: Callable[[], None] | None = None) -> None:
        """Choose a file of three rows in the dialog that Enter opens, have it checked, and import it."""
        self.tab("File")
        with self.page.expect_file_chooser() as dialog:
            self.page.keyboard.press("Enter")
        dialog.value.set_files(path)
        if more:
            more()
        self.fill("Collection", collection)
        self.press("Check file", f"Contents of {path.name}")


def test_the_tour_with_the_keyboard_alone(page, database, tmp_path):
    prompts, completions = tmp_path / "prompts.jsonl", tmp_path / "completions.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in QUESTIONS))
    completions.write_text(
        "".join(
            json.dumps({"prompt": text, "completion": f"{policy}: {text}", "policy": f"policy-{policy}"}) + "\n"
            for text in QUESTIONS
            for policy in "xyz"
        )
    )
    page.add_init_script(POINTER)
    hands = Keyboard(page)
    page.goto("/")
    _the_first_admin_and_a_labeler(hands)
    _from_files_to_an_open_round(hands, prompts, completions)
    hands.press("Sign out", "Sign in")
    hands.sign_in("ana", "Your desk")
    done = _a_labelers_day(hands)
    hands.press("Sign out", "Sign in")
    hands.sign_in("olga", "Your desk")
    _from_the_closed_round_to_training(hands)
    hands.press("Sign out", "Sign in")
    assert page.evaluate("localStorage.getItem('pointer')") is None, "a mouse was used"
    assert done == ["demonstration", "ranked", "skipped"]
    _assert_stored()


def _the_first_admin_and_a_labeler(hands: Keyboard) -> None:
    hands.page.get_by_role("heading", level=1, name="The first admin").wait_for()  # which nobody had to look for
    hands.start()
    hands.page.keyboard.type("olga")
    hands.fill("Your name", "Olga")
    hands.fill("Password", PASSWORD)
    hands.enter("Accounts")
    hands.press("New account", "New account")
    hands.start()
    hands.page.keyboard.type("ana")
    hands.fill("Password", PASSWORD)
    hands.enter("Accounts")


def _from_files_to_an_open_round(hands: Keyboard, prompts, completions) -> None:
    hands.press("Prompts", "Prompts")
    hands.press("Import", "Import a file")
    hands.upload(prompts, "mine")
    hands.press("Import all 3", "Prompts")
    hands.press("Import", "Import a file")
    hands.press("Completions of a policy", "Import a file")
    hands.page.get_by_label("Policy").wait_for()
    hands.upload(completions, "", lambda: hands.fill("Policy", "x"))
    hands.press("Import all 9", "Policies")
    hands.press("Rounds", "Rounds")
    hands.press("New round", "New round")
    hands.start()
    hands.page.keyboard.type("By keyboard")
    hands.fill("Prompts for comparisons: at most", "2")
    hands.tick("Write completions")
    hands.fill("Prompts for demonstrations: at most", "1")
    hands.tick("mine", "Collection")
    hands.fill("Completions per item", "3")
    hands.press("Create draft", "By keyboard draft")
    hands.press("Open round", "By keyboard open")


def _a_labelers_day(hands: Keyboard) -> list[str]:
    """One demonstration written, one comparison ranked, one skipped, in whatever order they are handed out."""
    page = hands.page
    hands.start()
    page.keyboard.press("Enter")  # on the desk's button
    done: list[str] = []
    while len(done) < 3:
        page.get_by_label("Use single-key shortcuts").wait_for()  # a piece of work is there, and its script
        heading = page.get_by_role("heading", level=1).inner_text()
        if heading.startswith("Write"):
            done.append("demonstration")
            hands.tab("Your completion")
            first, second = WRITTEN.split("\n")
            page.keyboard.type(first)
            page.keyboard.press("Enter")
            page.keyboard.type(second)
            hands.tab("Submit and continue")
            with going_on(page):
                page.keyboard.press("Enter")
        elif "ranked" not in done:
            done.append("ranked")
            _rate_and_rank(hands)
        else:
            done.append("skipped")
            hands.tab("Skip task")
            page.keyboard.press("Enter")  # opens it
            hands.tab("It needs knowledge")
            with going_on(page):
                page.keyboard.press("Enter")
    page.get_by_role("heading", level=1, name="Your desk").wait_for()
    return sorted(done)


def _rate_and_rank(hands: Keyboard) -> None:
    """Ratings 6, 2, 6; the second is flagged; the first and the third share the first place."""
    for letter, rating in zip("ABC", "626", strict=True):
        hands.page.get_by_role("heading", level=1, name=f"Rate completion {letter}").wait_for()
        hands.choose("Overall", rating)
        if letter == "B":
            hands.tick("Fails to follow")
        hands.tab(r"Next \(no other flags\)")
        hands.page.keyboard.press("Enter")
    on_the_board(hands.page)
    for key in "a1b2c1":  # a letter chooses a completion, a digit gives it a place
        hands.page.keyboard.press(key)
    with going_on(hands.page):
        hands.page.keyboard.press("Control+Enter")


def _from_the_closed_round_to_training(hands: Keyboard) -> None:
    page = hands.page
    hands.press("Admin", "Rounds")
    hands.press("By keyboard", "By keyboard open")
    hands.press("Close round", "Close round 1")
    hands.start()
    hands.enter("By keyboard closed")
    hands.press("New snapshot", "New snapshot")
    hands.choose("Purpose", "Reward model")
    hands.fill("Name", "Frozen by keyboard")
    hands.press("Create snapshot", "Frozen by keyboard")
    work()  # what the worker of the default queue does
    page.locator(".badge", has_text="ready").wait_for()
    hands.press("Plans", "Plans")
    hands.press("New plan", "New plan")
    hands.tab("Round to train on")
    page.keyboard.type("1")  # a select goes to what begins so
    hands.press("Close round and start plan", "Train on round 1")
    page.get_by_text("No training worker is running").wait_for()
    hands.press("job$", "base")
    page.locator("#live .badge", has_text="queued").wait_for()


def _assert_stored() -> None:
    """Everything that the keys did stands in the database, and nothing else."""
    with reading() as session:
        people = {one.username: one.role for one in session.scalars(select(Account))}
        assert people == {"olga": Role.ADMIN, "ana": Role.LABELER}
        assert sorted(one.messages[0]["text"] for one in session.scalars(select(Prompt))) == sorted(QUESTIONS)
        assert session.scalar(select(func.count()).select_from(Completion)) == 9 + 1
        round = session.scalars(select(Round)).one()
        assert (round.name, round.state) == ("By keyboard", RoundState.CLOSED)

        demonstration = session.scalars(select(Demonstration)).one()
        assert (demonstration.completion.text, demonstration.labeler.username) == (WRITTEN, "ana")
        comparison = session.scalars(select(Comparison)).one()
        assert comparison.labeler.username == "ana" and not comparison.surplus
        assert [(row.rating, row.tier) for row in comparison.completions] == [(6, 1), (2, 2), (6, 1)]
        said = [[name for name, answer in row.flags.items() if answer] for row in comparison.completions]
        assert said == [[], ["fails_task"], []], said
        assert all(len(row.flags) == len(comparison.completions[0].flags) > 5 for row in comparison.completions)
        skip = session.scalars(select(Skip)).one()
        assert skip.reason is SkipReason.NEEDS_EXPERTISE and skip.item_id != comparison.item_id
        states = sorted(session.scalars(select(Given.state)))
        assert states == [AssignmentState.OPEN, AssignmentState.SUBMITTED, AssignmentState.SUBMITTED]

        frozen = session.scalars(select(Snapshot).where(Snapshot.name == "Frozen by keyboard")).one()
        assert (frozen.purpose, frozen.state) == (Purpose.RM, SnapshotState.READY)
        assert frozen.manifest["counts"]["comparisons"] == frozen.manifest["counts"]["demonstrations"] == 1
        assert session.scalars(select(Plan)).one().round_id == round.id
        job = session.scalars(select(Job)).one()
        assert (job.verb, job.state) == (JobVerb.TRAIN_BASE, JobState.QUEUED)
        assert session.scalar(select(func.count()).select_from(SignInSession)) == 0, "everybody signed out"
