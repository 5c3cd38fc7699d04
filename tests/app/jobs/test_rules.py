"""A job's row: made from a valid config, claimed once, its events stored once, its lease the only truth."""

import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.util import find_spec

import pytest
from sqlalchemy import select, update

from app import queue
from app.config import ROOT, settings
from app.database import reading, transaction, utc_now
from app.errors import BadInput, Conflict, NotFound
from app.jobs import queries, rules
from app.jobs.tables import Job, JobEvent, JobState, JobVerb
from app.kit.leases import LeaseLost
from training.contract import events, recipes


def make(config: dict) -> Job:
    """A queued train_base job."""
    with transaction() as session:
        return rules.create(session, JobVerb.TRAIN_BASE, config)


def claim(job: Job, owner: str = "worker") -> Job | None:
    """The job as its supervisor holds it."""
    with transaction() as session:
        return rules.claim(session, job.id, owner)


def found(job: Job) -> Job:
    """The row as it is now."""
    with reading() as session:
        return session.get_one(Job, job.id)


def line(event: events.Event) -> bytes:
    """An event as it stands in events.jsonl."""
    return event.model_dump_json().encode() + b"\n"


def test_a_job_keeps_its_complete_config(database, tiny):
    job = make({"recipe": "miniature_base", "epochs": 3})
    assert job.config["epochs"] == 3 and job.config["hidden_size"] > 0 and job.name == "miniature_base"


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"epoch": 1}, "epochs"),  # the message names the nearest key
        ({"epochs": 0}, "epochs"),
        ({"recipe": "miniature_sft"}, "recipe"),
    ],
)
def test_a_config_with_a_mistake_is_refused(database, config, word):
    with pytest.raises(BadInput, match=word):
        make(config)


@pytest.mark.parametrize("verb", JobVerb)
def test_what_a_job_may_run_is_a_command_with_a_recipe(verb):
    assert find_spec(f"training.{verb}") and verb in recipes.CONFIGS
    assert any(recipe.verb == verb for recipe in recipes.RECIPES.values())


def test_a_snapshot_that_is_not_there_is_not_found(database):
    with transaction() as session, pytest.raises(NotFound, match="nothere"):
        rules.create(session, JobVerb.TRAIN_SFT, {"data": "snapshot:nothere", "init_from": "/x"})


def test_two_claims_give_one_owner(database, tiny):
    job = make(tiny)
    assert claim(job, "first").owner == "first"
    assert claim(job, "second") is None
    assert found(job).attempt == 1


def test_events_are_stored_once_whoever_brings_them(database, tiny):
    job = claim(make(tiny))
    lines = line(events.Started(verb="train_base", total_steps=9)) + line(events.Progress(step=4))
    with transaction() as session:
        rules.ingest(session, job, 0, lines)
    with pytest.raises(LeaseLost), transaction() as session:  # the same bytes again
        rules.ingest(session, job, 0, lines)
    with transaction() as session:
        rules.ingest(session, job, len(lines), b"not an event\n" + line(events.Metrics(step=4, values={"a/b": 1.5})))
        stored = queries.events(session, job)
    assert [(event.number, event.kind) for event in stored] == [
        (1, "started"), (2, "progress"), (3, "warning"), (4, "metrics"),
    ]  # fmt: skip
    now = found(job)
    assert (now.step, now.total_steps) == (4, 9)
    assert [event.number for event in queries.events(session, job, after=2)] == [3, 4]


def test_a_supervisor_without_its_lease_can_write_nothing(database, tiny):
    job = make(tiny)
    old = claim(job, "old")
    with transaction() as session:
        session.execute(update(Job).values(lease_until=utc_now(-1)))
        rules.reconcile(session, queue_is_empty=False)
    new = claim(job, "new")
    for act in (
        lambda session: rules.renew(session, old),
        lambda session: rules.finish(session, old, {}),
        lambda session: rules.fail(session, old, "x"),
        lambda session: rules.put_back(session, old, counts=True),
        lambda session: rules.ingest(session, old, 0, line(events.Progress(step=1))),
    ):
        with pytest.raises(LeaseLost), transaction() as session:
            act(session)
    assert found(job).owner == "new" and new.attempt == 2


def test_a_job_whose_workers_die_fails_in_the_end_and_can_be_resumed(database, tiny):
    job = make(tiny)
    for _ in range(settings().job_attempts):
        assert claim(job)
        with transaction() as session:
            session.execute(update(Job).values(lease_until=utc_now(-1)))
            ended = rules.reconcile(session, queue_is_empty=False)
    assert [one.id for one in ended] == [job.id]
    assert found(job).state is JobState.FAILED and "3 times" in found(job).error
    with transaction() as session:
        rules.resume(session, session.get_one(Job, job.id), None)
    assert (found(job).state, found(job).attempt, found(job).error) == (JobState.QUEUED, 0, "")


def test_a_worker_that_shuts_down_costs_no_attempt(database, tiny):
    job = claim(make(tiny))
    with transaction() as session:
        rules.put_back(session, job, counts=False)
    assert (found(job).state, found(job).attempt) == (JobState.QUEUED, 0)


