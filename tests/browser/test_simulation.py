"""The page of the miniature loop: it moves by itself and leaves the keyboard where it is."""

from sqlalchemy import select, update

from app.accounts.queries import by_username
from app.accounts.tables import AccountKind
from app.assignments.tables import Assignment, AssignmentState
from app.database import reading, transaction
from app.database import utc_now as now
from app.rounds.tables import Item, Round, RoundPurpose
from app.simulation import demo
from tests.browser.conftest import sign_in


def test_the_page_follows_the_work_and_keeps_the_focus(page, people, monkeypatch):
    monkeypatch.setattr(demo, "TRAIN_PROMPTS", 400)
    demo.load(lambda line: None)
    with reading() as session:
        carla = by_username(session, "carla")
    page.goto("/sign-in")
    sign_in(page, carla, demo.DEMO_PASSWORD)
    page.goto("/admin/simulation")
    button = page.get_by_role("button", name="Start simulated labelers")
    button.focus()
    labeler = people.labeler("simulated-1-01", kind=AccountKind.SIMULATED)
    with transaction() as session:  # what its submission does to the assignment
        waiting = select(Assignment.id).join(Item).join(Round).where(Round.purpose == RoundPurpose.TRAINING).limit(1)
        session.execute(
            update(Assignment)
            .where(Assignment.id == waiting.scalar_subquery())
            .values(state=AssignmentState.SUBMITTED, labeler_id=labeler.id, submitted_at=now(-60))
        )
    page.get_by_text("1 / 300").wait_for()
    page.get_by_text("284 tasks to do").wait_for()
    assert button.evaluate("button => button === document.activeElement")
    page.keyboard.press("Enter")
    page.get_by_text("Simulated labelers have started").wait_for()
