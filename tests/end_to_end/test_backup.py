"""A backup taken while twenty simulated labelers work, and the installation restored from it, row by row."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import httpx
from sqlalchemy import func, select

from app.accounts.tables import AccountKind
from app.assignments.tables import Assignment, AssignmentState
from app.comparisons.tables import ComparedCompletion, Comparison
from app.database import reading
from app.launch import backup, migrate
from app.tables import metadata
from tests.app.launch.test_backup import elsewhere, installation  # noqa: F401 -- fixtures
from tests.desk import make_round
from tests.end_to_end.test_concurrency import Server, answer, server  # noqa: F401 -- a fixture

LABELERS, ITEMS = 20, 150
TRIES = 20
LEFT = 2 * LABELERS  # tasks that wait until the backup is taken, however fast the machine is
# What no work changes once it stands there.
KEPT = ("prompts", "completions", "items", "item_completions", "comparisons", "compared_completions", "guidelines")


def rows(table: str) -> set[str]:
    with reading() as session:
        return set(map(repr, session.execute(select(metadata.tables[table]))))


def work(url: str, bearer: dict[str, str], acknowledged: list[str], taken: Event) -> None:
    """A labeler's day, until nothing is left; the last tasks are done once the backup is taken."""
    with httpx.Client(base_url=f"{url}/api/v1/assignments", headers=bearer, timeout=60, verify=False) as desk:
        while (reply := desk.post("/next")).status_code == 200:
            given = reply.json()
            done = desk.post(f"/{given['id']}/submit", json=answer(given))
            assert done.status_code == 200, done.text
            acknowledged.append(given["id"])
            if len(acknowledged) >= 2 * ITEMS - LEFT:
                taken.wait()
        assert reply.status_code == 204, reply.text


def test_a_backup_under_twenty_labelers_is_whole_and_work_goes_on_from_it(
    installation,  # noqa: F811
    server,  # noqa: F811
    people,
    elsewhere,  # noqa: F811
    tmp_path,
):
    make_round(ITEMS, k=4, overlap=2)
    bearers = [people.bearer(people.labeler(f"bot{n}", kind=AccountKind.SIMULATED)) for n in range(LABELERS)]
    acknowledged: list[str] = []
    taken = Event()
    with ThreadPoolExecutor(LABELERS) as pool:
        days = [pool.submit(work, server.url, bearer, acknowledged, taken) for bearer in bearers]
        while len(acknowledged) < ITEMS // 5 and not all(day.done() for day in days):
            time.sleep(0.01)
        try:
            for number in range(TRIES):  # a backup may be quicker than any answer; then another one is taken
                before, copy = list(acknowledged), tmp_path / f"copy{number}"
                backup.back_up(copy)
                after = list(acknowledged)
                if before < after:
                    break
        finally:
            taken.set()
        for day in days:
            day.result()
    assert before < after < acknowledged, "they worked before, during and after it"
    assert len(acknowledged) == 2 * ITEMS
    theirs = {table: rows(table) for table in KEPT}
    server.kill()

    elsewhere()
    told = backup.restore(copy)
    migrate.check()
    for table, found in theirs.items():
        assert rows(table) <= found, f"{table}: a row is not as it was"
    for table in ("prompts", "completions", "items", "item_completions", "guidelines"):
        assert rows(table) == theirs[table]
    with reading() as session:
        notes = set(session.scalars(select(Comparison.notes)))
        places = session.execute(select(ComparedCompletion.comparison_id, func.count()).group_by("comparison_id")).all()
        answered = {one.assignment_id for one in session.scalars(select(Comparison))}
        submitted = session.scalars(select(Assignment).where(Assignment.state == AssignmentState.SUBMITTED)).all()
    assert set(before) <= notes, "nothing that was acknowledged before it is missing"
    # An answer that was sent when the backup began may be stored before it is acknowledged.
    assert len(notes) <= len(after) + LABELERS and notes <= set(acknowledged)
    assert told["comparisons"] == len(notes) == len(submitted)
    assert answered == {one.id for one in submitted} and Counter(count for _, count in places) == {4: len(notes)}

    again = Server()
    try:
        rest: list[str] = []
        with ThreadPoolExecutor(LABELERS) as pool:
            for day in [pool.submit(work, again.url, bearer, rest, taken) for bearer in bearers]:
                day.result()
    finally:
        again.kill()
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(Comparison)) == 2 * ITEMS == len(notes) + len(rest)
