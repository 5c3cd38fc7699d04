"""What goes with a demonstration: its length against the limit, the preview, and the form about the prompt."""

import json

import pytest
from sqlalchemy import select
from tokenizers import Tokenizer, models, pre_tokenizers

from app.accounts.tables import Account
from app.assignments import queries as assignments_queries
from app.assignments import rules as assignments
from app.database import reading, transaction
from app.demonstrations import lengths, queries
from app.demonstrations.schemas import DemonstrationContent
from app.demonstrations.tables import Demonstration
from app.desk.submit import submit
from app.errors import BadInput, NotFound
from app.policies.tables import Policy, PolicyKind
from app.prompts.tables import Prompt
from app.rounds.tables import ItemKind, Round
from tests.conftest import forget_settings
from tests.desk import make_round
from training.contract.records import UseCase


def csrf(client) -> str:
    return client.get("/account").text.split('name="csrf_token" value="')[1].split('"')[0]


def hand_in(labeler: Account, content: DemonstrationContent, key: str = "") -> Demonstration:
    with transaction() as session:
        claimed = assignments.claim(session, labeler)
        found = assignments_queries.assignment(session, claimed.public_id, labeler)
        return submit(session, found, labeler, content, key=key)


def word_tokenizer(path) -> str:
    made = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.save(str(path))
    return str(path)


def test_a_text_over_the_limit_is_refused_with_the_way_out(people, monkeypatch):
    monkeypatch.setenv("PLUMBLINE_MAX_COMPLETION_TOKENS", "10")
    forget_settings()
    make_round(1, kind=ItemKind.DEMONSTRATION)
    with pytest.raises(BadInput, match=r"about 11 tokens, but only 10 are allowed\. Shorten it by 1") as refused:
        hand_in(people.labeler(), DemonstrationContent(text="x" * 41))
    assert refused.value.field == "text"
    hand_in(people.labeler("tom"), DemonstrationContent(text="x" * 40))


def test_on_the_page_the_text_over_the_limit_is_kept(client, people, monkeypatch):
    monkeypatch.setenv("PLUMBLINE_MAX_COMPLETION_TOKENS", "10")
    forget_settings()
    make_round(1, kind=ItemKind.DEMONSTRATION)
    people.sign_in(client, people.labeler())
    url = client.post("/assignments/next", data={"csrf_token": csrf(client)}, follow_redirects=False).headers[
        "location"
    ]
    page = client.get(url).text
    form = {"csrf_token": csrf(client), "text": "word " * 30, "version": "0", "fence": "1"}
    refused = client.post(f"{url}/submit", data=form)
    assert refused.status_code == 422 and "Shorten it by" in refused.text and "word word" in refused.text
    assert "word word" in client.get(url).text, "it is the draft now"
    assert "about 0 of 10 tokens" in page


def test_tokens_are_counted_by_the_setting_or_the_newest_trained_policy(database, tmp_path, monkeypatch):
    with transaction() as session:
        assert lengths.tokenizer(session) == ""
        (tmp_path / "old").mkdir(), (tmp_path / "new").mkdir(), (tmp_path / "bare").mkdir()
        for name in ("old", "new", "bare"):
            session.add(Policy(name=name, kind=PolicyKind.TRAINED, path=str(tmp_path / name)))
            session.flush()
        word_tokenizer(tmp_path / "old" / "tokenizer.json")
        newest = word_tokenizer(tmp_path / "new" / "tokenizer.json")
        assert lengths.tokenizer(session) == newest, "the bare one has none"
        assert lengths.measure("three words here", newest)[:] == (3, 1024, False)
        own = word_tokenizer(tmp_path / "own.json")
        monkeypatch.setenv("PLUMBLINE_TOKENIZER", own)
        forget_settings()
        assert lengths.tokenizer(session) == own
    assert str(lengths.measure("a b", own)) == "2 of 1024 tokens"
    assert str(lengths.measure("abcde", "")) == "about 2 of 1024 tokens (estimated)"


