"""Files as other tools write them: what is stored is what the file says, or the row is refused with its line."""

import csv
import io
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from app.comparisons.formats import ComparisonFormat
from app.comparisons.imports import import_comparisons
from app.comparisons.tables import Comparison
from app.completions.imports import import_completions
from app.completions.tables import Completion
from app.database import reading, transaction
from app.kit.files import stem
from app.kit.imports import ImportReport
from app.kit.rows import is_csv
from app.prompts.imports import PromptDefaults, import_prompts
from app.prompts.tables import Prompt

CASES = Path(__file__).resolve().parents[4] / "shared" / "cases" / "import"
HH, PAIRS, RANKINGS, ARGILLA, LABEL_STUDIO = ComparisonFormat


def says(*turns: str, system: str = "", words: str = "content") -> list[dict]:
    """A dialogue that the user begins."""
    said = [{"role": ("user", "assistant")[n % 2], words: text} for n, text in enumerate(turns)]
    return [{"role": "system", words: system}, *said] if system else said


def put(path: Path, *rows: dict, array: bool = False) -> Path:
    lines = [json.dumps(row) for row in rows]
    path.write_text(f"[{','.join(lines)}]" if array else "\n".join(lines) + "\n")
    return path


def checked(report: ImportReport) -> ImportReport:
    """Every row is in one of the counts."""
    assert report.rows == report.added + report.known + report.left_out_rows + report.bad_rows
    return report


def compare(path: Path, format: ComparisonFormat = PAIRS, **options) -> ImportReport:
    return checked(
        import_comparisons(path, format=format, as_csv=is_csv(path.name), defaults=PromptDefaults("mine"), **options)
    )


def asked(prompt: Prompt) -> list[tuple[str, str]]:
    return [(message["role"], message["text"]) for message in prompt.messages]


def rankings() -> list[tuple[list[tuple[str, str]], list[tuple[int | None, str]], str, float | None]]:
    """Of each stored comparison: its prompt, (tier, text) the best first, who ranked, how sure."""
    with reading() as session:
        return [
            (
                asked(one.prompt),
                sorted(
                    ((each.tier, each.completion.text) for each in one.completions), key=lambda it: (it[0] or 99, it[1])
                ),
                one.imported_labeler,
                one.probability,
            )
            for one in session.scalars(select(Comparison).order_by(Comparison.id))
        ]


# --- Pairs ---

ENGLAND, SCOTLAND = (
    "\U0001f3f4" + "".join(chr(0xE0000 + ord(letter)) for letter in name) + "\U000e007f" for name in ("gbeng", "gbsct")
)
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
    assert report.notes == ["Not used, with how many rows hold something there: label (1)."]


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
    assert report.notes == ["Not used, with how many rows hold something there: output (1), id (1)."]
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


# --- Rankings of other tools ---

FIELDS = {"prompt": "Name a river.", "response-1": "Po.", "response-2": "Alps.", "response-3": "Ebro."}
ORDERED = ([("user", "Name a river.")], [(1, "Ebro."), (2, "Po."), (3, "Alps.")], "u1", None)
TIED = ([("user", "Name a river.")], [(1, "Ebro."), (1, "Po."), (2, "Alps.")], "u2", None)
BEST_FIRST = ["response-3", "response-1", "response-2"]
RANKS = [{"value": f"response-{n}", "rank": rank} for n, rank in ((3, 1), (1, 1), (2, 2))]


def by(user: str, value: list) -> dict:
    """A response as 2.x writes it."""
    return {"value": value, "user_id": user}


def of(user: str, value: list, status: str = "submitted") -> dict:
    """A response as 1.x writes it."""
    return {"user_id": user, "status": status, "values": {"ranking": {"value": value}}}


@pytest.mark.parametrize(
    "row",
    [
        {
            "id": "r",
            "fields": FIELDS,
            "responses": {"ranking": [by("u1", BEST_FIRST), by("u2", RANKS)], "topics": [by("u1", ["a"])]},
        },
        {"fields": FIELDS, "responses": [of("u1", BEST_FIRST), of("u2", RANKS), of("u3", BEST_FIRST, "discarded")]},
        {
            **FIELDS,
            "id": "r",
            "status": "completed",
            "ranking.responses": [BEST_FIRST, RANKS],
            "ranking.responses.users": ["u1", "u2"],
            "ranking.responses.status": ["submitted", "submitted"],
            "ranking.suggestion": None,
        },
    ],
)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_argillas_rankings(database, tmp_path, row):
    report = compare(put(tmp_path / "a.json", row, array=True), ARGILLA)
    assert report.problems == []
    assert rankings() == [ORDERED, TIED]
    assert report.left_out_rows == ("discarded" in str(row))


