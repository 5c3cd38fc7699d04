"""Prompts that labelers write: what is wanted, drafts, the three kinds, what is alike, and taking them back."""

import pytest
from sqlalchemy import func, select

from app.accounts import rules as accounts
from app.accounts.tables import Account, Scope
from app.database import reading, transaction
from app.demonstrations.tables import Demonstration
from app.errors import BadInput, Conflict, NotFound
from app.prompt_writing import rules as writing
from app.prompt_writing import submitting
from app.prompt_writing.schemas import FewShotExample, WritingCallIn, WritingContent
from app.prompt_writing.tables import Writing
from app.prompts.messages import split_for
from app.prompts.tables import Prompt, PromptSource
from app.snapshots import contents
from app.snapshots.left_out import Kind
from app.snapshots.queries import written_collections
from app.snapshots.schemas import SnapshotFilter
from app.snapshots.splits import effective_splits
from training.contract.records import Pool, Split

FEW_SHOT = WritingContent(
    instruction="Name the colour.",
    pairs=[
        FewShotExample(input="sun", completion="yellow"),
        FewShotExample(input=" ", completion=""),
        FewShotExample(input="sky", completion="blue"),
        FewShotExample(input="grass", completion="green"),
    ],
)
LONG = "Write a letter to the landlord about the broken heating, and be polite but firm about the date. "


def frozen_pairs(session, *collections: str) -> list[Demonstration]:
    """The few-shot pairs that a snapshot of these collections holds."""
    filter = SnapshotFilter(rounds=[], collections=list(collections))
    found = contents.rows(session, Kind.DEMONSTRATIONS, filter, effective_splits(session))
    return [row for row, _prompt, _split in found]


@pytest.fixture
def ask(people):
    """Makes a call of a kind; returns its id."""
    boss = people.admin("chief")

    def make(kind=PromptSource.LABELER_PLAIN, wanted: int = 5, use: str = "sells shoes") -> str:
        new = WritingCallIn(kind=kind, wanted=wanted, use=use, collection="written")
        with transaction() as session:
            return writing.call(session, new, boss).public_id

    return make


def hand_in(labeler, call: str, content: WritingContent, **how) -> list[Prompt]:
    with transaction() as session:
        piece = writing.begin(session, writing.find_call(session, call), labeler)
        return submitting.hand_in(session, piece, labeler, content, version=piece.version, **how)


def test_a_plain_prompt_has_its_writer_as_owner_and_the_owners_split(people, ask):
    ana = people.labeler("ana")
    (made,) = hand_in(ana, ask(), WritingContent(text="  Why is the sky blue?\r\n"))
    assert made.messages == [{"role": "user", "text": "Why is the sky blue?"}]
    assert (made.owner, made.source, made.collection) == ("labeler ana", PromptSource.LABELER_PLAIN, "written")
    assert made.split is split_for("labeler ana") and made.written_by_id == ana.id


def test_what_held_out_labelers_write_never_trains_and_a_move_makes_another_owner(people, ask):
    ana = people.labeler("ana", pool=Pool.HELD_OUT)
    plain, few_shot = ask(), ask(PromptSource.LABELER_FEW_SHOT)
    made = [*hand_in(ana, plain, WritingContent(text="Why is the sky blue?")), *hand_in(ana, few_shot, FEW_SHOT)]
    assert {(one.owner, one.split) for one in made} == {("held-out labeler ana", Split.VALIDATION)}
    with transaction() as session:
        moved = session.get_one(Account, ana.id)
        accounts.change_account(session, moved, by=None, pool=Pool.TRAIN)
    (later,) = hand_in(moved, plain, WritingContent(text="Name three birds that cannot fly."))
    assert (later.owner, later.split) == ("labeler ana", split_for("labeler ana"))
    with reading() as session:
        assert {session.get_one(Prompt, one.id).split for one in made} == {Split.VALIDATION}


def test_k_pairs_are_k_prompts_each_with_its_own_completion_as_a_demonstration(people, ask):
    made = hand_in(people.labeler("ana"), ask(PromptSource.LABELER_FEW_SHOT), FEW_SHOT)
    assert made[0].messages[0]["text"] == (
        "Name the colour.\n\nInput: sky\nOutput: blue\n\nInput: grass\nOutput: green\n\nInput: sun\nOutput:"
    )
    with reading() as session:
        assert written_collections(session) == ["written"]
        frozen = frozen_pairs(session, "written")
        assert {(row.prompt.messages[0]["text"][-12:-8], row.completion.text) for row in frozen} == {
            (" sun", "yellow"), (" sky", "blue"), ("rass", "green"),
        }  # fmt: skip
        assert frozen_pairs(session) == []
        assert {row.item_id for row in frozen} == {None} and len({prompt.split for prompt in made}) == 1


def test_a_call_for_a_use_needs_its_description_and_only_labelers_kinds_can_be_wanted(people, ask):
    with pytest.raises(BadInput, match="Describe the use"):
        ask(PromptSource.LABELER_USER_BASED, use=" ")
    with pytest.raises(BadInput, match="cannot write prompts of this kind"):
        ask(PromptSource.CUSTOMER)
    (made,) = hand_in(people.labeler(), ask(PromptSource.LABELER_USER_BASED), WritingContent(text="Which size?"))
    assert made.source is PromptSource.LABELER_USER_BASED


