"""Rounds: a plan chooses prompts and completions the same way every time, and says what it left out."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import func, select

from app.assignments import rules as assignments
from app.completions import rules as completions
from app.completions.imports import import_completions
from app.database import reading, transaction
from app.errors import BadInput, Conflict
from app.policies import rules as policies
from app.policies.tables import PolicyKind
from app.prompts import rules as prompts
from app.prompts.imports import PromptDefaults, import_prompts
from app.prompts.tables import Prompt, PromptSource
from app.rounds import queries, rules
from app.rounds.schemas import RoundPlan
from app.rounds.tables import Item, ItemCompletion, ItemKind, Round, RoundPurpose, RoundState
from training.contract.records import Pool, Split

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"


def bank(count: int, **answers: list[str]) -> list[str]:
    """`count` prompts, each answered by the policies named with their texts; the prompts' public ids."""
    with transaction() as session:
        made = []
        for number in range(count):
            prompt = prompts.add(
                session,
                messages=[{"role": "user", "text": f"Question {number}?"}],
                source=PromptSource.CUSTOMER,
                collection="even" if number % 2 == 0 else "odd",
                split=Split.TRAIN if number % 5 else Split.VALIDATION,
            )
            for policy, texts in answers.items():
                for text in texts:
                    named = policies.get_or_create(session, policy, PolicyKind.IMPORTED)
                    completions.add(session, prompt, named, text)
            made.append(prompt.public_id)
        return made


def make(plan: dict, **fields) -> Round:
    with transaction() as session:
        round = rules.create(session, name="One", plan=RoundPlan(**plan), **fields)
        rules.resample_items(session, round)
        return round


def contents(round: Round) -> list[tuple[ItemKind, str, list[str]]]:
    with reading() as session:
        return [
            (item.kind, item.prompt.messages[-1]["text"], [member.completion.text for member in item.completions])
            for item in queries.items(session, round, 0, 10_000)
        ]


def test_a_round_of_both_kinds(database):
    bank(10, a=["A1", "A2"], b=["B1"])
    round = make({"demonstrations": {"count": 3}, "comparisons": {"count": 4}, "completions": 3, "seed": 7}, overlap=2)
    made = contents(round)
    assert [kind for kind, _, _ in made] == [ItemKind.DEMONSTRATION] * 3 + [ItemKind.COMPARISON] * 4
    assert all(texts == [] for kind, _, texts in made if kind is ItemKind.DEMONSTRATION)
    assert all(sorted(texts) == ["A1", "A2", "B1"] for kind, _, texts in made if kind is ItemKind.COMPARISON)
    assert round.state is RoundState.DRAFT
    with reading() as session:
        assert set(session.scalars(select(Item.overlap))) == {2}
        assert session.get_one(Round, round.id).guideline.name == "training"


def test_the_same_plan_chooses_the_same_and_another_seed_something_else(database):
    bank(40, a=["A1", "A2", "A3"], b=["B1", "B2", "B3"])
    plan = {"comparisons": {"count": 10, "seed": 1}, "completions": 3, "seed": 1}
    one, again = make(plan), make(plan)
    other_prompts = make({**plan, "comparisons": {"count": 10, "seed": 2}})
    other_texts = make({**plan, "seed": 2})
    assert contents(one) == contents(again)
    assert [prompt for _, prompt, _ in contents(one)] != [prompt for _, prompt, _ in contents(other_prompts)]
    assert [prompt for _, prompt, _ in contents(one)] == [prompt for _, prompt, _ in contents(other_texts)]
    assert contents(one) != contents(other_texts)
    with transaction() as session:
        round = session.get_one(Round, one.id)
        assert rules.resample_items(session, round) == 10
    assert contents(one) == contents(again)
    assert [one.number, again.number] == [1, 2]


def test_filters_choose_prompts(database):
    ids = bank(20)

    def asked(**wanted) -> set[int]:
        round = make({"demonstrations": wanted})
        return {int(text.split()[1][:-1]) for _, text, _ in contents(round)}

    assert asked() == set(range(20))
    assert asked(collections=["even"]) == set(range(0, 20, 2))
    assert asked(collections=["odd", "even"], splits=["validation"]) == {0, 5, 10, 15}
    with pytest.raises(BadInput, match="No prompts match"):
        asked(sources=["labeler_plain"])
    assert asked(prompts=[ids[3], ids[1]]) == {3, 1}
    assert [text for _, text, _ in contents(make({"demonstrations": {"prompts": [ids[3], ids[1]]}}))] == [
        "Question 3?",
        "Question 1?",
    ]
    with pytest.raises(BadInput, match="no prompt nowhere"):
        make({"demonstrations": {"prompts": [ids[0], "nowhere"]}})


