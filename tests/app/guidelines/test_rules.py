"""Guidelines and forms: seeded once, versioned, and what a form asks of a prompt."""

import pytest

from app.database import reading, transaction
from app.errors import BadInput
from app.guidelines import queries, rules
from app.guidelines.schemas import GuidelineIn, PromptAnswer
from app.guidelines.tables import Form, FormKind, Guideline
from app.prompts.tables import Prompt
from training.contract.records import Flag


def asked(**answers: bool) -> Prompt:
    return Prompt(messages=[], answers=answers)


def test_seeding_twice_adds_nothing(database):
    for _ in range(2):
        with transaction() as session:
            rules.ensure_defaults(session)
    with reading() as session:
        assert {(one.name, one.version) for one in session.query(Guideline)} == {("training", 1), ("evaluation", 1)}
        assert {(one.kind, one.version) for one in session.query(Form)} == {
            (FormKind.COMPLETION, 1),
            (FormKind.PROMPT, 1),
        }


def test_the_default_forms_are_tables_3_and_7(database):
    with transaction() as session:
        completion = rules.questions(rules.current_form(session, FormKind.COMPLETION))
        prompt = rules.questions(rules.current_form(session, FormKind.PROMPT))
    assert completion[0].kind == "rating"
    assert completion[0].low
    assert completion[0].high
    assert [question.name for question in completion[1:]] == list(Flag)
    assert [question.name for question in prompt] == list(PromptAnswer)
    assert len(prompt) == 11
    assert all(question.label and question.definition for question in [*completion, *prompt])


HIDDEN = [
    ({}, set()),
    ({"closed_domain": True, "other_explicit_constraints": True}, set()),
    ({"closed_domain": False}, {Flag.HALLUCINATION}),
    ({"other_explicit_constraints": False}, set()),  # whether it has a safety constraint is not known
    (
        {"explicit_safety_constraints": False, "other_explicit_constraints": False, "closed_domain": False},
        {Flag.HALLUCINATION, Flag.SATISFIES_CONSTRAINT},
    ),
    ({"explicit_safety_constraints": True, "other_explicit_constraints": False}, set()),
]


def test_a_question_is_hidden_only_where_it_is_known_not_to_apply(database):
    with transaction() as session:
        form = rules.current_form(session, FormKind.COMPLETION)
    for answers, hidden in HIDDEN:
        shown = {question.name for question in rules.questions_for(form, asked(**answers))}
        assert {"rating", *Flag} - shown == hidden, answers


def test_flags_that_were_not_shown_or_do_not_exist_are_refused(database):
    with transaction() as session:
        form = rules.current_form(session, FormKind.COMPLETION)
    open_domain = asked(closed_domain=False)
    assert rules.check_flags(form, open_domain, {"fails_task": True, "sexual_content": None}) == {"fails_task": True}
    assert rules.check_flags(form, open_domain, {"hallucination": None}) == {}
    with pytest.raises(BadInput, match="hallucination is not asked") as refused:
        rules.check_flags(form, open_domain, {"hallucination": False})
    assert refused.value.field == "hallucination"
    with pytest.raises(BadInput, match="no flag “helpful”"):
        rules.check_flags(form, open_domain, {"helpful": True})
    with pytest.raises(BadInput, match="true, false or null"):
        rules.check_flags(form, open_domain, {"fails_task": 1})
    with pytest.raises(BadInput, match="no flag “rating”"):
        rules.check_flags(form, open_domain, {"rating": True})


def test_a_new_version_says_what_changed_and_leaves_the_old_one(people):
    olga = people.admin()
    with transaction() as session:
        first = rules.current_guideline(session, "training")
        changed = GuidelineIn(name="training", title=first.title, body=first.body + "\nMore.", what_changed="")
        with pytest.raises(BadInput, match="what changed"):
            rules.add_version(session, changed, olga)
        same = GuidelineIn(name="training", title=first.title, body=first.body, what_changed="Nothing.")
        with pytest.raises(BadInput, match="identical to version 1"):
            rules.add_version(session, same, olga)
        made = rules.add_version(session, changed.model_copy(update={"what_changed": "One more line."}), olga)
        assert made.version == 2
    with reading() as session:
        assert [one.version for one in queries.versions(session, "training")] == [2, 1]
        assert rules.current_guideline(session, "training").what_changed == "One more line."
        assert queries.versions(session, "training")[1].body == first.body


def test_an_unknown_guideline_names_those_that_there_are(database):
    with transaction() as session:
        rules.ensure_defaults(session)
        with pytest.raises(BadInput, match="Available: evaluation, training"):
            rules.current_guideline(session, "trainning")
