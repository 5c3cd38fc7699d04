"""Submitting and withdrawing demonstrations."""

from sqlalchemy.orm import Session

from app.accounts.tables import Account
from app.assignments import changes, late, own
from app.assignments import rules as assignments
from app.assignments.tables import Assignment
from app.completions import rules as completions
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


def submit(
    session: Session,
    assignment: Assignment,
    labeler: Account,
    content: DemonstrationContent,
    *,
    key: str = "",
    version: int | None = None,
    active_seconds: float = 0.0,
) -> Demonstration:
    """Store the labeler's text once; a retry returns the same row, and another text or key raises Conflict."""
    item = assignment.item
    if item.kind is not ItemKind.DEMONSTRATION:
        raise BadInput(_("This is a comparison; send “completions”, not “text”."), field="text")
    key = assignments.idempotency_key(key, content)
    assignments.begin_submit(session, assignment, labeler, version)
    before = assignments.handed_in(session, assignment, labeler, Demonstration, key)
    if before and before.idempotency_key == key:
        return before
    if not content.text.strip():
        raise BadInput(_("The completion is empty. Write it, or skip the prompt."), field="text")
    text = content.text.strip("\n").rstrip()  # leading blanks may be the first line's indentation
    lengths.check(lengths.measure(text, lengths.tokenizer(session)))
    form, answers = answered(session, content)
    pool = before.pool if before else labeler.pool  # an edit stays in the pool of the first submission
    completion = completions.add(session, item.prompt, policies.people(session, pool), text)
    own.note(session, labeler, [(item.prompt.text_sha256, completion.text_sha256)])
    filled = assignments.fill_slot(
        session, assignment, labeler, content.model_dump(mode="json"), active_seconds=active_seconds
    )
    was = before.completion_id if before else None
    prompts.learn(
        session,
        item.prompt,
        use_case=content.use_case,
        answers=answers,
        said_before=(before.use_case, before.answers) if before else (None, {}),
    )
    demonstration = Demonstration(
        id=before and before.id,
        item_id=item.id,
        assignment_id=filled.assignment_id,
        labeler_id=labeler.id,
        pool=pool,
        completion_id=completion.id,
        guideline_id=item.round.guideline_id,
        use_case=content.use_case,
        answers=answers,
        form_id=form and form.id,
        surplus=filled.surplus,
        idempotency_key=key,
        submitted_at=filled.at,
        edited_at=filled.edited_at,
    )
    demonstration = session.merge(demonstration)  # into the edited row, if there is one
    session.flush()
    if was not in (None, completion.id):
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


def withdraw(session: Session, assignment: Assignment, labeler: Account) -> None:
    """Undo the submission: the text becomes a draft again."""
    stored = assignments.answer(session, assignment, labeler, Demonstration)
    if changes.take_back(session, assignment, labeler) and stored:
        session.delete(stored)
        session.flush()
        completions.forget(session, stored.completion_id)
        late.fill(session, Item.id == assignment.item_id, left_by=labeler)


late.register(ItemKind.DEMONSTRATION, Demonstration)
