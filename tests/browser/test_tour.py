"""README's tour of the demo, step by step in a browser; what trains is stood in for, everything else is real."""

import re
from collections.abc import Callable

import pytest
from sqlalchemy import select

from app.accounts.queries import by_username
from app.accounts.tables import Account, AccountKind
from app.comparisons.tables import Comparison
from app.database import reading
from app.plans.tables import Plan, PlanState
from app.rounds.tables import Item, Round
from app.simulation import demo, tasks
from app.simulation import pages as loop
from tests.browser.day import going_on
from tests.browser.ranking import on_the_board
from tests.trainer import work

TRAIN_PROMPTS, DEMONSTRATIONS, NEXT_PROMPTS = 200, 20, 40  # enough that one in twenty is left to people


class Tour:
    """A browser tab of somebody who has just started the demo."""

    def __init__(self, page):
        self.page = page

    def sign_in(self, name: str) -> None:
        """Sign in as one of the demo's people, by their button."""
        self.page.goto("/sign-in")
        self.page.get_by_role("button", name=re.compile(f"^{name}")).click()
        self.page.wait_for_url(lambda url: "/sign-in" not in url)

    def sign_out(self) -> None:
        """Sign out again."""
        self.page.get_by_role("button", name="Sign out").click()
        self.page.wait_for_url("**/sign-in*")

    def label(self, handed_in: int, *, first_round: bool = False) -> None:
        """Start labeling, or the round that stands first, and hand in so many pieces of work."""
        if first_round:
            self.page.locator("ul.rounds > li").first.get_by_role("button").click()
        else:
            self.page.get_by_role("button", name="Start labeling").click()
        for _ in range(handed_in):
            self.page.get_by_label("Use single-key shortcuts").wait_for()
            if self.page.get_by_role("heading", level=1).inner_text().startswith("Write"):
                self.page.get_by_label("Your completion").fill("Here is what you asked for.")
                with going_on(self.page):
                    self.page.keyboard.press("Control+Enter")
            else:
                self._rank()

    def _rank(self) -> None:
        letters = ""
        while (heading := self.page.get_by_role("heading", level=1).inner_text()).startswith("Rate completion"):
            letters += heading[-1]
            self.page.get_by_label("Use single-key shortcuts").wait_for()
            self.page.keyboard.press("7462513"[len(letters) % 7])
            self.page.get_by_role("heading", level=1, name=heading, exact=True).wait_for(state="detached")
        on_the_board(self.page)
        for place, letter in enumerate(letters, 1):
            self.page.keyboard.press(letter.lower())
            self.page.keyboard.press(str((place + 1) // 2))  # two share a place
        with going_on(self.page):
            self.page.keyboard.press("Control+Enter")

    def loop(self) -> None:
        """Be on the page of the miniature loop."""
        self.page.goto("/admin/rounds")
        self.page.get_by_role("link", name="Miniature loop").click()
        self.page.get_by_role("heading", level=1, name="Miniature loop").wait_for()

    def let_them_work(self, work: Callable[[], object]) -> None:
        """Let the simulated labelers work and wait until they are done; `work` does what a worker would."""
        self.page.get_by_role("button", name="Start simulated labelers").click()
        self.page.get_by_text("Simulated labelers have started").wait_for()
        work()
        self.page.get_by_text(re.compile(r"^0 tasks to do")).wait_for()

    def train(self, work: Callable[[], object]) -> None:
        """Train on the newest round, look at a job, and wait until the plan is finished."""
        self.page.get_by_role("button", name="Train on round").last.click()
        self.page.get_by_text("The plan has started").wait_for()
        work()
        self.page.get_by_role("button", name="Cancel plan").wait_for(state="detached")
        plan = self.page.url
        self.page.get_by_role("link", name="job", exact=True).last.click()
        self.page.locator("#live .badge", has_text="finished").first.wait_for()
        self.page.goto(plan)

    def descent(self) -> list[str]:
        """The line of descent of the newest policy, its names from the policy to the base."""
        self.page.get_by_role("link", name="Checkpoints").click()
        self.page.get_by_role("link", name=re.compile("ppo")).first.click()
        self.page.get_by_role("heading", name="Lineage").wait_for()
        return self.page.locator("ol.stack > li").all_inner_texts()


@pytest.fixture
def small(monkeypatch) -> None:
    """The demo with fewer prompts."""
    monkeypatch.setattr(demo, "TRAIN_PROMPTS", TRAIN_PROMPTS)
    monkeypatch.setattr(demo, "DEMONSTRATIONS", DEMONSTRATIONS)
    monkeypatch.setattr(loop, "NEXT_ROUND", loop.NEXT_ROUND | {"prompts": NEXT_PROMPTS})
    demo.load(lambda line: None)


def simulated_labelers() -> None:
    """What the worker of the default queue does when they are let to work."""
    with reading() as session:
        carla = by_username(session, "carla").id
    tasks.work(carla)


def ranked_by_ada() -> list[int]:
    """Round numbers of what ada has ranked, in her order."""
    query = select(Round.number).join(Item).join(Comparison).join(Account, Account.id == Comparison.labeler_id)
    with reading() as session:
        return list(session.scalars(query.where(Account.username == "ada").order_by(Comparison.id)))


def test_the_tour_of_the_readme(page, small):
    tour = Tour(page)
    tour.sign_in("Ada")  # 1.
    tour.label(1)
    assert ranked_by_ada() == [1]
    tour.sign_out()
    tour.sign_in("Carla")  # 2.
    work()  # the base network has been training since the start
    tour.loop()
    tour.let_them_work(simulated_labelers)
    tour.train(work)  # 3.
    tour.loop()
    tour.let_them_work(simulated_labelers)  # 4.
    tour.sign_out()
    tour.sign_in("Ada")
    tour.label(1, first_round=True)
    assert ranked_by_ada() == [1, 4], "the new round comes first on her desk"
    tour.sign_out()
    tour.sign_in("Carla")
    tour.loop()
    tour.train(work)
    tour.sign_out()
    tour.sign_in("Ada")  # 5.
    tour.label(1, first_round=True)
    assert ranked_by_ada() == [1, 4, 5]
    tour.sign_out()
    tour.sign_in("Carla")
    tour.loop()
    line = tour.descent()
    assert line[0].startswith("PPO after round 4") and "base" in line[-1]
    assert all("Snapshot" in link for link in line[:-1]), "down to the answers that it was trained on"
    with reading() as session:
        plans = session.scalars(select(Plan).order_by(Plan.id)).all()
        assert [plan.state for plan in plans] == [PlanState.FINISHED] * 2
        ranks = session.execute(
            select(Comparison.id, Account.kind).join(Account, Account.id == Comparison.labeler_id).join(Item)
            .join(Round).where(Round.number == 4)
        ).all()  # fmt: skip
        assert {kind for _id, kind in ranks} == {AccountKind.SIMULATED, AccountKind.DEMO}
