"""Policies: one of a name, one for all people."""

import pytest
from pydantic import ValidationError

from app.completions import rules as completions
from app.database import transaction
from app.errors import BadInput, Conflict
from app.policies import queries, rules
from app.policies.schemas import PolicyIn
from app.policies.tables import PolicyKind
from app.prompts import rules as prompts
from app.prompts.tables import PromptSource


def test_a_name_is_one_policy_of_one_kind(database):
    with transaction() as session:
        first = rules.get_or_create(session, "davinci", PolicyKind.IMPORTED)
        assert rules.get_or_create(session, " davinci ", PolicyKind.IMPORTED).id == first.id
        with pytest.raises(BadInput, match="of kind imported"):
            rules.get_or_create(session, "davinci", PolicyKind.TRAINED)
        assert rules.people(session).id == rules.people(session).id
        assert rules.people(session).kind is PolicyKind.PEOPLE
        with pytest.raises(BadInput, match="1 to 120"):
            rules.get_or_create(session, " ", PolicyKind.IMPORTED)


def test_making_one_by_hand(people):
    olga = people.admin()
    with transaction() as session:
        rules.create(session, PolicyIn(name="mine", description="Ours of May."), olga)
        made = rules.create(
            session, PolicyIn(name="live", kind=PolicyKind.ENDPOINT, endpoint_url="http://127.0.0.1:9/v1"), olga
        )
        assert made.endpoint_url == "http://127.0.0.1:9/v1"
        with pytest.raises(Conflict, match="“mine” already"):
            rules.create(session, PolicyIn(name="mine"), olga)
        assert [one.name for one in queries.policies(session)] == ["live", "mine"]
        first, cursor = queries.page(session, None, 1)
        second, end = queries.page(session, cursor, 1)
        assert [one.name for one in (*first, *second)] == ["live", "mine"]
        assert end is None
        with pytest.raises(BadInput, match="Existing policies: live, mine"):
            rules.named(session, "mien")


def test_changing_and_deleting_one_over_rest(client, people):
    olga = people.bearer(people.admin())
    made = client.post(
        "/api/v1/policies",
        json={"name": "live", "kind": "endpoint", "endpoint_url": "http://127.0.0.1:9/v1", "endpoint_model": "m"},
        headers=olga,
    ).json()
    place = f"/api/v1/policies/{made['id']}"
    changed = client.patch(place, json={"endpoint_url": "http://127.0.0.1:8/v1/"}, headers=olga).json()
    assert changed == {**made, "endpoint_url": "http://127.0.0.1:8/v1"}
    for body, field in (
        ({"endpoint_url": None}, "endpoint_url"),
        ({"endpoint_url": "file:///x"}, "endpoint_url"),
        ({"key_variable": "HOME"}, "key_variable"),
        ({"name": "other"}, "name"),
    ):
        refused = client.patch(place, json=body, headers=olga)
        assert refused.status_code == 422 and field in refused.text, (body, refused.text)
    assert client.delete(place, headers=olga).status_code == 204
    assert client.get(place, headers=olga).status_code == 404


def test_a_policy_that_has_written_stays_and_so_does_one_of_people(client, people):
    olga = people.bearer(people.admin())
    with transaction() as session:
        ours, mine = rules.people(session), rules.get_or_create(session, "mine", PolicyKind.IMPORTED)
        prompt = prompts.add(session, messages=[{"role": "user", "text": "Hi?"}], source=PromptSource.CUSTOMER)
        completions.add(session, prompt, mine, "Hello.")
    for policy, status, says in ((ours, 422, "what labelers write"), (mine, 409, "has written completions")):
        refused = client.delete(f"/api/v1/policies/{policy.public_id}", headers=olga)
        assert refused.status_code == status and says in refused.text
    assert client.patch(f"/api/v1/policies/{ours.public_id}", json={}, headers=olga).status_code == 422


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "x", "kind": "trained"},
        {"name": "x", "kind": "endpoint"},
        {"name": "x", "endpoint_url": "http://a/v1"},
        {"name": "x", "kind": "endpoint", "endpoint_url": "file:///etc/passwd"},
        {"name": ""},
    ],
)
def test_what_makes_no_policy(fields):
    with pytest.raises(ValidationError):
        PolicyIn(**fields)
