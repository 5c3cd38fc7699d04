"""New versions of forms, and the checks that each question must pass."""

import re
from collections.abc import Sequence

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.accounts import rules as accounts
from app.accounts.tables import Account
from app.errors import BadInput, Conflict
from app.guidelines import rules
from app.guidelines.schemas import KEYS, FormIn, Question
from app.guidelines.tables import Form, FormKind
from app.kit.i18n import gettext as _

NAME = re.compile(r"[a-z][a-z0-9_]{0,79}")
MAX_LABEL, MAX_DEFINITION = 120, 240  # characters; each must fit on one line


def add_version(session: Session, new: FormIn, by: Account | None) -> Form:
    """Add a version for rounds created from now on; existing answers keep theirs."""
    newest = rules.current_form(session, new.kind)
    if new.after is not None and newest.version != new.after:
        raise _newer(newest.version)
    check(new.kind, new.questions)
    stored = [question.model_dump(mode="json", exclude_defaults=True) for question in new.questions]
    if stored == newest.questions:
        raise BadInput(_("This is version %(n)d unchanged; change a question first.") % {"n": newest.version})
    made = Form(kind=new.kind, version=newest.version + 1, questions=stored)
    try:
        with session.begin_nested():
            session.add(made)
    except IntegrityError as error:
        raise _newer(newest.version + 1) from error
    accounts.record(session, by, "form.version", subject=made.public_id, kind=made.kind, version=made.version)
    return made


def _newer(version: int) -> Conflict:
    return Conflict(
        _("Somebody else has saved version %(n)d in the meantime. Reload the form and make your changes there.")
        % {"n": version}
    )


def check(kind: FormKind, questions: Sequence[Question]) -> None:
    """Raise BadInput for an invalid form; its field is `questions.<number>.<part>` (from 0), or `questions`."""
    for number, question in enumerate(questions):
        for part, message in _problems(kind, question):
            label = question.label or question.name or number + 1
            raise BadInput(
                _("Question “%(label)s”: %(problem)s") % {"label": label, "problem": message},
                field=f"questions.{number}.{part}",
            )
    for part in ("name", "key"):
        seen: dict[str, str] = {}
        for number, question in enumerate(questions):
            if (value := getattr(question, part)) and value in seen:
                message = _("“%(one)s” and “%(other)s” both use “%(value)s”; each needs its own.")
                raise BadInput(
                    message % {"one": seen[value], "other": question.label, "value": value},
                    field=f"questions.{number}.{part}",
                )
            seen[value] = question.label
    ratings = sum(question.kind == "rating" for question in questions)
    if kind is FormKind.COMPLETION and ratings != 1:
        raise BadInput(
            _("A form about completions must have one rating, not %(n)d.") % {"n": ratings}, field="questions"
        )
    if len(questions) == ratings:
        raise BadInput(_("Ask at least one question that is answered with yes or no."), field="questions")


def _problems(kind: FormKind, question: Question):
    if not NAME.fullmatch(question.name):
        yield (
            "name",
            _("its name must be lowercase letters, digits and underscores, beginning with a letter."),
        )
    if not 1 <= len(question.label.strip()) <= MAX_LABEL:
        yield "label", _("write the question in at most %(n)d characters.") % {"n": MAX_LABEL}
    if not 1 <= len(question.definition.strip()) <= MAX_DEFINITION or "\n" in question.definition:
        yield "definition", _("write its definition on one line of at most %(n)d characters.") % {"n": MAX_DEFINITION}
    if question.key and (len(question.key) != 1 or question.key not in KEYS):
        yield "key", _("its key must be one of the letters %(keys)s, or empty.") % {"keys": " ".join(KEYS)}
    if question.kind == "rating":
        if kind is not FormKind.COMPLETION:
            yield "kind", _("only completions are rated.")
        if not (question.low.strip() and question.high.strip()):
            yield "low", _("a rating needs a label at both ends.")
        if question.key or question.shown_if:
            yield "key", _("a rating has no key and is always asked.")
    elif kind is FormKind.PROMPT and question.shown_if:
        yield "shown_if", _("questions about a prompt are always asked.")


def letters(questions: Sequence[Question]) -> list[str]:
    """Return the key of each question: its own, else the next free letter, "" when all are used."""
    free = iter([key for key in KEYS if key not in {question.key for question in questions}])
    return [question.key or next(free, "") for question in questions]