def test_no_more_than_wanted_is_taken_and_the_draft_stays(people, ask):
    call = ask(wanted=1)
    tia, tom = people.labeler("tia"), people.labeler("tom")
    with transaction() as session:
        late = writing.begin(session, writing.find_call(session, call), tom).public_id
    hand_in(tia, call, WritingContent(text="First"))
    with pytest.raises(Conflict, match="kept as a draft"), transaction() as session:
        piece = writing.find(session, late, tom)
        submitting.hand_in(session, piece, tom, WritingContent(text="Second"), version=0)
    with reading() as session:
        assert writing.calls(session, only_open=True) == [] and len(writing.calls(session, only_open=False)) == 1
        assert writing.find(session, late, tom).submitted_at is None
        with pytest.raises(NotFound):
            writing.find(session, late, tia)


def test_a_closed_call_takes_nothing(people, ask):
    call, admin = ask(), people.admin("boss")
    with transaction() as session:
        writing.close(session, writing.find_call(session, call), admin)
    with pytest.raises(Conflict):
        hand_in(people.labeler(), call, WritingContent(text="Too late"))


def test_a_draft_changed_elsewhere_is_a_conflict_with_what_stands(people, ask):
    ana, call = people.labeler(), ask()
    with transaction() as session:
        piece = writing.begin(session, writing.find_call(session, call), ana).public_id
    with transaction() as session:
        writing.save(session, writing.find(session, piece, ana), WritingContent(text="one"), 0)
    with pytest.raises(Conflict) as refused, transaction() as session:
        writing.save(session, writing.find(session, piece, ana), WritingContent(text="two"), 0)
    assert refused.value.current["content"]["text"] == "one" and refused.value.current["version"] == 1
    with transaction() as session:
        writing.save(
            session, writing.find(session, piece, ana), WritingContent(text="one"), 0
        )  # the same is no conflict


def test_nearly_the_same_is_asked_about_and_can_be_meant(people, ask):
    ana, call = people.labeler("ana"), ask()
    hand_in(ana, call, WritingContent(text=LONG + "Thank you."))
    with pytest.raises(submitting.Alike, match="nearly the same"):
        hand_in(ana, call, WritingContent(text=LONG + "Thanks."))
    assert len(hand_in(ana, call, WritingContent(text=LONG + "Thanks."), alike=True)) == 1
    hand_in(ana, call, WritingContent(text="Translate “good night” into Basque."))
    same_beginning = LONG * 3
    hand_in(people.labeler("tom"), call, WritingContent(text=same_beginning + "Make it rhyme."))
    with pytest.raises(submitting.Alike, match="begins with the same 200 characters"):
        hand_in(people.labeler("tia"), call, WritingContent(text=same_beginning + "Make it short."))
    with pytest.raises(BadInput, match="already exists"):
        hand_in(people.labeler("ida"), call, WritingContent(text=same_beginning + "Make it rhyme."), alike=True)


@pytest.mark.parametrize(
    ("kind", "content", "says"),
    [
        (PromptSource.LABELER_PLAIN, WritingContent(text=" \n"), "The prompt is empty"),
        (PromptSource.LABELER_PLAIN, WritingContent(text="word " * 2000), "1024 tokens"),
        (
            PromptSource.LABELER_FEW_SHOT,
            WritingContent(instruction="x", pairs=FEW_SHOT.pairs[:1]),
            "at least two pairs",
        ),
        (PromptSource.LABELER_FEW_SHOT, WritingContent(pairs=FEW_SHOT.pairs), "instruction is empty"),
    ],
)
def test_what_cannot_be_a_prompt_is_refused_and_nothing_is_stored(people, ask, kind, content, says):
    with pytest.raises(BadInput, match=says):
        hand_in(people.labeler(), ask(kind), content)
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(Prompt)) == 0


def test_a_double_click_hands_in_once_and_a_withdrawn_piece_takes_all_its_prompts(people, ask):
    ana = people.labeler()
    call = ask(PromptSource.LABELER_FEW_SHOT)
    with transaction() as session:
        piece = writing.begin(session, writing.find_call(session, call), ana).public_id
    for _click in range(2):
        with transaction() as session:
            made = submitting.hand_in(session, writing.find(session, piece, ana), ana, FEW_SHOT, version=0)
            assert len(made) == 3
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(Demonstration)) == 3
    boss = people.admin("boss")
    with transaction() as session:
        assert writing.withdraw(session, writing.find(session, piece, ana), boss) == 3
    with reading() as session:
        assert frozen_pairs(session, "written") == []
        assert writing.calls(session, only_open=True)[0][1] == 0, "it is wanted again"


