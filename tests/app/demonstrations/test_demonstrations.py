"""What a demonstration stores, and how admins read it."""

from sqlalchemy import func, select

from app.accounts.tables import AccountKind
from app.assignments import queries as assignment_queries
from app.assignments import rules as assignments
from app.completions.tables import Completion
from app.database import reading, transaction
from app.demonstrations import queries
from app.demonstrations.schemas import DemonstrationContent
from app.desk.submit import submit
from app.policies.tables import PolicyKind
from app.rounds.tables import ItemKind
from tests.desk import make_round
from training.contract.records import Pool


def write(labeler, text: str):
    """Claim the next prompt and hand in a text for it."""
    with transaction() as session:
        claimed = assignments.claim(session, labeler)
        found = assignment_queries.assignment(session, claimed.public_id, labeler)
        return submit(session, found, labeler, DemonstrationContent(text=text), active_seconds=61)


def test_a_demonstration_is_a_completion_of_the_people(people):
    make_round(1, kind=ItemKind.DEMONSTRATION, overlap=2)
    stored = [write(people.labeler(name), "the same words") for name in ("tia", "tom")]
    with reading() as session:
        rows = [queries.demonstration(session, one.public_id) for one in stored]
        assert rows[0].completion.policy.kind is PolicyKind.PEOPLE
        assert rows[0].completion_id == rows[1].completion_id, "one text is one completion"
        assert session.scalar(select(func.count()).select_from(Completion)) == 1
        assert all(row.guideline_id == row.item.round.guideline_id for row in rows)


def test_what_held_out_labelers_write_has_a_policy_of_its_own(people):
    make_round(1, kind=ItemKind.DEMONSTRATION, overlap=2)
    tia, hal = people.labeler("tia"), people.labeler("hal", pool=Pool.HELD_OUT)
    stored = [write(tia, "the same words"), write(hal, "the same words")]
    with reading() as session:
        rows = [queries.demonstration(session, one.public_id) for one in stored]
        assert [row.pool for row in rows] == [Pool.TRAIN, Pool.HELD_OUT]
        policies = [row.completion.policy for row in rows]
        assert [(one.name, one.kind) for one in policies] == [
            ("people", PolicyKind.PEOPLE),
            ("held-out people", PolicyKind.PEOPLE),
        ]


def test_admins_read_them_on_pages_and_over_rest(client, people):
    make_round(3, kind=ItemKind.DEMONSTRATION)
    ana, robot = people.labeler("ana", name="Ana Lund"), people.labeler("robot", kind=AccountKind.SIMULATED)
    ids = [write(ana, "<b>first</b>").public_id, write(robot, "second").public_id, write(ana, "third").public_id]
    admin = people.admin()
    people.sign_in(client, admin)
    page = client.get("/admin/demonstrations").text
    assert page.count("simulated") == 1 and page.index(ids[2]) < page.index(ids[0])
    assert "&lt;b&gt;first" in page and ids[0] not in client.get("/admin/demonstrations?labeler=robot").text
    one = client.get(f"/admin/demonstrations/{ids[0]}").text
    assert "Ana Lund" in one and "&lt;b&gt;first&lt;/b&gt;" in one and "prompt 0 of round 1" in one
    bearer = people.bearer(admin)
    first = client.get("/api/v1/demonstrations?limit=2", headers=bearer).json()
    assert [one["id"] for one in first["items"]] == [ids[2], ids[1]]
    rest = client.get("/api/v1/demonstrations", params={"cursor": first["next_cursor"]}, headers=bearer).json()
    assert [one["text"] for one in rest["items"]] == ["<b>first</b>"] and rest["next_cursor"] is None
    assert first["items"][1]["labeler_kind"] == "simulated"
    assert client.get(f"/api/v1/demonstrations/{ids[1]}", headers=bearer).json() == first["items"][1]
    assert client.get("/api/v1/demonstrations/nothing", headers=bearer).status_code == 404
