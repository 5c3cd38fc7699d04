"""Files as other tools write them: what is stored is what the file says, or the row is refused with its line."""

import csv
import io
import json
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from app.comparisons.tables import Comparison
from app.completions.imports import import_completions
from app.completions.tables import Completion
from app.database import reading, transaction
from app.prompts.imports import PromptDefaults, import_prompts
from app.prompts.tables import Prompt
from tests.app.tool_files import (
    CASES,
    RANKINGS,
    asked,
    checked,
    compare,
    put,
    rankings,
    says,
)

# --- Pairs ---

QUESTION, GOOD, BAD, BRIEF = "Name a mountain.", "Mont Blanc.", "The Rhine.", "Be brief."
WHOLE = ([("user", QUESTION)], [(1, GOOD), (2, BAD)], "", None)


@pytest.mark.parametrize(
    "row",
    [
        # UltraFeedback binarized: a text prompt, whole dialogues, and `messages` that repeat the chosen one
        {
            "prompt": QUESTION,
            "prompt_id": "x1",
            "chosen": says(QUESTION, GOOD),
            "rejected": says(QUESTION, BAD),
            "messages": says(QUESTION, GOOD),
            "score_chosen": 8.5,
            "score_rejected": 3.0,
        },
        # TRL: standard and conversational, with the prompt explicit or within the dialogues
        {"prompt": QUESTION, "chosen": GOOD, "rejected": BAD},
        {"prompt": says(QUESTION), "chosen": says("", GOOD)[1:], "rejected": says("", BAD)[1:]},
        {"chosen": says(QUESTION, GOOD), "rejected": says(QUESTION, BAD)},
        {"prompt": says(QUESTION), "chosen": says(QUESTION, GOOD), "rejected": says(QUESTION, BAD)},
        {"prompt": QUESTION + "\r\n", "chosen": says(QUESTION, GOOD, words="text"), "rejected": says(QUESTION, BAD)},
        {"instruction": QUESTION, "input": "", "chosen": says(QUESTION, GOOD), "rejected": says(QUESTION, BAD)},
        {"messages": says(QUESTION), "chosen": GOOD, "rejected": BAD},
        # HH as TRL parts it
        {"prompt": f"\n\nHuman: {QUESTION}\n\nAssistant:", "chosen": f" {GOOD}", "rejected": f" {BAD}"},
        # ShareGPT's words
        {
            "conversations": [{"from": "human", "value": QUESTION}],
            "chosen": [{"from": "gpt", "value": GOOD}],
            "rejected": [{"from": "gpt", "value": BAD}],
        },
    ],
)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_pair_in_each_public_shape_is_one_prompt_and_two_completions(database, tmp_path, row):
    report = compare(put(tmp_path / "pairs.jsonl", row))
    assert (report.added, report.problems) == (1, [])
    (stored,) = rankings()
    assert ([(role, text.strip()) for role, text in stored[0]], *stored[1:]) == WHOLE


def sides(*turns: str, system: str = "") -> dict:
    """Two dialogues that part at their last message."""
    return {"chosen": says(*turns, GOOD, system=system), "rejected": says(*turns, BAD, system=system)}


