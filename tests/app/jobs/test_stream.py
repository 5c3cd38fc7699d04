"""The live page of a job shows nothing to somebody who may no longer see it."""

import pytest

from app import database as app_database
from app.accounts import rules
from app.accounts.tables import Role
from app.assignments.leaving import change_account
from app.jobs import pages
from app.jobs.rules import create
from app.jobs.tables import JobVerb
from tests.conftest import fresh_database


@pytest.fixture(params=["sqlite"])
def database(request, tmp_path, monkeypatch):
    """Pages are above the databases."""
    yield from fresh_database(request, tmp_path, monkeypatch)


@pytest.fixture
def olga(people):
    people.admin("another")
    return people.admin()


LOSSES = {
    "demoted": lambda session, olga: change_account(session, olga, by=None, role=Role.LABELER),
    "disabled": lambda session, olga: change_account(session, olga, by=None, disabled=True),
    "signed out": lambda session, olga: rules.sign_out_everywhere(session, olga, by=None),
    "new password": lambda session, olga: rules.set_password(
        session, olga, rules.PasswordHash("$argon2id$another"), by=None
    ),
}


@pytest.mark.parametrize("loss", [None, *LOSSES])
def test_the_stream_ends_when_its_reader_may_no_longer_see_it(client, people, olga, monkeypatch, loss):
    with app_database.transaction() as session:
        job = create(session, JobVerb.TRAIN_BASE, {"recipe": "miniature_base"}, by=olga)
    people.sign_in(client, olga)

    async def follow(job_id):
        for turn in range(4):
            if turn == 2 and loss:
                with app_database.transaction() as session:
                    LOSSES[loss](session, olga)
            yield turn

    monkeypatch.setattr(pages, "follow", follow)
    answer = client.get(f"/admin/jobs/{job.public_id}/stream")
    assert answer.text.count("event: done") == 1
    assert answer.text.count('role="status"') == (2 if loss else 4)