def test_fresh_prompts_are_those_that_no_other_round_asks(database):
    bank(10, a=["A"], b=["B"])
    first = make({"comparisons": {"count": 6, "fresh": True}})
    second = make({"comparisons": {"count": 6, "fresh": True}})
    demonstrations = make({"demonstrations": {"fresh": True}})
    asked = [{text for _, text, _ in contents(round)} for round in (first, second)]
    assert [len(texts) for texts in asked] == [6, 4]
    assert not asked[0] & asked[1]
    assert len(contents(demonstrations)) == 10  # they were asked for comparisons only


def test_what_is_left_out_says_why(database):
    ids = bank(6, a=["same"])
    with transaction() as session:
        b = policies.get_or_create(session, "b", PolicyKind.IMPORTED)
        for number, text in enumerate(["other", " same\n", "third"]):
            completions.add(session, prompts.prompt(session, ids[number]), b, text)
        prompts.withdraw(session, prompts.prompt(session, ids[2]), None)
    round = make({"comparisons": {"prompts": ids}, "policies": [{"policy": "b"}, {"policy": "a", "count": 1}]})
    assert [text for _, text, _ in contents(round)] == ["Question 0?"]
    reasons = {one["prompt"]: one["reason"] for one in round.left_out}
    assert reasons == {
        ids[1]: rules.ONE_TEXT,
        ids[2]: rules.WITHDRAWN,
        **{ids[n]: rules.ONE_TEXT for n in (3, 4, 5)},
    }
    only_b = make({"comparisons": {"collections": ["odd"]}, "policies": [{"policy": "b"}]})
    assert rules.left_out_reasons(only_b) == [(rules.NO_COMPLETIONS, 2), (rules.ONE_TEXT, 1)]


def test_people_are_among_the_k_only_when_named(database):
    bank(1, a=["A1", "A2"])
    with transaction() as session:
        completions.add(session, session.scalar(select(Prompt)), policies.people(session), "by hand")
    assert sorted(contents(make({"comparisons": {}}))[0][2]) == ["A1", "A2"]
    named = {"comparisons": {}, "policies": [{"policy": "a", "count": 1}, {"policy": "people", "count": 1}]}
    assert "by hand" in contents(make(named))[0][2]


def test_what_held_out_labelers_wrote_is_never_shown_to_the_train_pool(database):
    bank(1, a=["A1", "A2"])
    with transaction() as session:
        author = policies.people(session, Pool.HELD_OUT)
        completions.add(session, session.scalar(select(Prompt)), author, "by a held-out hand")
        policies.people(session)
    plan = {"comparisons": {}, "policies": [{"policy": "a"}, {"policy": "people"}]}
    assert sorted(contents(make(plan))[0][2]) == ["A1", "A2"]
    plan["policies"].append({"policy": "held-out people"})
    for pools in ([Pool.TRAIN], [Pool.TRAIN, Pool.HELD_OUT]):
        with pytest.raises(BadInput, match="“held-out people” is what held-out labelers wrote"):
            make(plan, pools=pools)
    assert "by a held-out hand" in contents(make(plan, pools=[Pool.HELD_OUT]))[0][2]


def test_an_opened_round_is_fixed(database):
    bank(4, a=["A"], b=["B"])
    round = make({"comparisons": {}}, overlap=2, purpose=RoundPurpose.EVALUATION)
    with transaction() as session:
        round = session.get_one(Round, round.id)
        assert round.guideline.name == "evaluation"
        assert assignments.open_round(session, round) == 8
    with transaction() as session:
        round = session.get_one(Round, round.id)
        with pytest.raises(Conflict, match="is open; only a draft"):
            rules.resample_items(session, round)
        with pytest.raises(Conflict, match="only a draft"):
            rules.discard(session, round, None)