TALK = (QUESTION, "Which?", "Any.")
TALKED = [("user", QUESTION), ("assistant", "Which?"), ("user", "Any.")]


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        ({"prompt": QUESTION, **sides(QUESTION, system=BRIEF)}, [("system", BRIEF), ("user", QUESTION)]),
        ({"prompt": says(QUESTION, system=BRIEF), **sides(QUESTION)}, [("system", BRIEF), ("user", QUESTION)]),
        ({"prompt": QUESTION, **sides(*TALK)}, TALKED),
        ({"prompt": says(*TALK), **sides(*TALK)}, TALKED),
    ],
)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_dialogue_that_begins_with_the_prompt_says_it_once(database, tmp_path, row, messages):
    report = compare(put(tmp_path / "pairs.jsonl", row))
    assert report.problems == []
    assert rankings() == [(messages, [(1, GOOD), (2, BAD)], "", None)]


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"prompt": "Another one?", **sides(QUESTION)}, "prompt"),
        ({"prompt": says("A?", "b", QUESTION), **sides(QUESTION)}, "prompt"),
        ({"prompt": says(QUESTION, system="S"), **sides(QUESTION, system="T")}, "prompt"),
        ({"chosen": says(QUESTION, GOOD), "rejected": says("Another?", BAD)}, "chosen"),
        ({"chosen": says(QUESTION, GOOD, "and?"), "rejected": says(QUESTION, BAD, "and?")}, "chosen"),
        ({"chosen": says(QUESTION, GOOD), "rejected": BAD}, "chosen"),
        ({"prompt": QUESTION, "chosen": GOOD, "rejected": BAD, "probability": 7}, "probability"),
        ({"prompt": QUESTION, "chosen": GOOD, "rejected": BAD, "probability": 0.4}, "probability"),
        ({"prompt": QUESTION, "chosen": GOOD, "rejected": BAD, "probability": "sure"}, "probability"),
        ({"prompt": QUESTION, "chosen": GOOD, "rejected": BAD, "tie": "perhaps"}, "tie"),
        ({"prompt": QUESTION, "chosen": [{"role": "assistant", "tool_calls": [{}]}], "rejected": BAD}, "chosen.0"),
    ],
)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_pair_that_contradicts_itself_is_refused_by_line_and_field(database, tmp_path, row, field):
    good = {"prompt": "A good one?", "chosen": "a", "rejected": "b"}
    report = compare(put(tmp_path / "pairs.jsonl", good, row, good), skip_bad=True)
    assert [(one.line, one.field) for one in report.problems] == [(2, field)]
    assert (report.added, report.bad_rows) == (2, 1) and len(rankings()) == 2


def test_probability_and_ties_of_pairs_are_stored(database, tmp_path):
    path = put(
        tmp_path / "pairs.jsonl",
        {"prompt": "1?", "chosen": "a", "rejected": "b", "probability": 0.6},
        {"prompt": "2?", "chosen": "a", "rejected": "b", "tie": True},
        {"prompt": "3?", "chosen": "a", "rejected": "b", "label": "tie"},
        {"prompt": "4?", "chosen": "a", "rejected": "b", "winner": "tie (both bad)"},
        {"prompt": "5?", "chosen": "a", "rejected": "b", "label": "harmless", "tie": False},
    )
    report = compare(path)
    assert [(tiers, sure) for _asked, tiers, _by, sure in rankings()] == [
        ([(1, "a"), (2, "b")], 0.6),
        ([(1, "a"), (1, "b")], None),
        ([(1, "a"), (1, "b")], None),
        ([(1, "a"), (1, "b")], None),
        ([(1, "a"), (2, "b")], None),
    ]
    assert report.notes == ["Unused fields, with the number of rows that have them: label (1)."]


def test_the_same_vote_of_nobody_known_is_two_votes_and_a_file_twice_adds_nothing(database, tmp_path):
    votes = [{"prompt": "?", "chosen": "A", "rejected": "B"}, {"prompt": "?", "chosen": "B", "rejected": "A"}]
    ana = {**votes[0], "labeler": "ana"}
    path = put(tmp_path / "pairs.jsonl", *votes, votes[0], ana, ana, votes[0])
    report = compare(path)
    assert (report.rows, report.added, report.known) == (6, 5, 1)  # ana says the same thing twice
    firsts = Counter((by, tiers[0][1]) for _asked, tiers, by, _sure in rankings())
    assert firsts == {("", "A"): 3, ("", "B"): 1, ("ana", "A"): 1}
    again = compare(path)
    assert (again.added, again.known) == (0, 6) and len(rankings()) == 5


