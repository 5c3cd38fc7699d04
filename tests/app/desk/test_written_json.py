"""The JSON that the desk writes without a model is, byte for byte, what the described models would write."""

import pytest

from app.desk.schemas import AssignmentOut, SavedOut, SubmittedOut
from app.rounds.tables import ItemKind
from tests.desk import make_round

API = "/api/v1/assignments"
CONTENT = {
    ItemKind.COMPARISON: {"notes": "ü “quoted” \u2028 😀 </script>", "completions": {"B": {"rating": 3, "tier": 1}}},
    ItemKind.DEMONSTRATION: {"text": "a\tb\n\\ \u0001 é"},
    ItemKind.CONVERSATION: {"messages": [], "text": "Hello."},
}
SUBMITTED = {
    ItemKind.COMPARISON: {"completions": {letter: {"tier": 1} for letter in "ABC"}},
    ItemKind.DEMONSTRATION: {"text": "Done."},
}


def is_what(model, reply) -> None:
    assert reply.status_code == 200, reply.text
    assert model.model_validate_json(reply.content).model_dump_json().encode() == reply.content


@pytest.mark.parametrize("kind", list(ItemKind))
def test_the_json_is_what_the_model_would_write(client, people, kind):
    make_round(1, k=3, kind=kind, answers={"sensitive_content": True}, text="ß \U0001f9ea <b> ")
    headers = people.bearer(people.labeler())
    work = client.post(f"{API}/next", headers=headers)
    is_what(AssignmentOut, work)
    path = f"{API}/{work.json()['id']}"
    saved = client.post(
        f"{path}/draft", headers=headers | {"If-Match": '"0"'}, json={"content": CONTENT[kind], "active_seconds": 1.25}
    )
    is_what(SavedOut, saved)
    assert saved.headers["etag"] == '"1"' and saved.headers["content-type"] == "application/json"
    again = client.get(path, headers=headers)
    is_what(AssignmentOut, again)
    assert again.headers["etag"] == '"1"'
    if kind in SUBMITTED:
        is_what(SubmittedOut, client.post(f"{path}/submit", headers=headers, json=SUBMITTED[kind]))
        is_what(AssignmentOut, client.get(path, headers=headers))
        is_what(AssignmentOut, client.post(f"{path}/edit", headers=headers))


def test_who_has_no_token_hears_it_before_anything_else(client, people):
    """Short bodies are read before the token is checked; without a token, only its absence is reported."""
    make_round(1, k=3)
    headers = people.bearer(people.labeler())
    path = f"{API}/{client.post(f'{API}/next', headers=headers).json()['id']}"
    for method, url, body in (
        ("POST", f"{path}/submit", b"{"),
        ("POST", f"{path}/draft", b'{"content": 3}'),
        ("POST", f"{path}/nothing", b""),
        ("PUT", path, b""),
        ("POST", f"{API}/next", b'{"round": -1}'),
        ("POST", f"{API}/unknown/heartbeat", b'{"fence": 0}'),
    ):
        for wrong in ({}, {"Authorization": "Bearer plumb_unknown"}):
            refused = client.request(method, url, content=body, headers=wrong | {"content-type": "application/json"})
            assert refused.status_code == 401, (method, url, refused.text)
            assert refused.headers["www-authenticate"] == "Bearer" and refused.headers["connection"] == "close"
        assert client.request(method, url, content=body, headers=headers).status_code in (400, 404, 405, 422)