ITEMS = [{"id": id, "title": id.upper(), "body": body} for id, body in (("a", "Po."), ("b", "Alps."), ("c", "Ebro."))]
TASK = {"id": 5, "data": {"prompt": "Name a river.", "items": ITEMS}}


def annotated(value: dict, kind: str = "ranker", **more) -> dict:
    return {"completed_by": 7, "was_cancelled": False, "result": [{"type": kind, "value": value, **more}]}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_label_studios_rankings(database, tmp_path):
    pair = {"id": 6, "data": {"prompt": "2?", "answer1": "left one", "answer2": "right one"}}
    path = put(
        tmp_path / "tasks.json",
        {
            **TASK,
            "annotations": [
                annotated({"ranker": order}) for order in (["c", "a", "b"], {"_": ["b"], "best": ["a", "c"]})
            ],
        },
        {**pair, "annotations": [annotated({"selected": "right"}, "pairwise", to_name=["t1", "t2"])]},
        {**TASK, "annotations": [{**annotated({"ranker": ["a", "b", "c"]}), "was_cancelled": True}]},
        {**TASK, "annotations": [annotated({"ranker": {"good": ["a"], "bad": ["b"]}})]},
        {**TASK, "annotations": []},
        array=True,
    )
    report = compare(path, LABEL_STUDIO, skip_bad=True)
    assert rankings() == [
        ([("user", "Name a river.")], [(1, "Ebro."), (2, "Po."), (3, "Alps.")], "7", None),
        ([("user", "Name a river.")], [(1, "Po."), (2, "Ebro."), (None, "Alps.")], "7", None),
        ([("user", "2?")], [(1, "right one"), (2, "left one")], "7", None),
    ]
    assert (report.rows, report.left_out_rows, report.bad_rows) == (6, 2, 1)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_a_record_holds_beside_its_ranking_is_named_or_counted(database, tmp_path):
    """Context that is not stored, rankings that cannot be read, and records that nobody has answered yet."""
    fields = {"prompt": "What does it say?", "context": "Rome fell in 476.", "r1": "A", "r2": "B"}
    answers = [(["r1", "r2"], "u1"), (["r2", "r1", "rX"], "u2"), (["r2"], "u3")]
    responses = {"q": [{"value": value, "user_id": user} for value, user in answers]}
    empty = {"fields": fields, "responses": []}
    argilla = put(tmp_path / "argilla.jsonl", {"fields": fields, "responses": responses}, empty, {**empty, "id": "2"})
    report = compare(argilla, ARGILLA)
    assert (report.rows, report.added, report.left_out_rows, report.bad_rows) == (5, 1, 4, 0)
    assert any("fields.context (1)" in note for note in report.notes)

    items = [{"id": one, "title": "T", "body": one * 2} for one in "ab"]
    task = {"data": {"prompt": "Summarize.", "input": "Rome fell.", "items": items}}
    tasks = put(
        tmp_path / "tasks.json", {**task, "annotations": [annotated({"ranker": ["a", "b"]})]},
        {**task, "annotations": [annotated({"ranker": ["a", "b"]}) | {"result": []}]}, array=True,
    )  # fmt: skip
    report = compare(tasks, LABEL_STUDIO)
    assert (report.rows, report.added, report.left_out_rows) == (2, 1, 1)
    assert any("data.input (1)" in note for note in report.notes)


