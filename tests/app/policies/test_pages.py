"""Policies and completions by page."""

import pytest

from app.completions import rules as completions
from app.database import transaction
from app.policies import rules
from app.policies.tables import PolicyKind
from app.prompts import rules as prompts
from app.prompts.tables import PromptSource


@pytest.fixture
def admin(client, people):
    people.sign_in(client, people.admin())
    client.fields = people.csrf(client)
    return client


def test_what_a_policy_wrote(admin):
    with transaction() as session:
        prompt = prompts.add(session, messages=[{"role": "user", "text": "Hi?"}], source=PromptSource.CUSTOMER)
        policy = rules.get_or_create(session, "mine <b>", PolicyKind.IMPORTED)
        attack = "<script>alert(1)</script> **bold** [x](javascript:alert(1))"
        one = completions.add(session, prompt, policy, attack, settings={"temperature": 0.7}, tokens=3, finished=False)
    pages = [
        admin.get(path).text
        for path in (
            "/admin/policies",
            f"/admin/policies/{policy.public_id}",
            f"/admin/completions/{one.public_id}",
            f"/admin/prompts/{prompt.public_id}",
        )
    ]
    for page in pages:
        assert "mine &lt;b&gt;" in page
        assert "<script>alert" not in page
        assert 'href="javascript' not in page
    assert "1 for 1 prompts" in pages[1]
    assert "<strong>bold</strong>" in pages[2]
    assert "0.7" in pages[2]
    assert "at the token limit" in pages[2]
    assert "cut off" in pages[3]
    assert admin.get("/admin/completions/nowhere").status_code == 404


def test_changing_and_deleting_a_policy(admin):
    with transaction() as session:
        made = rules.get_or_create(session, "mine", PolicyKind.IMPORTED)
        ours = rules.people(session)
    place = f"/admin/policies/{made.public_id}"
    assert "Delete policy" in admin.get(place).text
    changed = admin.post(f"{place}/change", data={**admin.fields, "description": "Of May."})
    assert changed.status_code == 303 and "Of May." in admin.get(place).text
    refused = admin.post(f"{place}/change", data={**admin.fields, "description": "x" * 2001})
    assert refused.status_code == 422 and "under 2,000 characters" in refused.text
    assert admin.post(f"{place}/delete", data=admin.fields).headers["location"] == "/admin/policies"
    assert admin.get(place).status_code == 404
    assert "Delete policy" not in admin.get(f"/admin/policies/{ours.public_id}").text
    refused = admin.post(f"/admin/policies/{ours.public_id}/change", data=admin.fields)
    assert refused.status_code == 422


def test_making_a_policy(admin):
    made = admin.post(
        "/admin/policies/new",
        data={**admin.fields, "name": "live", "kind": "endpoint", "endpoint_url": "http://127.0.0.1:9/v1"},
    )
    assert made.status_code == 303
    assert "http://127.0.0.1:9/v1" in admin.get(made.headers["location"]).text
    for fields, says in (
        ({"name": "live", "kind": "imported"}, "“live” already"),
        ({"name": "", "kind": "imported"}, "1 to 120 characters"),
        ({"name": "x", "kind": "endpoint"}, "needs an address"),
        ({"name": "x", "kind": "endpoint", "endpoint_url": "file:///x"}, "needs an address"),
        ({"name": "x", "kind": "people"}, "Choose imported or endpoint"),
    ):
        answer = admin.post("/admin/policies/new", data={**admin.fields, **fields})
        assert answer.status_code in (409, 422)
        assert says in answer.text
