"""The prompt bank: one text is stored once, an owner has one split and at most 200, long beginnings are unique."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from app.database import reading, transaction
from app.errors import BadInput
from app.kit import cursors
from app.prompts import queries, rules
from app.prompts.messages import canonical, few_shot, prefix_sha256, split_for, text_sha256, tokens
from app.prompts.schemas import PromptDraft, Verdict
from app.prompts.tables import Prompt, PromptSource
from training.contract.records import Message, Split, UseCase


def user(text: str) -> list[dict]:
    return [{"role": "user", "text": text}]


def draft(text: str, **fields) -> PromptDraft:
    return PromptDraft(messages=canonical(user(text)), source=PromptSource.CUSTOMER, **fields)


def add(session, text: str, **fields) -> Prompt:
    return rules.add(session, messages=user(text), source=PromptSource.CUSTOMER, **fields)


def stored(session) -> int:
    return session.scalar(select(func.count()).select_from(Prompt))


def test_the_same_text_is_stored_once(database):
    with transaction() as session:
        first = add(session, "Name three rivers.", collection="a", use_case=UseCase.BRAINSTORMING)
        again = add(session, "  Name three rivers.\r\n", collection="b")
        assert again.id == first.id
        assert again.collection == "a"
        assert add(session, "Name four rivers.").id != first.id
        assert stored(session) == 2


def test_composed_and_decomposed_accents_are_one_text(database):
    with transaction() as session:
        assert add(session, "caf\u00e9").id == add(session, "cafe\u0301").id


@given(st.text(min_size=1, max_size=40))
def test_a_split_depends_on_the_owner_alone(owner):
    assert split_for(owner) is split_for(owner)


def test_splits_are_80_10_10():
    counts = Counter(split_for(f"owner {number}") for number in range(20_000))
    assert counts[Split.TRAIN] == pytest.approx(16_000, abs=250)  # 4 standard deviations are 226
    assert counts[Split.VALIDATION] == pytest.approx(2_000, abs=180)
    assert counts[Split.TEST] == pytest.approx(2_000, abs=180)


@pytest.mark.parametrize("batch", [7, 1000])
def test_all_prompts_of_an_owner_share_a_split_and_200_are_the_most(database, batch):
    drafts = [draft(f"Question {n} of owner {n % 3}?", owner=f"owner {n % 3}") for n in range(620)]
    with transaction() as session:
        admission = rules.Admission(session)
        verdicts = [one.verdict for at in range(0, 620, batch) for one in admission.take(drafts[at : at + batch])]
    assert Counter(verdicts) == {Verdict.ADDED: 600, Verdict.OVER_CAP: 20}
    assert verdicts.index(Verdict.OVER_CAP) == 600
    with reading() as session:
        splits = session.execute(select(Prompt.owner, Prompt.split).distinct()).all()
        assert sorted(owner for owner, _ in splits) == ["owner 0", "owner 1", "owner 2"]
        assert dict(session.execute(select(Prompt.owner, func.count()).group_by(Prompt.owner)).all()) == {
            "owner 0": 200,
            "owner 1": 200,
            "owner 2": 200,
        }


def test_the_cap_holds_when_many_add_at_once(database):
    def add_some(thread: int) -> list[Verdict]:
        made = []
        for batch in range(4):
            drafts = [draft(f"Question {thread} {batch} {n}?", owner="acme") for n in range(10)]
            with transaction() as session:
                made += [one.verdict for one in rules.Admission(session).take(drafts)]
        return made

    with ThreadPoolExecutor(8) as pool:
        verdicts = Counter(verdict for made in pool.map(add_some, range(8)) for verdict in made)
    assert verdicts == {Verdict.ADDED: 200, Verdict.OVER_CAP: 120}
    with reading() as session:
        assert stored(session) == 200
        assert len(set(session.scalars(select(Prompt.split)))) == 1


def test_an_owners_first_split_holds_for_the_others(database):
    with transaction() as session:
        assert add(session, "One?", owner="acme", split=Split.TEST).split is Split.TEST
        assert add(session, "Two?", owner="acme").split is Split.TEST
        with pytest.raises(BadInput, match="owner “acme” are in the split test") as refused:
            add(session, "Three?", owner="acme", split=Split.TRAIN)
        assert refused.value.field == "split"
        assert add(session, "One?", owner="other", split=Split.TRAIN).split is Split.TEST  # the text is known


def test_without_an_owner_nothing_is_capped_and_the_text_decides_the_split(database):
    drafts = [draft(f"Question {n}?") for n in range(300)]
    with transaction() as session:
        assert {one.verdict for one in rules.Admission(session).take(drafts)} == {Verdict.ADDED}
        splits = Counter(session.scalars(select(Prompt.split)))
    assert set(splits) == set(Split)


LONG = "Please read the following story about a lighthouse keeper and his cat with great care. " * 4


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 3)), max_size=20))
def test_of_those_with_one_long_beginning_the_first_stays(order):
    """Against a reference that compares every pair of texts."""
    texts = [f"{kind * 90} {kind * 120} then {number}" for kind, number in order]
    kept: list[str] = []
    for text in texts:
        if not any(text[:200] == other[:200] for other in kept):
            kept.append(text)
    prefixes: dict[str, str] = {}
    for text in texts:
        prefixes.setdefault(prefix_sha256(canonical(user(text))), text)
    assert list(prefixes.values()) == kept


def test_a_long_common_beginning_is_left_out_unless_wanted(database):
    with transaction() as session:
        take = rules.Admission(session).take
        (first, second, short) = take([draft(LONG + "Summarise it."), draft(LONG + "Now!"), draft("Now!")])
        assert [one.verdict for one in (first, second, short)] == [
            Verdict.ADDED,
            Verdict.SAME_BEGINNING,
            Verdict.ADDED,
        ]
        assert rules.Admission(session).take([draft(LONG.upper() + "Again.")])[0].verdict is Verdict.SAME_BEGINNING
        with pytest.raises(BadInput, match="same 200 characters"):
            add(session, LONG + "Again.", filters=True)
        assert rules.Admission(session, keep_similar=True).take([draft(LONG + "3")])[0].verdict is Verdict.ADDED


def test_a_shared_system_message_makes_nothing_similar(database):
    system = {"role": "system", "text": LONG}
    with transaction() as session:
        for text in ("One?", "Two?"):
            rules.add(session, messages=[system, *user(text)], source=PromptSource.CUSTOMER, filters=True)
        assert stored(session) == 2


def test_few_shot_prompts_may_share_their_beginning(database):
    made = few_shot(LONG, [("sun", "yellow"), ("sky", "blue"), ("grass", "green")])
    with transaction() as session:
        for text, _response in made:
            rules.add(session, messages=user(text), source=PromptSource.LABELER_FEW_SHOT, filters=True)
        assert stored(session) == 3


def test_k_pairs_make_k_few_shot_prompts_with_k_minus_1_shots():
    pairs = [("sun", "yellow"), ("sky", "blue"), ("grass", "green"), ("snow", "white")]
    made = few_shot("Name the colour.", pairs)
    assert len(made) == 4
    for (text, response), (query, answer) in zip(made, pairs, strict=True):
        assert response == answer
        assert text.startswith("Name the colour.\n\n")
        assert text.endswith(f"Input: {query}\nOutput:")
        assert f"Output: {answer}" not in text
        assert text.count("Output: ") == 3
    with pytest.raises(BadInput, match="at least two pairs"):
        few_shot("Name the colour.", pairs[:1])


def test_a_prompt_of_more_than_1024_tokens_is_refused(database, monkeypatch):
    fits, long = user("word " * 819), user("word " * 820)
    assert tokens(canonical(fits)) == 1024
    with transaction() as session:
        rules.add(session, messages=fits, source=PromptSource.CUSTOMER, filters=True)
        with pytest.raises(BadInput, match="1024 tokens"):
            rules.add(session, messages=long, source=PromptSource.CUSTOMER, filters=True)
        rules.add(session, messages=long, source=PromptSource.CUSTOMER)


def test_tokens_are_counted_by_a_tokenizer_where_there_is_one(database, tmp_path, monkeypatch):
    from tokenizers import Tokenizer, models, pre_tokenizers

    from app.config import settings

    made = Tokenizer(models.WordLevel({"[UNK]": 0, "word": 1}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    monkeypatch.setenv("PLUMBLINE_TOKENIZER", str(tmp_path / "tokenizer.json"))
    settings.cache_clear()
    assert tokens(canonical(user("word word other"))) == 3


@pytest.mark.parametrize(
    ("messages", "field", "says"),
    [
        ([], "messages", "empty"),
        ("text", "messages", "list of"),
        ([{"role": "bot", "text": "x"}], "messages.0.role", "system, user, assistant"),
        ([{"role": "user", "text": "  "}], "messages.0.text", "empty"),
        ([{"role": "user", "text": 3}], "messages.0.text", "int, not text"),
        ([{"role": "user", "content": "a\x00b"}], "messages.0.content", "NUL or half a character .* at position 1"),
        ([{"role": "user", "text": "a\ud800"}], "messages.0.text", "half a character"),
        ([*user("x"), {"role": "assistant", "text": "y"}], "messages.1.role", "must end with a user message"),
        (["x"], "messages.0", "object"),
    ],
)
def test_bad_messages_name_field_and_mend(messages, field, says):
    with pytest.raises(BadInput, match=says) as refused:
        canonical(messages)
    assert refused.value.field == field


def test_canonical_messages_hash_by_role_and_text():
    one = canonical([{"role": "user", "content": "a\r\nb "}])
    assert one == (Message(role="user", text="a\r\nb "),)  # as it came
    assert text_sha256(one) == text_sha256(canonical(user("a\nb")))
    assert text_sha256(one) != text_sha256(canonical([{"role": "system", "text": "a\nb"}, *user("a\nb")]))


def test_search_finds_texts_and_not_their_json(database):
    with transaction() as session:
        add(session, 'Warum ist der Himmel 100% "blau"?\nSag es.')
        add(session, "Où est le café?")
        add(session, "role and user")
    with reading() as session:

        def found(q: str) -> int:
            return queries.count(session, queries.matching(session, q=q))

        assert found("himmel") == 1
        assert found('100% "BLAU"?') == 1
        assert found("café") == 1
        assert found("100_") == 0
        assert found("user") == 1  # the word, not the key of every message
        assert found("\\u00e9") == 0


def test_pages_of_a_list_hold_every_prompt_once(database):
    with transaction() as session:
        rules.Admission(session).take([draft(f"Question {n}?", collection="c") for n in range(25)])
    seen, cursor = [], None
    with reading() as session:
        for _ in range(10):
            prompts, cursor = cursors.page(
                session, queries.matching(session, columns={"collection": "c"}), Prompt, cursor, 10
            )
            seen += [prompt.messages[0]["text"] for prompt in prompts]
            if cursor is None:
                break
    assert seen == [f"Question {n}?" for n in reversed(range(25))]


def test_withdrawing_hides_and_restoring_brings_back(people):
    olga = people.admin()
    with transaction() as session:
        prompt = add(session, "Name a river.")
        rules.withdraw(session, prompt, olga)
        rules.withdraw(session, prompt, olga)
        assert queries.count(session, queries.matching(session)) == 0
        assert queries.count(session, queries.matching(session, withdrawn=True)) == 1
        rules.restore(session, prompt, olga)
        assert queries.count(session, queries.matching(session)) == 1