def test_a_draft_can_be_discarded(database):
    bank(4, a=["A"], b=["B"])
    round = make({"comparisons": {}})
    with transaction() as session:
        rules.discard(session, session.get_one(Round, round.id), None)
    with reading() as session:
        for table in (Round, Item, ItemCompletion):
            assert session.scalar(select(func.count()).select_from(table)) == 0


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ({}, "at least one"),
        ({"comparisons": {}, "completions": 1}, "greater than or equal to 2"),
        ({"comparisons": {}, "completions": 10}, "less than or equal to 9"),
        ({"comparisons": {}, "policies": [{"policy": "a", "count": 3}, {"policy": "b", "count": 2}]}, "add up to 5"),
        ({"comparisons": {}, "policies": [{"policy": "a"}, {"policy": "a"}]}, "named twice"),
        ({"comparisons": {"split": "train"}}, "Extra inputs"),
        ({"comparisons": {"count": 0}}, "greater than or equal to 1"),
    ],
)
def test_what_is_no_plan(plan, says):
    with pytest.raises(ValidationError, match=says):
        RoundPlan(**plan)


def test_an_unknown_policy_is_told(database):
    bank(1, a=["A"])
    with pytest.raises(BadInput, match=r"no policy “b”\. Existing policies: a"):
        make({"comparisons": {}, "policies": [{"policy": "b"}]})


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")
def test_the_8_models_make_a_round_of_252_items(database):
    folder = DATA / "user_oriented"
    import_prompts(folder / "instructions.jsonl", as_csv=False, defaults=PromptDefaults("user_oriented"))
    for path in sorted(folder.glob("*.jsonl")):
        if path.stem != "instructions":
            import_completions(path, as_csv=False, policy=path.stem)
    round = make({"comparisons": {"collections": ["user_oriented"]}, "completions": 8})
    assert round.left_out == []
    with reading() as session:
        # Where models wrote the same or nothing, K shrinks.
        sizes = queries.sizes(session, round)
        assert sizes == [(8, 121), (7, 80), (6, 21), (5, 12), (4, 5), (3, 7), (2, 6)]
        assert sum(count for _, count in sizes) == 252


def test_prompts_that_are_known_join_another_collection(database, tmp_path):
    """Twelve prompts imported under a second name are in both, and a round over either has them."""
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(f'{{"prompt": "Region {n}?"}}\n' for n in range(12)))
    assert import_prompts(path, as_csv=False, defaults=PromptDefaults("one")).added == 12
    dry = import_prompts(path, as_csv=False, defaults=PromptDefaults("two"), dry_run=True)
    again = import_prompts(path, as_csv=False, defaults=PromptDefaults("two"))
    for report in (dry, again):
        assert (report.rows, report.added, report.known, report.joined) == (12, 0, 12, 12)
        assert report.notes == ["12 prompts are already stored; they are added to the collection."]
    assert again.written and not dry.written
    third = import_prompts(path, as_csv=False, defaults=PromptDefaults("two"))
    assert (third.known, third.joined, third.written) == (12, 0, False)
    for collections in (["one"], ["two"], ["one", "two"]):
        assert len(contents(make({"demonstrations": {"collections": collections}}))) == 12


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"demonstrations": {"collections": ["evne"]}}, "no collection “evne”. Existing collections: even, odd"),
        ({"comparisons": {"collections": ["even", "none"]}}, "no collection “none”"),
        ({"demonstrations": {"use_cases": ["chat"]}}, "No prompts match"),
        ({"comparisons": {"splits": ["test"]}}, "No prompts match"),
        ({"conversations": {"starters": {"sources": ["conversation"]}}}, "No prompts match"),
    ],
)
def test_a_round_that_can_ask_nothing_is_refused_when_it_is_made(database, plan, words):
    bank(4)
    with pytest.raises(BadInput, match=words):
        make(plan)


def test_a_round_without_items_says_why_when_it_is_opened(database):
    bank(3)
    round = make({"comparisons": {}})
    with transaction() as session, pytest.raises(BadInput, match="3 × no completion of the chosen policies"):
        assignments.open_round(session, session.get_one(Round, round.id))


def test_completions_that_look_alike_are_one_text_of_an_item(database):
    bank(1, a=["one\r\ntwo"], b=["one\ntwo", " one\u00a0\ntwo"], c=["    one\ntwo"])
    ((_kind, _prompt, texts),) = contents(make({"comparisons": {}, "completions": 9}))
    assert len(texts) == 2 and "    one\ntwo" in texts