def test_cancelling(database, tiny):
    waiting, running = make(tiny), make(tiny)
    held = claim(running)
    with transaction() as session:
        for job in (waiting, running):
            rules.cancel(session, session.get_one(Job, job.id), None)
    assert found(waiting).state is JobState.CANCELLED and claim(waiting) is None
    assert found(running).state is JobState.RUNNING and found(running).cancel_requested_at
    with transaction() as session:
        rules.confirm_cancel(session, held)
        with pytest.raises(Conflict, match="canceled"):
            rules.cancel(session, session.get_one(Job, running.id), None)


def test_a_cancelled_job_whose_worker_died_is_cancelled_not_started_again(database, tiny):
    job = make(tiny)
    claim(job)
    with transaction() as session:
        rules.cancel(session, session.get_one(Job, job.id), None)
        session.execute(update(Job).values(lease_until=utc_now(-1)))
        rules.reconcile(session, queue_is_empty=True)
    assert found(job).state is JobState.CANCELLED


def test_a_job_that_was_committed_and_never_sent_is_sent_by_the_reconciler(database, tiny, broker):
    job = make(tiny)
    assert queue.waiting(queue.TRAINING) == 1
    broker.delete(queue.TRAINING)  # the message is lost
    with transaction() as session:
        rules.reconcile(session, queue_is_empty=True)
    assert queue.waiting(queue.TRAINING) == 0  # it was sent a moment ago: perhaps a worker is just taking it
    with transaction() as session:
        session.execute(update(Job).values(lease_until=utc_now(-1)))
        rules.reconcile(session, queue_is_empty=False)
    assert queue.waiting(queue.TRAINING) == 0  # it may wait behind others
    with transaction() as session:
        rules.reconcile(session, queue_is_empty=True)
    assert queue.waiting(queue.TRAINING) == 1
    with reading() as session:
        lease = session.scalar(select(Job.lease_until).where(Job.id == job.id))
    assert lease > datetime.now(UTC)


def test_nothing_is_sent_for_a_transaction_that_rolls_back(database, tiny, broker):
    class Undone(Exception):
        pass

    with pytest.raises(Undone), transaction() as session:
        rules.create(session, JobVerb.TRAIN_BASE, tiny)
        with session.begin_nested():
            session.flush()
        assert queue.waiting(queue.TRAINING) == 0  # a released savepoint commits nothing
        raise Undone
    assert queue.waiting(queue.TRAINING) == 0


def test_a_savepoint_that_rolls_back_takes_no_other_message_with_it(database, tiny, broker):
    class Undone(Exception):
        pass

    with transaction() as session:
        rules.create(session, JobVerb.TRAIN_BASE, tiny)
        with pytest.raises(Undone), session.begin_nested():
            raise Undone
    assert queue.waiting(queue.TRAINING) == 1


ASK_A_DEAD_BROKER = """
import sys
from app import queue
from app.database import transaction
from app.jobs import rules
with transaction() as session:
    rules.create(session, "train_base", {})
assert queue.workers(queue.TRAINING) is None
"""


def test_a_broker_that_is_away_costs_the_message_and_not_the_job(database):
    # In a process of its own, since Celery keeps its connections.
    environment = os.environ | {"PLUMBLINE_BROKER_URL": "redis+socket:///tmp/no-broker-here.sock?virtual_host=0"}
    done = subprocess.run(
        [sys.executable, "-c", ASK_A_DEAD_BROKER], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "could not be sent" in done.stderr
    with reading() as session:
        assert session.scalars(select(Job.state)).all() == [JobState.QUEUED]


ASK_A_SILENT_BROKER = """
import os, socket, sys, threading
from app.database import transaction
from app.jobs import rules
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
listening.listen()  # who connects waits for an answer for ever
def ask():
    with transaction() as session:
        rules.create(session, "train_base", {})
asking = threading.Thread(target=ask, daemon=True)
asking.start()
listening.accept()  # it is publishing
with transaction() as session:
    rules.create(session, "train_base", {"epochs": 2})
    session.info.clear()
assert asking.is_alive()
asking.join(25)
assert not asking.is_alive(), "it would wait for ever"
os._exit(0)
"""


def test_a_broker_that_does_not_answer_keeps_no_writer_waiting_for_ever_and_no_other_at_all(database):
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # a socket's path must be short
        path = f"{folder}/broker.sock"
        environment = os.environ | {"PLUMBLINE_BROKER_URL": f"redis+socket://{path}?virtual_host=0"}
        command = [sys.executable, "-c", ASK_A_SILENT_BROKER, path]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=40)
    assert done.returncode == 0, done.stderr
    assert "could not be sent" in done.stderr


def test_curves_are_thinned_and_a_repeated_step_counts_once(database, tiny):
    job = claim(make(tiny))
    with transaction() as session:
        rows = b"".join(line(events.Metrics(step=step, values={"loss/train": 1.0 / (step + 1)})) for step in range(999))
        rules.ingest(session, job, 0, rows)
        again = line(events.Metrics(step=998, values={"loss/train": 7.0}))
        rules.ingest(session, job, len(rows), again)
        curve = queries.curves(session, job)["loss/train"]
        assert session.scalar(select(JobEvent.number).order_by(JobEvent.number.desc())) == 1000
    assert len(curve) <= queries.POINTS + 1
    assert curve[0] == (0, 1.0) and curve[-1] == (998, 7.0)