def test_completions_are_stored_as_they_came_and_differ_by_their_look(database, tmp_path):
    path = put(
        tmp_path / "pairs.jsonl",
        {"prompt": "1?", "chosen": "    return 1\n", "rejected": "return 1"},
        {"prompt": "2?", "chosen": "    def f():\n        pass", "rejected": "x"},
        {"prompt": "3?", "chosen": "one\r\ntwo", "rejected": "one\ntwo"},
        {"prompt": "4?", "chosen": "caf\u00e9", "rejected": "cafe\u0301"},
        {"prompt": "5?", "chosen": "a\u00a0b \u200b", "rejected": "a b"},
    )
    report = compare(path)
    assert (report.added, report.left_out_rows) == (2, 3)
    assert {text for _asked, tiers, *_ in rankings() for _tier, text in tiers} == {
        "    return 1\n",
        "return 1",
        "    def f():\n        pass",
        "x",
    }


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_ranking_without_tiers_ranks_nothing(database, tmp_path):
    def row(*tiers):
        completions = [{"text": f"t{n}", "policy": "p", "tier": tier} for n, tier in enumerate(tiers)]
        return {"prompt_key": "1", "prompt": says("?", words="text"), "split": "train", "labeler": "l", "pool": "train",
                "completions": completions}  # fmt: skip

    report = compare(
        put(tmp_path / "r.jsonl", row(None, None), row(1, None), row(3, 3), row(5, None, 2)), RANKINGS, skip_bad=True
    )
    assert [(one.line, one.field) for one in report.problems] == [(1, "completions.tier"), (2, "completions.tier")]
    assert [[tier for tier, _text in tiers] for _asked, tiers, *_ in rankings()] == [[1, 1], [1, 2, None]]


# --- Cells of a CSV ---


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_one_rule_for_every_cell_that_holds_messages(database, tmp_path):
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["prompt", "chosen", "rejected", "probability"])
    writer.writerow(["1?", json.dumps(says("", "good")[1:]), json.dumps(says("", "bad")[1:]), "0.9"])
    writer.writerow([json.dumps(says("2?")), json.dumps(says("2?", "good")), json.dumps(says("2?", "bad")), ""])
    writer.writerow(["3?", '{"name": "good"}', '[{"name": "bad"}]', ""])  # answers that are JSON, not messages
    path = tmp_path / "pairs.csv"
    path.write_text(table.getvalue())
    report = compare(path)
    assert report.problems == []
    assert rankings() == [
        ([("user", "1?")], [(1, "good"), (2, "bad")], "", 0.9),
        ([("user", "2?")], [(1, "good"), (2, "bad")], "", None),
        ([("user", "3?")], [(1, '{"name": "good"}'), (2, '[{"name": "bad"}]')], "", None),
    ]
    answers = tmp_path / "answers.csv"
    answers.write_text('prompt,completion,policy\n1?,"[{""role"": ""assistant"", ""content"": ""Yes.""}]",a\n')
    checked(import_completions(answers, as_csv=True))
    with reading() as session:
        assert session.scalar(select(Completion.text).order_by(Completion.id.desc()).limit(1)) == "Yes."


# --- Prompts and completions of other tools ---


def share(*turns: str) -> list[dict]:
    """A dialogue in ShareGPT's words."""
    return [{"from": turns[n], "value": turns[n + 1]} for n in range(0, len(turns), 2)]


@pytest.mark.parametrize(
    ("row", "messages", "completion"),
    [
        ({"instruction": "Sum", "input": "This", "output": "It"}, [("user", "Sum\n\nThis")], "It"),  # Alpaca
        ({"messages": says("Hi", "Yes?", system="S")}, [("system", "S"), ("user", "Hi")], "Yes?"),  # OpenAI chat
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, *says("", "Yes?")[1:]]},
            [("user", "Hi")],
            "Yes?",
        ),
        (
            {"id": "s1", "conversations": share("system", "S", "human", "Hi", "gpt", "Yes?")},
            [("system", "S"), ("user", "Hi")],
            "Yes?",
        ),  # ShareGPT
        ({"instruction": "A", "output": "B", "generator": "g", "dataset": "d"}, [("user", "A")], "B"),  # AlpacaEval
    ],
)
@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_completions_of_other_tools(database, tmp_path, row, messages, completion, array):
    path = put(tmp_path / "answers.json", row, array=array)
    report = checked(
        import_completions(path, as_csv=False, file_name="answers.json", add_prompts=PromptDefaults("mine"))
    )
    assert (report.added, report.problems) == (1, [])
    with reading() as session:
        stored = session.scalars(select(Completion)).one()
        assert (asked(stored.prompt), stored.text) == (messages, completion)
        assert stored.policy.name == row.get("generator", "answers")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_prompts_of_other_tools_and_what_is_not_used(database, tmp_path):
    path = put(
        tmp_path / "prompts.jsonl",
        {"instruction": "Sum up.", "input": "A text.", "output": "It."},
        {"conversations": [{"from": "human", "value": "Hi"}], "id": "s1"},
        {"messages": says("Hello")},
        {"messages": says("Hello", "Yes?")},
        {"messages": [{"role": "tool", "content": "x"}]},
    )
    report = checked(import_prompts(path, as_csv=False, defaults=PromptDefaults("mine"), skip_bad=True))
    assert [(one.line, one.field) for one in report.problems] == [(4, "messages.1.role"), (5, "messages.0.role")]
    assert "import the rows as completions" in report.problems[0].message
    assert report.notes == ["Unused fields, with the number of rows that have them: output (1), id (1)."]
    with reading() as session:
        found = [asked(one) for one in session.scalars(select(Prompt).order_by(Prompt.id))]
    assert found == [[("user", "Sum up.\n\nA text.")], [("user", "Hi")], [("user", "Hello")]]


