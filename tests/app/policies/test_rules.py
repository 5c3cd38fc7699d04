"""Policies: one of a name, one for all people."""

import pytest
from pydantic import ValidationError

from app.database import transaction
from app.errors import BadInput, Conflict
from app.policies import queries, rules
from app.policies.schemas import PolicyIn
from app.policies.tables import PolicyKind


def test_a_name_is_one_policy_of_one_kind(database):
    with transaction() as session:
        first = rules.get_or_create(session, "davinci", PolicyKind.IMPORTED)
        assert rules.get_or_create(session, " davinci ", PolicyKind.IMPORTED).id == first.id
        with pytest.raises(BadInput, match="of the kind imported"):
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
        with pytest.raises(BadInput, match="There are: live, mine"):
            rules.named(session, "mien")


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
