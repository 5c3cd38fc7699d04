"""Rules for guidelines and forms: seeded once, changed only by adding a version."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.accounts import rules as accounts
from app.accounts.tables import Account
from app.database import insert_into
from app.errors import BadInput, Conflict, NotFound
from app.guidelines import defaults, queries
from app.guidelines.schemas import GuidelineIn, PromptAnswer, Question
from app.guidelines.tables import Acknowledgement, Form, FormKind, Guideline
from app.guidelines.versions import FormVersion, GuidelineVersion
from app.kit.i18n import gettext as _

TRAINING, EVALUATION = "training", "evaluation"


class HasAnswers(Protocol):
    """The part of a prompt that forms use: `answers` holds what is known about it (Table 7)."""

    @property
    def answers(self) -> dict: ...


def ensure_defaults(session: Session) -> None:
    """Add the first version of each guideline and form that has none."""
    guidelines = (
        (TRAINING, defaults.TRAINING_TITLE, defaults.TRAINING),
        (EVALUATION, defaults.EVALUATION_TITLE, defaults.EVALUATION),
    )
    for name, title, body in guidelines:
        row = {"name": name, "version": 1, "title": title, "body": body, "what_changed": ""}
        session.execute(insert_into(session, Guideline).values(row).on_conflict_do_nothing())
    for kind, questions in ((FormKind.COMPLETION, defaults.COMPLETION_FORM), (FormKind.PROMPT, defaults.PROMPT_FORM)):
        row = {"kind": kind, "version": 1, "questions": _stored(questions)}
        session.execute(insert_into(session, Form).values(row).on_conflict_do_nothing())


def current_guideline(session: Session, name: str) -> Guideline:
    """Return the newest version of a guideline, or raise BadInput; creates the defaults first in a new database."""
    found = queries.newest_guideline(session, name)
    if found is None and name in (TRAINING, EVALUATION):
        ensure_defaults(session)
        found = queries.newest_guideline(session, name)
    if found is None:
        known = ", ".join(one.name for one in queries.newest_guidelines(session))
        raise BadInput(
            _("There is no guideline “%(name)s”. Available: %(known)s.") % {"name": name, "known": known or "none"},
            field="guideline",
        )
    return found


def current_form(session: Session, kind: FormKind) -> Form:
    """Return the newest version of a form; creates the defaults first in a new database."""
    found = queries.newest_form(session, kind)
    if found is None:
        ensure_defaults(session)
        found = queries.newest_form(session, kind)
    assert found is not None, kind
    return found


def form(session: Session, kind: FormKind, version: int | None = None) -> Form:
    """Return one version of a form (the newest if `version` is None), or raise NotFound."""
    if version is None:
        return current_form(session, kind)
    found = queries.form(session, kind, version)
    if found is None:
        raise NotFound(_("There is no version %(n)d of this form.") % {"n": version}, field="form_version")
    return found


def guideline(session: Session, public_id: str) -> Guideline:
    """Return the guideline version with this public id, or raise NotFound."""
    found = queries.guideline(session, public_id)
    if found is None:
        raise NotFound(_("Guideline not found."))
    return found


def add_version(session: Session, new: GuidelineIn, by: Account | None) -> Guideline:
    """Add a version; existing answers keep the version they were given under."""
    newest = queries.newest_guideline(session, new.name)
    if newest is not None:
        if newest.title == new.title and newest.body == new.body:
            raise BadInput(_("This text is identical to version %(n)d; change it first.") % {"n": newest.version})
        if not new.what_changed.strip():
            raise BadInput(_("Say in a sentence what changed; labelers will read it."), field="what_changed")
    made = Guideline(
        name=new.name,
        version=newest.version + 1 if newest else 1,
        title=new.title,
        body=new.body,
        what_changed=new.what_changed,
        created_by_id=by.id if by else None,
    )
    try:
        with session.begin_nested():
            session.add(made)
    except IntegrityError as error:
        raise Conflict(
            _("Somebody else has just saved a new version of %(name)s. Reload it and add your change to that version.")
            % {"name": new.name}
        ) from error
    accounts.record(session, by, "guideline.version", subject=made.public_id, name=made.name, version=made.version)
    return made


class NotRead(Conflict):
    """Raised when a labeler must read a guideline, or its new version, before getting new assignments."""

    def __init__(self, guideline: Guideline, *, first: bool = False):
        message = _("“%(title)s” has changed: read what is new in version %(n)d and confirm it to get more tasks.")
        if first:
            message = _("First read “%(title)s”, version %(n)d, and confirm that you have read it.")
        super().__init__(
            message % {"title": guideline.title, "n": guideline.version},
            current={"guideline": guideline.public_id, "name": guideline.name, "version": guideline.version},
            field="guideline",
        )
        self.public_id = guideline.public_id  # kept because the row is unusable after the rollback


def acknowledge(
    session: Session, guideline: Guideline | GuidelineVersion, account: Account, *, said_so: bool = True
) -> None:
    """Record that an account has read this version or, if not `said_so`, has begun to work under it. Idempotent."""
    row = {"account_id": account.id, "guideline_id": guideline.id, "said_so": said_so}
    made = insert_into(session, Acknowledgement).values(row)
    if said_so:
        made = made.on_conflict_do_update(index_elements=["account_id", "guideline_id"], set_={"said_so": True})
    session.execute(made if said_so else made.on_conflict_do_nothing())


def questions(form: Form | FormVersion) -> Sequence[Question]:
    """Return every question of a form."""
    if isinstance(form, FormVersion):
        return form.asked
    return [Question.model_validate(question) for question in form.questions]


def questions_for(form: Form | FormVersion, prompt: HasAnswers) -> list[Question]:
    """Return the questions of a form that apply to a prompt; an unknown prompt answer hides no question."""
    return [question for question in questions(form) if question.is_shown(prompt.answers)]


def check_flags(form: Form | FormVersion, prompt: HasAnswers, flags: Mapping[str, bool | None]) -> dict[str, bool]:
    """Return the answered flags, without None; raises BadInput for one that the form does not ask of this prompt."""
    known = {question.name for question in questions(form) if question.kind == "yes_no"}
    shown = {question.name for question in questions_for(form, prompt)}
    for name, answer in flags.items():
        if name not in known:
            raise BadInput(
                _("There is no flag “%(name)s” in version %(version)d of the form. Available: %(known)s.")
                % {"name": name, "version": form.version, "known": ", ".join(sorted(known))},
                field=name,
            )
        if answer is not None and not isinstance(answer, bool):
            raise BadInput(
                _("%(name)s must be true, false or null, not “%(answer)s”.") % {"name": name, "answer": answer},
                field=name,
            )
        if answer is not None and name not in shown:
            raise BadInput(
                _("%(name)s is not asked for this prompt, so it cannot be answered; leave it out.") % {"name": name},
                field=name,
            )
    return {str(name): answer for name, answer in flags.items() if answer is not None}


def check_form_answers(form: Form, answers: Mapping[str, bool]) -> dict[str, bool]:
    """Return the answers to a version of the prompt form; raises BadInput for an answer to an unknown question."""
    known = {question.name for question in questions(form)}
    for name in answers:
        if name not in known:
            raise BadInput(
                _("There is no question “%(name)s” in version %(version)d of the form. Available: %(known)s.")
                % {"name": name, "version": form.version, "known": ", ".join(sorted(known))},
                field="answers",
            )
    return dict(answers)


def check_answers(answers: Mapping[str, bool | None]) -> dict[str, bool]:
    """Return the given prompt answers, without None; raises BadInput for one that is not in Table 7."""
    for name, answer in answers.items():
        if name not in set(PromptAnswer):
            raise BadInput(
                _("There is no answer “%(name)s” about a prompt. Available: %(known)s.")
                % {"name": name, "known": ", ".join(PromptAnswer)},
                field="answers",
            )
        if answer is not None and not isinstance(answer, bool):
            raise BadInput(
                _("%(name)s must be true, false or null, not “%(answer)s”.") % {"name": name, "answer": answer},
                field="answers",
            )
    return {str(name): answer for name, answer in answers.items() if answer is not None}


def _stored(questions: Iterable[Question]) -> list[dict]:
    return [question.model_dump(mode="json", exclude_defaults=True) for question in questions]
