"""Changing what the forms ask: by page and REST, a new version each time, and what cannot be asked."""

import pytest

from app.database import reading, transaction
from app.errors import BadInput, Conflict
from app.guidelines import forms, queries, rules
from app.guidelines.defaults import COMPLETION_FORM, PROMPT_FORM
from app.guidelines.schemas import KEYS, FormIn, PromptAnswer, Question
from app.guidelines.tables import FormKind
from tests.desk import make_round

OWN = Question(name="too_long", label="Too long", definition="It says more than was asked.", key="x")


def with_own(form=COMPLETION_FORM, **parts) -> list[Question]:
    """A form with one more question, some of its parts changed."""
    return [*form, OWN.model_copy(update=parts)]


def add(kind: FormKind, questions, **how):
    with transaction() as session:
        return forms.add_version(session, FormIn(kind=kind, questions=list(questions), **how), None)


def test_a_new_version_leaves_the_old_one_and_its_rounds_alone(people):
    made = make_round(1)
    assert add(FormKind.COMPLETION, [*COMPLETION_FORM, OWN]).version == 2
    with reading() as session:
        assert rules.questions(queries.form(session, FormKind.COMPLETION, 1)) == list(COMPLETION_FORM)
        assert queries.newest_form(session, FormKind.COMPLETION).version == 2
        assert queries.newest_form(session, FormKind.PROMPT).version == 1
        assert rules.current_form(session, FormKind.COMPLETION).id != made.form_id, "new rounds ask the new one"


@pytest.mark.parametrize(
    ("kind", "questions", "field", "says"),
    [
        (FormKind.COMPLETION, COMPLETION_FORM[1:], "questions", "one rating, not 0"),
        (FormKind.COMPLETION, COMPLETION_FORM[:1], "questions", "at least one question"),
        (FormKind.COMPLETION, [*COMPLETION_FORM, COMPLETION_FORM[1]], "questions.12.name", "each needs its own"),
        (FormKind.COMPLETION, with_own(name="Too Long"), "questions.12.name", "lowercase"),
        (FormKind.COMPLETION, with_own(label=" "), "questions.12.label", "write the question"),
        (FormKind.COMPLETION, with_own(definition="a\nb"), "questions.12.definition", "one line"),
        (FormKind.COMPLETION, with_own(key="k"), "questions.12.key", "letters"),
        (FormKind.PROMPT, [*PROMPT_FORM, COMPLETION_FORM[0]], "questions.11.kind", "only completions are rated"),
        (
            FormKind.PROMPT,
            with_own(PROMPT_FORM, shown_if=(PromptAnswer.ADVICE,)),
            "questions.11.shown_if",
            "always asked",
        ),
        (FormKind.PROMPT, [], "questions", "at least one question"),
        (FormKind.PROMPT, PROMPT_FORM, None, "unchanged"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_its_question_named(database, kind, questions, field, says):
    with pytest.raises(BadInput, match=says) as refused:
        add(kind, questions)
    assert refused.value.field == field


def test_two_with_one_key_are_told_apart(database):
    same = [one.model_copy(update={"key": "q"}) for one in COMPLETION_FORM[1:3]]
    with pytest.raises(BadInput, match="both use “q”"):
        add(FormKind.COMPLETION, [COMPLETION_FORM[0], *same])


def test_every_question_has_a_letter_its_own_or_the_next_free_one():
    questions = [OWN.model_copy(update={"key": key}) for key in ("", "q", "", "e")]
    assert forms.letters(questions) == ["w", "q", "r", "e"]
    assert forms.letters([OWN.model_copy(update={"key": ""})] * 17) == [*KEYS, "", ""]


def test_a_version_made_from_an_older_one_is_a_conflict(database):
    add(FormKind.COMPLETION, [*COMPLETION_FORM, OWN], after=1)
    with pytest.raises(Conflict, match="version 2"):
        add(FormKind.COMPLETION, COMPLETION_FORM, after=1)


def posted(questions) -> dict:
    made = {"rows": str(len(questions)), "version": "1"}
    for number, one in enumerate(questions):
        made |= {
            f"{part}.{number}": getattr(one, part) for part in ("name", "kind", "label", "definition", "low", "high")
        }
        made |= {f"key.{number}": one.key, f"place.{number}": str(number + 1)}
        made[f"shown_if.{number}"] = [str(name) for name in one.shown_if]
    return made


def test_the_page_orders_adds_drops_and_previews(client, people):
    people.sign_in(client, people.admin())
    fields = people.csrf(client)
    page = client.get("/admin/forms/completion")
    assert page.status_code == 200 and page.text.count("<legend>") >= 12
    form = fields | posted([*COMPLETION_FORM, OWN])
    more = client.post("/admin/forms/completion", data={**form, "do": "more"})
    assert 'name="name.13"' in more.text, "room for one more"
    preview = client.post("/admin/forms/completion", data={**form, "do": "preview"})
    assert preview.status_code == 200 and "Too long <kbd>X</kbd>" in preview.text
    wrong = client.post("/admin/forms/completion", data={**form, "label.12": "", "do": "save"})
    assert wrong.status_code == 422 and "“too_long”" in wrong.text and 'aria-invalid="true"' in wrong.text
    first = {**form, "place.12": "0", "remove.1": "yes", "do": "save", "shown_if.12": ["requests_advice"]}
    assert client.post("/admin/forms/completion", data=first).status_code == 303
    with reading() as session:
        asked = rules.questions(queries.newest_form(session, FormKind.COMPLETION))
    assert asked[0] == OWN.model_copy(update={"shown_if": (PromptAnswer.ADVICE,)})
    assert COMPLETION_FORM[1] not in asked and COMPLETION_FORM[3] in asked and len(asked) == 12
    assert client.post("/admin/forms/completion", data={**first, "version": "1"}).status_code == 409
    assert client.get("/admin/forms/prompt").status_code == 200 and client.get("/admin/forms/other").status_code == 422


def test_rest_adds_versions_and_labelers_read_the_newest(client, people):
    boss, ana = people.bearer(people.admin()), people.bearer(people.labeler())
    questions = [one.model_dump(mode="json") for one in (*PROMPT_FORM, OWN)]
    made = client.post("/api/v1/forms", json={"kind": "prompt", "questions": questions, "after": 1}, headers=boss)
    assert made.status_code == 201 and made.json()["version"] == 2
    assert client.post("/api/v1/forms", json={"kind": "prompt", "questions": questions}, headers=ana).status_code == 403
    newest = client.get("/api/v1/forms/prompt", headers=ana).json()
    assert newest["version"] == 2 and newest["questions"][-1]["key"] == "x"
    bad = client.post("/api/v1/forms", json={"kind": "prompt", "questions": [questions[0]] * 2}, headers=boss).json()
    assert bad["field"] == "questions.1.name"
    assert client.get("/api/v1/forms", headers=boss).json()["items"][0]["kind"] in ("completion", "prompt")
