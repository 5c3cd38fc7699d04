"""Rankings that Argilla and Label Studio export, and pairs in shapes that are easily mistaken."""

import pytest

from app.comparisons.imports import import_comparisons
from app.kit.files import stem
from app.prompts.imports import PromptDefaults, import_prompts
from tests.app.tool_files import ARGILLA, LABEL_STUDIO, PAIRS, checked, compare, put, rankings, says

ENGLAND, SCOTLAND = (
    "\U0001f3f4" + "".join(chr(0xE0000 + ord(letter)) for letter in name) + "\U000e007f" for name in ("gbeng", "gbsct")
)


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


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_column_of_responses_that_is_no_list_is_a_bad_row(database, tmp_path):
    report = compare(put(tmp_path / "a.jsonl", {**FIELDS, "ranking.responses": 5}), ARGILLA)
    assert [(one.line, one.field) for one in report.problems] == [(1, "responses")]


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


# --- Pairs that are easily mistaken ---


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
        assert report.notes == [
            "Prompts already stored in a different split than the row specifies, which keep their split: 1."
        ]
    pairs = put(tmp_path / "pairs.jsonl", {"prompt": "Q", "chosen": "A", "rejected": "B"})
    compare(pairs)
    again = import_comparisons(pairs, format=PAIRS, defaults=PromptDefaults("other"))
    assert again.known == 1 and any("another collection" in note for note in again.notes)
    for name, policy in (("gpt-4.1-mini.jsonl", "gpt-4.1-mini"), ("gpt-3.5.json.gz", "gpt-3.5"), ("x.v2", "x.v2")):
        assert stem(f"/some/where/{name}") == policy
