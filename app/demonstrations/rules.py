"""What a demonstration must be, and how it is stored."""

from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from app.accounts.tables import Account
from app.assignments import late, own
from app.completions import rules as completions
from app.completions.tables import Completion
from app.demonstrations import lengths
from app.demonstrations.schemas import DemonstrationContent
from app.demonstrations.tables import Demonstration
from app.errors import BadInput
from app.guidelines import rules as guidelines
from app.guidelines.tables import Form, FormKind
from app.kit.i18n import gettext as _
from app.policies import rules as policies
from app.prompts import rules as prompts
from app.rounds.tables import Item, ItemKind
from training.contract.records import Pool


class Valid(NamedTuple):
    """A demonstration that may be stored."""

    completion: Completion
    form: Form | None
    answers: dict[str, bool]


def validate(session: Session, item: Item, labeler: Account, content: DemonstrationContent, pool: Pool) -> Valid:
    """Refuse a text that is empty or too long and answers that the form does not ask for; store the completion."""
    if not content.text.strip():
        raise BadInput(_("The completion is empty. Write it, or skip the prompt."), field="text")
    text = content.text.strip("\n").rstrip()  # leading blanks may be the first line's indentation
    lengths.check(lengths.measure(text, lengths.tokenizer(session)))
    form, answers = answered(session, content)
    completion = completions.add(session, item.prompt, policies.people(session, pool), text)
    own.note(session, labeler, [(item.prompt.text_sha256, completion.text_sha256)])
    return Valid(completion, form, answers)


def store(
    session: Session,
    item: Item,
    content: DemonstrationContent,
    valid: Valid,
    columns: dict[str, Any],
    before: Demonstration | None,
) -> Demonstration:
    """Store a demonstration, and fill in what is unknown of its prompt; `before` is the one that was edited."""
    was = before.completion_id if before else None
    prompts.fill_metadata(
        session,
        item.prompt,
        use_case=content.use_case,
        answers=valid.answers,
        said_before=(before.use_case, before.answers) if before else (None, {}),
    )
    demonstration = Demonstration(
        completion_id=valid.completion.id,
        use_case=content.use_case,
        answers=valid.answers,
        form_id=valid.form and valid.form.id,
        **columns,
    )
    demonstration = session.merge(demonstration)  # into the edited row, if there is one
    session.flush()
    if was not in (None, valid.completion.id):
        completions.forget(session, was)
    return demonstration


def answered(session: Session, content: DemonstrationContent) -> tuple[Form | None, dict[str, bool]]:
    """Return the version of the prompt form that was answered and its answers; (None, {}) if nothing was answered.

    Raise BadInput if an answer belongs to no question of the form.
    """
    given = {name: answer for name, answer in content.answers.items() if answer is not None}
    if not given and content.use_case is None:
        return None, {}
    form = guidelines.form(session, FormKind.PROMPT, content.form_version)
    return form, guidelines.check_form_answers(form, given)


def remove(session: Session, stored: Demonstration) -> None:
    """Delete a demonstration, and its completion unless something else needs it."""
    session.delete(stored)
    session.flush()
    completions.forget(session, stored.completion_id)


late.register(ItemKind.DEMONSTRATION, Demonstration)