def test_texts_that_show_nothing_are_empty(database, tmp_path):
    path = put(
        tmp_path / "a.jsonl",
        *({"prompt": "?", "completion": text, "policy": text} for text in ("\u200b", "\u2060\ufeff")),
    )
    report = checked(import_completions(path, as_csv=False, policy="p", add_prompts=PromptDefaults(), skip_bad=True))
    assert report.added == 0
    blank = put(tmp_path / "b.jsonl", {"prompt": "\u200b\u3164"}, {"prompt": "\u00a0\ufeff"})
    report = checked(import_prompts(blank, as_csv=False, defaults=PromptDefaults(), skip_bad=True))
    assert (report.added, [one.field for one in report.problems]) == (0, ["prompt", "prompt"])


# --- Whatever is generated ---

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), min_size=1, max_size=12)
TURNS = st.lists(WORDS, min_size=1, max_size=5).filter(lambda turns: len(turns) % 2 == 1)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TURNS, WORDS, WORDS, WORDS, st.booleans(), st.booleans(), st.sampled_from(["none", "own", "other"]))
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_is_stored_of_a_generated_pair_is_what_it_says(
    database, tmp_path, turns, chosen, rejected, other, as_list, system, prompt
):
    """Whole dialogues with or without a prompt beside them, theirs or another one."""
    said = says(*turns, system="Be kind." if system else "")
    row = {"chosen": [*said, *says("", chosen)[1:]], "rejected": [*said, *says("", rejected)[1:]]}
    if prompt != "none":
        own = turns if prompt == "own" else [other]
        row["prompt"] = says(*own) if as_list or len(own) > 1 else own[0]
    report = compare(put(tmp_path / "pairs.jsonl", row), skip_bad=True)
    stored = rankings()
    with transaction() as session:
        session.execute(delete(Comparison))
        session.execute(delete(Completion))
        session.execute(delete(Prompt))
    if report.added:
        ((messages, tiers, _by, _sure),) = stored
        assert messages == [(one["role"], one["content"]) for one in said]
        assert tiers == [(1, chosen), (2, rejected)]
        assert prompt != "other" or other.strip() == turns[0].strip() or not other.strip()
    else:
        assert stored == []
        assert report.bad_rows + report.left_out_rows == 1


@pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is not here")
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_files_that_were_stored_wrong(database):
    report = compare(CASES / "c01_ultrafeedback_shape.jsonl")
    assert report.added == 1
    assert rankings()[0][:2] == ([("user", "Name a mountain of the Alps.")], [(1, "Mont Blanc."), (2, "Everest.")])
    assert compare(CASES / "c03_pairs_prompt_and_json_cells.csv").added == 1
    assert rankings()[1][1] == [(1, "Good cell two"), (2, "Bad cell two")]
    assert compare(CASES / "c04_pairs_probability.jsonl").added == 1 and rankings()[2][3] == 0.6
    assert compare(CASES / "c05_pairs_probability_bad.jsonl").problems[0].field == "probability"
    assert compare(CASES / "c06_pairs_tie.jsonl").added == 1 and rankings()[3][1] == [(1, "no"), (1, "yes")]
    assert compare(CASES / "c22_pairs_swap_conflict.jsonl").added == 3
    assert compare(CASES / "c12_rankings_all_null_tier.jsonl", RANKINGS).bad_rows == 1
