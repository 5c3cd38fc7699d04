"""Pages that follow work in the background, without a reload: a job's, a snapshot's, a plan's."""

from app.database import transaction
from app.jobs import rules
from app.jobs.tables import JobVerb
from app.plans import rules as plans
from app.snapshots import rules as snapshots
from app.snapshots.tables import Snapshot
from tests.browser.conftest import sign_in
from tests.loop import fill_round, prompts
from tests.trainer import work
from training.contract import events
from training.contract.records import Purpose


def line(event: events.Event) -> bytes:
    """An event as it stands in events.jsonl."""
    return event.model_dump_json().encode() + b"\n"


def not_reloaded(page) -> None:
    """Fail if the page was loaded anew since `mark`."""
    assert page.evaluate("window.marked === true")


def mark(page) -> None:
    """Leave a sign in the page that a reload wipes out."""
    page.evaluate("window.marked = true")


def test_a_job_s_page_shows_progress_curves_and_the_end(page, people):
    sign_in(page, people.admin())
    with transaction() as session:
        job = rules.create(session, JobVerb.TRAIN_BASE, {"recipe": "miniature_base"})
    page.goto(f"/admin/jobs/{job.public_id}")
    mark(page)
    page.get_by_text("No training worker is running").wait_for()
    with transaction() as session:
        held = rules.claim(session, job.id, "worker")
    page.locator("#live .badge", has_text="running").wait_for()
    lines = [line(events.Started(verb="train_base", total_steps=8))]
    for step in range(1, 5):
        lines += [line(events.Progress(step=step, total_steps=8, note=f"note {step}")),
                  line(events.Metrics(step=step, values={"base/loss": 1 / step}))]  # fmt: skip
    with transaction() as session:
        rules.ingest(session, held, 0, b"".join(lines))
    page.get_by_text("step 4 of 8").wait_for()
    page.get_by_text("note 4").wait_for()
    assert page.get_by_role("img", name="base/loss: from 1 at step 1 to 0.25 at step 4").count() == 1
    page.click("summary")  # the config stays open while the page changes
    with transaction() as session:
        rules.fail(session, held, "the text has only one word")
    page.get_by_text("the text has only one word").wait_for()
    page.get_by_role("button", name="Resume job").wait_for()
    assert page.locator("details[open]").count() == 1
    not_reloaded(page)


def test_a_snapshot_s_page_shows_when_it_is_written(page, people):
    sign_in(page, people.admin())
    fill_round(prompts(4))
    with transaction() as session:
        made = snapshots.create(session, Purpose.RM, {})
    page.goto(f"/admin/snapshots/{made.public_id}")
    mark(page)
    page.locator(".badge", has_text="queued").wait_for()
    work()
    page.locator(".badge", has_text="ready").wait_for()
    page.get_by_role("link", name="pairs.jsonl.gz").wait_for()
    not_reloaded(page)


def test_a_plan_s_page_follows_its_steps_to_the_end(page, people):
    sign_in(page, people.admin())
    round = fill_round(prompts(6))
    with transaction() as session:
        plan = plans.start(session, session.merge(round), {"next_round": None})
    page.goto(f"/admin/plans/{plan.public_id}")
    mark(page)
    page.get_by_text("train the base model").wait_for()
    work("train_ppo")
    page.locator("tr", has_text="reward model").locator(".badge", has_text="finished").wait_for()
    work()
    page.locator("p[role=status] .badge", has_text="finished").wait_for()
    not_reloaded(page)
    with transaction() as session:
        assert session.query(Snapshot).count() == 3


def test_an_error_line_goes_with_the_next_answer_that_is_fine(page, people):
    sign_in(page, people.admin())
    fill_round(prompts(4))
    with transaction() as session:
        made = snapshots.create(session, Purpose.RM, {})
    address = f"**/admin/snapshots/{made.public_id}"
    page.goto(f"/admin/snapshots/{made.public_id}")
    told = {"HX-Retarget": "#notes", "HX-Reswap": "innerHTML", "Content-Type": "text/html"}
    broken = '<div class="alert danger" role="alert"><p>Something went wrong.</p></div>'
    page.route(address, lambda route: route.fulfill(status=500, body=broken, headers=told))
    page.locator("#notes").get_by_text("Something went wrong.").wait_for()
    page.unroute(address)
    page.locator("#notes > .alert").wait_for(state="detached")
    assert page.locator(".badge", has_text="queued").is_visible()
