"""Guidelines by page: labelers read them, admins add versions."""

from app.database import transaction
from app.guidelines import rules


def test_reading_and_a_new_version(client, people):
    with transaction() as session:
        rules.ensure_defaults(session)
        first = rules.current_guideline(session, "training").public_id
    ana, olga = people.labeler(), people.admin()
    people.sign_in(client, ana)
    assert "How to label: training" in client.get("/guidelines").text
    page = client.get(f"/guidelines/{first}").text
    assert "<strong>Ties are welcome</strong>" in page
    assert "Write new version" not in page
    assert client.get("/guidelines/nowhere").status_code == 404

    people.sign_in(client, olga)
    fields = people.csrf(client)
    assert "Hallucination" in client.get("/admin/guidelines").text
    assert "Your answers teach" in client.get("/admin/guidelines/new?name=training").text
    given = {"name": "training", "title": "How to label", "body": "Be <b>kind</b>.\r\n\r\n<script>x</script> *so*"}
    wrong = client.post("/admin/guidelines/new", data={**fields, **given})
    assert wrong.status_code == 422
    assert "what changed" in wrong.text
    assert "Be &lt;b&gt;kind" in wrong.text
    made = client.post("/admin/guidelines/new", data={**fields, **given, "what_changed": "Shorter."})
    assert made.status_code == 303
    people.sign_in(client, ana)
    page = client.get(made.headers["location"]).text
    assert "Version 2" in page
    assert "Shorter." in page
    assert "<em>so</em>" in page
    assert "<script>x" not in page
    assert "This is an old version" in client.get(f"/guidelines/{first}").text


def test_a_guideline_of_a_new_name(client, people):
    people.sign_in(client, people.admin())
    fields = people.csrf(client)
    new = {"name": "House Rules", "title": "House", "body": "Be kind."}
    assert "lowercase letters, digits" in client.post("/admin/guidelines/new", data={**fields, **new}).text
    assert client.post("/admin/guidelines/new", data={**fields, **new, "name": "house-rules"}).status_code == 303
    assert "house-rules" in client.get("/admin/guidelines").text