def test_the_whole_way_by_page(client, people, ask):
    ask(PromptSource.LABELER_FEW_SHOT)
    people.sign_in(client, people.labeler("ana"))
    fields = people.csrf(client)
    listed = client.get("/prompts/write").text
    assert "A task with examples" in listed and "0 of 5 written" in listed
    call = listed.split('name="call" value="')[1].split('"')[0]
    url = client.post("/prompts/write", data={**fields, "call": call}).headers["location"]
    assert client.post("/prompts/write", data={**fields, "call": call}).headers["location"] == url, (
        "one draft of a call"
    )
    assert "(empty)" in client.get("/prompts/write").text
    given = {"instruction": "Name it.", "input": ["sun", "sky"], "completion": ["yellow", "blue"], "version": "0"}
    more = client.post(f"{url}/draft", data={**fields, **given, "more": "5"})
    assert client.get(more.headers["location"]).text.count('name="input"') == 5
    assert client.post(f"{url}/draft", data={**fields, **given, "more": "²"}).status_code == 303
    short = client.post(
        f"{url}/submit", data={**fields, **given, "input": ["sun"], "completion": ["yellow"], "version": "1"}
    )
    assert short.status_code == 422 and "at least two pairs" in short.text and "yellow" in short.text
    done = client.post(f"{url}/submit", data={**fields, **given, "version": "2"})
    assert done.status_code == 303 and "Submitted as 2 prompts" in client.get("/prompts/write").text
    assert "Input: sky" in client.get(url).text and client.get(url).text.count("<h3>Completion") == 2
    stale = client.post(f"{url}/draft", data={**fields, **given}, headers={"Accept": "application/json"})
    assert stale.status_code == 409
    assert client.get("/admin/prompts/wanted").status_code == 404


def test_admins_say_what_is_wanted_and_take_pieces_back(client, people):
    admin = people.admin()
    people.sign_in(client, admin)
    fields = people.csrf(client)
    wrong = client.post("/admin/prompts/wanted", data={**fields, "kind": "labeler_plain", "wanted": "many"})
    assert wrong.status_code == 422 and "must be from 1 to 100,000" in wrong.text
    asked = {"kind": "labeler_few_shot", "wanted": "2", "collection": ""}
    assert client.post("/admin/prompts/wanted", data={**fields, **asked}).status_code == 303
    page = client.get("/admin/prompts/wanted").text
    assert "written by labelers" in page and "0 of 2" in page
    with transaction() as session:
        call = writing.calls(session, only_open=True)[0][0].public_id
    made = hand_in(people.labeler("ana"), call, FEW_SHOT)
    listed = client.get("/admin/demonstrations").text
    assert listed.count("Name the colour.") == 3
    id = listed.split('href="/admin/demonstrations/')[1].split('"')[0]
    one = client.get(f"/admin/demonstrations/{id}")
    assert one.status_code == 200 and "written by labelers" in one.text and "Input: sun" in one.text
    assert "Withdraw all prompts from this submission" in client.get(f"/admin/prompts/{made[0].public_id}").text
    assert client.post(f"/admin/prompts/{made[0].public_id}/withdraw-piece", data=fields).status_code == 303
    with reading() as session:
        assert all(prompt.withdrawn_at for prompt in session.scalars(select(Prompt)))
        assert session.scalar(select(Writing)).withdrawn_at
    client.post(f"/admin/prompts/wanted/{call}/close", data=fields)
    assert "closed" in client.get("/admin/prompts/wanted").text


def test_the_whole_way_over_rest(client, people):
    boss, ana = people.bearer(people.admin()), people.bearer(people.labeler("ana"))
    asked = {"kind": "labeler_few_shot", "wanted": 1}
    assert client.post("/api/v1/writing-calls", json=asked, headers=ana).status_code == 403
    call = client.post("/api/v1/writing-calls", json=asked, headers=boss).json()
    assert client.get("/api/v1/writing-calls", headers=ana).json()["items"] == [call] and call["open"]
    begun = client.post("/api/v1/writings", json={"call": call["id"]}, headers=ana).json()
    url = f"/api/v1/writings/{begun['id']}"
    content = FEW_SHOT.model_dump(mode="json")
    kept = client.put(url, json={"content": content, "version": begun["version"]}, headers=ana).json()
    stale = client.put(url, json={"content": {"text": "x"}, "version": 0}, headers=ana)
    assert stale.status_code == 409 and stale.json()["current"]["version"] == kept["version"]
    done = client.post(f"{url}/submit", json={"content": content, "version": kept["version"]}, headers=ana).json()
    assert len(done["prompts"]) == 3 and done["submitted_at"]
    assert client.get(url, headers=ana).json()["prompts"] == done["prompts"]
    assert client.get(url, headers=boss).status_code == 404, "a piece is its writer's own"
    told = client.get("/api/v1/demonstrations", headers=boss).json()["items"]
    assert {(one["round"], one["text"]) for one in told} == {(None, "yellow"), (None, "blue"), (None, "green")}
    assert client.get("/api/v1/writing-calls", headers=ana).json()["items"] == []
    assert client.delete(url, headers=ana).status_code == 409
    assert (
        client.post(
            f"/api/v1/writing-calls/{call['id']}/close", headers=people.bearer(people.admin("x"), Scope.READ)
        ).status_code
        == 403
    )