@pytest.mark.parametrize(
    ("row", "line_says"),
    [
        ({"conversations": [{"from": ["human"], "value": "h"}]}, "conversations.0.from"),
        ({"messages": [{"role": {"x": 1}, "content": "h"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": "What is it?", "images": ["a.png"]}]}, "images"),
        ({"messages": [{"role": "user", "text": "T", "content": "C"}]}, "keep one"),
        ({"prompt": "One?", "owner": True}, "owner is bool"),
        ({"prompt": "One?", "collection": "x" * 121}, "at most 120"),
    ],
)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_a_message_cannot_hold_is_refused_by_field(database, tmp_path, row, line_says):
    path = put(tmp_path / "rows.jsonl", row)
    report = checked(import_prompts(path, as_csv=False, defaults=PromptDefaults()))
    assert report.bad_rows == 1 and line_says in f"{report.problems[0].field}: {report.problems[0].message}"


@pytest.mark.parametrize(
    ("row", "prompt", "completions"),
    [
        ({"prompt": "Q", "chosen": "A", "rejected": "B", "tie": 1.0}, [("user", "Q")], [(1, "A"), (1, "B")]),
        ({"prompt": "Q", "chosen": "A", "rejected": "B", "tie": 0.0}, [("user", "Q")], [(1, "A"), (2, "B")]),
        (  # a system message stays where it stands
            {
                "prompt": "Q",
                "chosen": [*says("Q", "a"), {"role": "system", "content": "S"}, *says("Q2", "A")],
                "rejected": [*says("Q", "a"), {"role": "system", "content": "S"}, *says("Q2", "B")],
            },
            [("user", "Q"), ("assistant", "a"), ("system", "S"), ("user", "Q2")],
            [(1, "A"), (2, "B")],
        ),
        (  # sides that repeat a prompt which is a transcript
            {
                "prompt": "\n\nHuman: Hi\n\nAssistant:",
                "chosen": "\n\nHuman: Hi\n\nAssistant: Hello",
                "rejected": "\n\nHuman: Hi\n\nAssistant: Go",
            },
            [("user", "Hi")],
            [(1, "Hello"), (2, "Go")],
        ),
        (  # two flags that differ in their tag characters alone
            {"prompt": "Flag?", "chosen": ENGLAND, "rejected": SCOTLAND},
            [("user", "Flag?")],
            [(1, ENGLAND), (2, SCOTLAND)],
        ),
        ({"prompt": "Sign?", "chosen": "\u06dd", "rejected": "no"}, [("user", "Sign?")], [(1, "\u06dd"), (2, "no")]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_pairs_that_were_read_as_something_else(database, tmp_path, row, prompt, completions):
    report = compare(put(tmp_path / "pairs.jsonl", row))
    assert rankings() == [(prompt, completions, "", None)] and report.notes == []


@pytest.mark.parametrize(
    ("row", "says_so"),
    [
        ({"prompt": "\n\nHuman: Hi\n\nAssistant:", "chosen": "\n\nHuman: Ho\n\nAssistant: a", "rejected": "b"}, "a w"),
        ({"chosen": "\n\nHuman: Hi\n\nAssistant: a", "rejected": "\n\nHuman: Hi\n\nAssistant: b"}, "format hh"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_pairs_of_another_shape_say_which(database, tmp_path, row, says_so):
    report = compare(put(tmp_path / "pairs.jsonl", row))
    assert report.bad_rows == 1 and says_so in report.problems[0].message


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_is_known_otherwise_is_said(database, tmp_path):
    """A prompt that is stored in another split, comparisons of another collection, policies named after files."""
    rows = put(
        tmp_path / "split.jsonl", {"prompt": "One thing", "split": "train"}, {"prompt": "One thing", "split": "test"}
    )
    for dry_run in (True, False):
        report = checked(import_prompts(rows, as_csv=False, defaults=PromptDefaults(), dry_run=dry_run))
        assert (report.added, report.known) == (1, 1)
        assert report.notes == ["Prompts stored already in another split than the row says, which stay in theirs: 1."]
    pairs = put(tmp_path / "pairs.jsonl", {"prompt": "Q", "chosen": "A", "rejected": "B"})
    compare(pairs)
    again = import_comparisons(pairs, format=PAIRS, defaults=PromptDefaults("other"))
    assert again.known == 1 and any("another collection" in note for note in again.notes)
    for name, policy in (("gpt-4.1-mini.jsonl", "gpt-4.1-mini"), ("gpt-3.5.json.gz", "gpt-3.5"), ("x.v2", "x.v2")):
        assert stem(f"/some/where/{name}") == policy


# --- Whatever is generated ---

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), min_size=1, max_size=12)
TURNS = st.lists(WORDS, min_size=1, max_size=5).filter(lambda turns: len(turns) % 2 == 1)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