def test_the_editor_is_told_the_length_and_what_will_be_shown(client, people):
    assert client.post("/writing/shown", data={"text": "x"}, follow_redirects=False).status_code in (303, 403)
    people.sign_in(client, people.labeler())
    told = client.post("/writing/shown", data={"csrf_token": csrf(client), "text": "*so* <script>"}).json()
    assert told["length"] == "about 4 of 1024 tokens (estimated)" and told["over"] == 0
    assert "<em>so</em> &lt;script&gt;" in told["html"] and "<script" not in told["html"]
    assert "Nothing written yet" in client.post("/writing/shown", data={"csrf_token": csrf(client)}).json()["html"]


def test_answers_about_the_prompt_are_stored_with_their_form_and_nothing_else_is(people):
    make_round(1, kind=ItemKind.DEMONSTRATION, overlap=3)
    said = {"closed_domain": True, "ambiguous": False, "intent_unclear": None}
    content = DemonstrationContent(text="so", use_case=UseCase.EXTRACT, answers=said, form_version=1)
    stored = hand_in(people.labeler("tia"), content)
    silent = hand_in(people.labeler("tom"), DemonstrationContent(text="so"))
    with reading() as session:
        one = queries.demonstration(session, stored.public_id)
        assert one.answers == {"closed_domain": True, "ambiguous": False} and one.form.version == 1
        assert one.use_case is UseCase.EXTRACT
        other = queries.demonstration(session, silent.public_id)
        assert other.answers == {} and other.form is None and other.use_case is None
        prompt = session.scalar(select(Prompt))
        assert prompt.answers == {"closed_domain": True, "ambiguous": False} and prompt.use_case is UseCase.EXTRACT


def test_a_labelers_word_fills_what_is_open_and_overrules_nobody(people):
    make_round(1, kind=ItemKind.DEMONSTRATION, overlap=2)
    with transaction() as session:
        prompt = session.scalar(select(Prompt))
        prompt.answers, prompt.use_case = {"closed_domain": False}, UseCase.CHAT
    said = {"closed_domain": True, "ambiguous": True}
    hand_in(people.labeler(), DemonstrationContent(text="so", use_case=UseCase.OTHER, answers=said, form_version=1))
    with reading() as session:
        prompt = session.scalar(select(Prompt))
        assert prompt.answers == {"closed_domain": False, "ambiguous": True} and prompt.use_case is UseCase.CHAT


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ({"answers": {"made_up": True}, "form_version": 1}, BadInput),
        ({"answers": {"ambiguous": True}, "form_version": 7}, NotFound),
    ],
)
def test_answers_must_be_of_their_form(people, content, error):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    with pytest.raises(error):
        hand_in(people.labeler(), DemonstrationContent(text="so", **content))


def test_the_form_of_a_page_gives_answers_and_leaves_the_open_ones_open():
    form = {"text": "t", "form_version": "2", "use_case": "", "about.a": "yes", "about.b": "no", "about.c": ""}
    content = DemonstrationContent().with_form(form)
    assert content.answers == {"a": True, "b": False} and content.form_version == 2 and content.use_case is None
    assert content.with_form({"text": "u"}).answers == content.answers, "a page without the form changes nothing of it"


def test_rest_tells_the_answers(client, people):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    bearer = people.bearer(people.labeler())
    claimed = client.post("/api/v1/assignments/next", headers=bearer).json()
    body = {"text": "so", "use_case": "chat", "answers": {"ambiguous": True}, "form_version": 1}
    handed = client.post(f"/api/v1/assignments/{claimed['id']}/submit", json=body, headers=bearer)
    assert handed.status_code < 300, json.dumps(handed.json())
    told = client.get("/api/v1/demonstrations", headers=people.bearer(people.admin())).json()["items"][0]
    assert (told["use_case"], told["answers"], told["form_version"]) == ("chat", {"ambiguous": True}, 1)
    people.sign_in(client, people.admin("boss"))
    page = " ".join(client.get(f"/admin/demonstrations/{told['id']}").text.split())
    assert "<dt>Ambiguous</dt><dd>yes</dd>" in page and "<dt>Closed domain</dt><dd>not answered</dd>" in page


def test_a_round_may_ask_nothing_about_prompts(client, people):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    people.sign_in(client, people.labeler())
    url = client.post("/assignments/next", data={"csrf_token": csrf(client)}, follow_redirects=False).headers[
        "location"
    ]
    assert "about.closed_domain" in client.get(url).text
    with transaction() as session:
        session.scalar(select(Round)).plan = {"about_prompts": False}
    assert "about.closed_domain" not in client.get(url).text
