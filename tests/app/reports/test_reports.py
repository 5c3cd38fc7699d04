"""Problems with items: reported, answered and resolved, over pages and REST, on both databases."""

import pytest

from app.assignments import rules as assignments
from app.database import reading, transaction
from app.errors import BadInput, NotFound
from app.reports import queries, rules
from tests.desk import make_round


@pytest.fixture
def ana(people):
    return people.labeler("ana")


def claim(labeler):
    with transaction() as session:
        return assignments.claim(session, labeler)


def test_a_report_from_the_first_word_to_the_end_over_rest(client, people, ana):
    make_round(1)
    held = claim(ana)
    labeler, admin = people.bearer(ana), people.bearer(people.admin("olga"))
    api = "/api/v1"
    made = client.post(f"{api}/assignments/{held.public_id}/report", json={"text": " Cut off. "}, headers=labeler)
    assert made.status_code == 201 and made.json()["messages"][0]["text"] == "Cut off."
    id = made.json()["id"]
    [listed] = client.get(f"{api}/reports?resolved=false", headers=admin).json()["items"]
    assert (listed["id"], listed["labeler"], listed["round"]) == (id, ana.public_id, 1)
    client.post(f"{api}/reports/{id}/reply", json={"text": "So it was sent."}, headers=admin)
    [mine] = client.get(f"{api}/reports/mine", headers=labeler).json()["items"]
    assert mine["unseen"] and [said["by"] for said in mine["messages"]] == ["labeler", "admin"]
    assert "labeler" not in mine
    assert client.post(f"{api}/reports/mine/{id}/seen", headers=labeler).status_code == 204
    assert not client.get(f"{api}/reports/mine", headers=labeler).json()["items"][0]["unseen"]
    done = client.post(f"{api}/reports/{id}/resolve", headers=admin).json()
    assert done["resolved_at"] and done["resolved_by"]
    assert client.post(f"{api}/reports/{id}/resolve", headers=admin).json()["resolved_at"] == done["resolved_at"]
    assert client.get(f"{api}/reports?resolved=false", headers=admin).json()["items"] == []
    again = client.post(f"{api}/reports/mine/{id}", json={"text": "It is still so."}, headers=labeler).json()
    assert again["resolved_at"] is None, "writing again opens it anew"


def test_nobody_sees_the_reports_of_others(client, people, ana):
    make_round(1)
    held = claim(ana)
    ben = people.labeler("ben")
    with transaction() as session:
        report = rules.make(session, held, ana, "Mine.")
    with reading() as session, pytest.raises(NotFound):
        queries.report(session, report.public_id, ben)
    headers = people.bearer(ben)
    assert client.get("/api/v1/reports/mine", headers=headers).json()["items"] == []
    assert client.post(f"/api/v1/reports/mine/{report.public_id}/seen", headers=headers).status_code == 404
    assert client.get("/api/v1/reports", headers=headers).status_code == 403
    assert (
        client.post(f"/api/v1/assignments/{held.public_id}/report", json={"text": "x"}, headers=headers).status_code
        == 404
    )


@pytest.mark.parametrize("text", ["", " \n ", "x" * 4001])
def test_a_report_says_something_of_a_length(people, ana, text):
    make_round(1)
    held = claim(ana)
    with transaction() as session, pytest.raises(BadInput) as refused:
        rules.make(session, held, ana, text)
    assert refused.value.field == "text"


def test_the_desk_shows_answers_until_they_are_seen(people, ana):
    make_round(1)
    held = claim(ana)
    olga = people.admin("olga")
    with transaction() as session:
        report = rules.make(session, held, ana, "Cut off.")
        assert queries.answered(session, ana) == []
        rules.reply(session, report, olga, "Thank you.")
    with reading() as session:
        assert [one.public_id for one in queries.answered(session, ana)] == [report.public_id]
    with transaction() as session:
        rules.see(session, report)
    with reading() as session:
        assert queries.answered(session, ana) == []
    with transaction() as session:
        rules.resolve(session, report, olga)
    with reading() as session:
        assert len(queries.answered(session, ana)) == 1, "that it is resolved is told too"


def test_pages_of_reports(client, people, ana):
    make_round(1)
    held = claim(ana)
    with transaction() as session:
        report = rules.make(session, held, ana, "<b>Cut</b> off.")
    people.sign_in(client, ana)
    assert "&lt;b&gt;Cut&lt;/b&gt; off." in client.get("/reports").text
    assert "zz-secret" not in client.get(f"/reports/{report.public_id}").text
    assert client.get("/admin/reports").status_code == 404
    people.sign_in(client, people.admin("olga"))
    assert "needs a reply" in client.get("/admin/reports").text
    url = f"/admin/reports/{report.public_id}"
    refused = client.post(f"{url}/reply", data={"text": " ", **people.csrf(client)})
    assert refused.status_code == 422 and "The text is empty" in refused.text
    done = client.post(f"{url}/reply", data={"text": "", "then": "resolve", **people.csrf(client)})
    assert done.status_code == 303 and "resolved" in client.get(url).text
    assert client.get(f"/reports/{report.public_id}").status_code == 404, "an admin is no owner"
