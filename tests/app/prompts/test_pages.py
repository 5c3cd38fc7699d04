"""The prompt bank's pages: what is there is shown as text, whatever it says; writing and importing by form."""

import html
import json
import re

import pytest
from sqlalchemy import func, select

from app.config import settings
from app.database import reading, transaction
from app.prompts import rules
from app.prompts.tables import Prompt, PromptCollection, PromptSource

ATTACKS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }} {% raw %}",
    "%(name)s %s 100%",
    "</textarea><b>",
    "javascript:alert(1)",
]


@pytest.fixture
def admin(client, people):
    account = people.admin()
    people.sign_in(client, account)
    client.fields = people.csrf(client)
    return client


def add(text: str, **fields) -> Prompt:
    with transaction() as session:
        return rules.add(session, messages=[{"role": "user", "text": text}], source=PromptSource.CUSTOMER, **fields)


def stored(session) -> list[tuple[str, str, str]]:
    found = session.scalars(select(Prompt).order_by(Prompt.id))
    return [(prompt.source.value, prompt.owner, prompt.messages[-1]["text"]) for prompt in found]


def test_what_a_prompt_says_is_shown_and_does_nothing(admin):
    ids = [add(f"Before {attack} after", owner=f"o{attack}", collection=f"c{attack}").public_id for attack in ATTACKS]
    shown = [admin.get(path).text for path in ("/admin/prompts", "/admin/rounds/new")]
    single = [admin.get(f"/admin/prompts/{id}").text for id in ids]
    for attack, page in zip(ATTACKS, single, strict=True):
        assert f"Before {attack} after" in html.unescape(page)
        assert f"Before {attack} after" in html.unescape(shown[0])
        assert f"c{attack}" in html.unescape(shown[1])
    for page in (*shown, *single):
        for dangerous in ("<script>alert", "<img", "</textarea><b>", 'href="javascript'):
            assert dangerous not in page


def test_finding_filtering_and_paging(admin):
    for number in range(60):
        add(f"Question {number}?", collection="even" if number % 2 == 0 else "odd")
    first = admin.get("/admin/prompts").text
    assert "60 prompts" in first
    assert "Question 59?" in first
    assert "Question 9?" not in first
    older = html.unescape(re.search(r'href="(/admin/prompts\?[^"]*cursor=[^"]*)"', first).group(1))
    assert "Question 9?" in admin.get(older).text
    assert "30 prompts" in admin.get("/admin/prompts?collection=odd").text
    assert "1 prompt<" in admin.get("/admin/prompts?q=question+7%3F&split=").text
    assert "No matching prompts" in admin.get("/admin/prompts?q=nothing").text
    assert "is not a valid split" in admin.get("/admin/prompts?split=other").text
    assert admin.get("/admin/prompts?split=other").status_code == 422


def test_describing_and_withdrawing(admin):
    prompt = add("Good?")
    address = f"/admin/prompts/{prompt.public_id}"
    given = {"use_case": "chat", "closed_domain": "yes", "ambiguous": "no", "sensitive_content": ""}
    assert admin.post(address, data={**admin.fields, **given}).status_code == 303
    admin.post(f"{address}/withdraw", data=admin.fields)
    with reading() as session:
        found = session.scalar(select(Prompt))
        assert found.answers == {"closed_domain": True, "ambiguous": False}
        assert found.withdrawn_at is not None
    assert "Restore prompt" in admin.get(address).text
    admin.post(f"{address}/restore", data=admin.fields)
    assert "Withdraw prompt" in admin.get(address).text
    assert admin.get("/admin/prompts/nowhere").status_code == 404


def upload(client, name: str, content: bytes, **fields):
    return client.post("/admin/prompts/import", data={**client.fields, **fields}, files={"file": (name, content)})


def go_on(client, page):
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page.text))
    return client.post("/admin/prompts/import", data={name: html.unescape(value) for name, value in hidden.items()})


def test_importing_checks_first_and_then_imports(admin):
    rows = [{"prompt": "One?"}, {"nothing": 1}, {"prompt": "Two?", "use_case": "<b>poetry</b>"}, {"prompt": "Three?"}]
    content = "\n".join(json.dumps(row) for row in rows).encode()
    report = upload(admin, "<i>mine</i>.jsonl", content, kind="prompts", collection="mine")
    assert report.status_code == 200
    assert "<i>mine" not in report.text
    assert "<b>poetry" not in report.text
    assert "&lt;b&gt;poetry" in report.text
    assert re.findall(r'<td class="num">(\d+)</td><td><code>([^<]+)', report.text) == [
        ("2", "prompt"),
        ("3", "use_case"),
    ]
    with reading() as session:
        assert stored(session) == []
    assert len(list((settings().data_dir / "uploads").iterdir())) == 1
    assert go_on(admin, report).status_code == 303
    with reading() as session:
        assert [row[2] for row in stored(session)] == ["One?", "Three?"]
        assert set(session.scalars(select(PromptCollection.name))) == {"mine"}
    assert list((settings().data_dir / "uploads").iterdir()) == []
    assert go_on(admin, report).status_code == 422  # the upload is gone

    again = upload(admin, "x.jsonl", b'{"prompt": "One?"}\n', kind="prompts")
    assert "There is nothing to add" in again.text


def test_importing_completions_and_comparisons_by_page(admin):
    add("One?")
    answers = b"prompt,response\nOne?,First.\n"
    report = upload(admin, "a.csv", answers, kind="completions")
    assert "named after the file" in report.text
    assert go_on(admin, report).headers["location"] == "/admin/policies"
    assert "a</a>" in admin.get("/admin/policies").text
    pair = json.dumps({"prompt": "One?", "chosen": "x", "rejected": "y"}).encode()
    assert "Enter a collection" in upload(admin, "c.jsonl", pair, kind="comparisons", format="pairs").text
    report = upload(admin, "c.jsonl", pair, kind="comparisons", format="pairs", collection="c")
    assert go_on(admin, report).headers["location"] == "/admin/comparisons"
    assert upload(admin, "x.jsonl", b"[]", kind="prompts").status_code == 422
    large = upload(admin, "x.jsonl", b'{"prompt": "%s"}' % (b"x" * 3_000_000), kind="prompts")
    assert "1024 tokens" in large.text  # an import may be larger than any other request
    assert admin.post("/admin/prompts/import", data={**admin.fields, "kind": "prompts"}).status_code == 422
    forged = {**admin.fields, "kind": "prompts", "key": "../plumbline.db"}
    assert admin.post("/admin/prompts/import", data=forged).status_code == 422
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(Prompt)) == 1
