"""Deciding on personal data by page and over REST: what waits is shown where it stands, and nobody else may decide."""

import html

import pytest
from sqlalchemy import select

from app.accounts.tables import Scope
from app.database import reading, transaction
from app.prompts import rules
from app.prompts.tables import Finding, FindingState, Prompt, PromptSource

PLACE = "/admin/prompts/personal-data"
REST = "/api/v1/personal-data"
MAIL, OTHER_MAIL, PHONE = "jane.roe@corp-mail.org", "bob@corp-mail.org", "+49 30 901820"


def stored(text: str) -> Prompt:
    with transaction() as session:
        return rules.add(session, messages=[{"role": "user", "text": text}], source=PromptSource.CUSTOMER)


@pytest.fixture
def prompts(database) -> list[Prompt]:
    texts = (
        f"Answer {MAIL} that the invoice <b>was paid</b>.",
        f"Call {PHONE} about the broken lift.",
        f"Who is {OTHER_MAIL}?",
    )
    return [stored(text) for text in texts]


def states() -> dict[str, FindingState]:
    with reading() as session:
        found = session.scalars(select(Finding).order_by(Finding.id)).all()
        return {one.public_id: one.state for one in found}


def text_of(prompt: Prompt) -> str:
    with reading() as session:
        return session.get_one(Prompt, prompt.id).messages[0]["text"]


def test_admins_decide_by_page_on_one_and_on_all_of_a_kind(client, people, prompts):
    people.sign_in(client, people.admin())
    fields = people.csrf(client)
    shown = client.get(PLACE).text
    assert all(f"<mark>{one}</mark>" in shown for one in (MAIL, PHONE, OTHER_MAIL))
    assert "<b>was paid</b>" not in shown and "<b>was paid</b>" in html.unescape(shown)
    assert f'href="{PLACE}"' in client.get("/admin/prompts").text, "the list of prompts leads here"
    by_kind = client.get(f"{PLACE}?kind=phone").text
    assert PHONE in by_kind and MAIL not in by_kind
    first, second, _third = states()

    done = client.post(f"{PLACE}/{second}", data={**fields, "action": "allow", "back": f"{PLACE}?kind=phone"})
    assert (done.status_code, done.headers["location"]) == (303, f"{PLACE}?kind=phone")
    assert "No open findings." in client.get(f"{PLACE}?kind=phone").text
    twice = client.post(f"{PLACE}/{second}", data={**fields, "action": "mask"})
    assert twice.status_code == 409 and text_of(prompts[1]) == f"Call {PHONE} about the broken lift."

    newest = client.get(PLACE).text.split('name="until" value="')[1].split('"')[0]
    later = stored("Write to carol@corp-mail.org in Oslo.")
    seen = {**fields, "action": "mask", "kind": "email", "until": newest}
    assert client.post(PLACE, data=seen).status_code == 303
    assert "2 findings were decided." in client.get(PLACE).text
    assert MAIL not in text_of(prompts[0]) and OTHER_MAIL not in text_of(prompts[2])
    assert "carol@corp-mail.org" in text_of(later), "it came after the page was shown"
    assert list(states().values()).count(FindingState.OPEN) == 1

    one = client.get(f"/admin/prompts/{prompts[1].public_id}").text
    assert f"<mark>{PHONE}</mark>" in one and "Reopen finding" in one
    client.post(f"{PLACE}/{second}", data={**fields, "action": "reopen"})
    client.post(f"{PLACE}/{second}", data={**fields, "action": "drop"})
    with reading() as session:
        assert session.get_one(Prompt, prompts[1].id).withdrawn_at is not None
    assert states()[first] is FindingState.MASKED


@pytest.mark.parametrize(
    ("path", "data", "says"),
    [
        (PLACE, {"action": "keep", "until": "x"}, "mask"),
        (PLACE, {"action": "mask", "kind": "shoe-size", "until": "x"}, "email"),
        (PLACE + "/nothing", {"action": "mask"}, "nothing"),
    ],
)
def test_wrong_words_are_refused_by_name_and_decide_nothing(client, people, prompts, path, data, says):
    people.sign_in(client, people.admin())
    refused = client.post(path, data={**people.csrf(client), **data})
    assert refused.status_code in (404, 422) and says in refused.text
    assert set(states().values()) == {FindingState.OPEN}


def test_the_whole_way_over_rest(client, people, prompts):
    boss = people.bearer(people.admin())
    first = client.get(REST, params={"limit": 2}, headers=boss).json()
    assert first["counts"] == {"email": 2, "phone": 1} and len(first["items"]) == 2
    rest = client.get(REST, params={"cursor": first["next_cursor"]}, headers=boss).json()
    items = first["items"] + rest["items"]
    assert [(one["kind"], one["text"], one["prompt"]) for one in items] == [
        ("email", MAIL, prompts[0].public_id),
        ("phone", PHONE, prompts[1].public_id),
        ("email", OTHER_MAIL, prompts[2].public_id),
    ]
    assert items[0]["before"] + items[0]["text"] + items[0]["behind"] == text_of(prompts[0])
    done = client.post(f"{REST}/{items[1]['id']}", json={"action": "allow"}, headers=boss)
    assert done.status_code == 200 and done.json()["state"] == "allowed" and done.json()["decided_at"]
    assert client.post(f"{REST}/{items[1]['id']}", json={"action": "mask"}, headers=boss).status_code == 409
    mask = {"action": "mask", "kind": "email", "until": items[-1]["id"]}
    assert client.post(f"{REST}/decide", json=mask, headers=boss).json() == {"decided": 2}
    assert client.get(REST, headers=boss).json() == {"items": [], "counts": {}, "next_cursor": None}


def test_nobody_but_an_admin_sees_or_decides(client, people, prompts):
    ana = people.labeler()
    (id, *_rest) = states()
    for headers in (people.bearer(ana), people.bearer(people.admin("reader"), Scope.READ)):
        assert client.post(f"{REST}/{id}", json={"action": "mask"}, headers=headers).status_code == 403
    assert client.get(REST, headers=people.bearer(ana)).status_code == 403
    people.sign_in(client, ana)
    assert client.get(PLACE).status_code in (403, 404)
    assert client.post(f"{PLACE}/{id}", data={**people.csrf(client), "action": "mask"}).status_code in (403, 404)
    assert set(states().values()) == {FindingState.OPEN}
