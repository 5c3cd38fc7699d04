"""Creating and editing exercises of practice and screening: completions, references and explanations.

Both are rounds that stay open, with numbers below those of the training loop; every labeler has a slot of every item.
Labelers use the ordinary pages, and their answers are stored as usual; none of them is frozen or counted.
"""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.accounts import rules as accounts
from app.accounts.tables import Account
from app.completions import rules as completions
from app.completions.rules import CompletionDraft
from app.database import utc_now
from app.errors import BadInput, Conflict, NotFound
from app.guidelines import rules as guidelines
from app.guidelines.tables import FormKind
from app.kit.i18n import gettext as _
from app.kit.text import require_text
from app.onboarding import queries
from app.onboarding.schemas import ExerciseIn, ReferenceIn
from app.onboarding.tables import Exercise, Reference
from app.policies import rules as policies
from app.policies.tables import PolicyKind
from app.prompts import rules as prompts
from app.prompts.tables import SENSITIVE, Prompt, PromptSource
from app.rounds import queries as rounds
from app.rounds.tables import Item, ItemCompletion, ItemKind, Round, RoundPurpose, RoundState
from training.contract.records import Split

NUMBERS = {RoundPurpose.PRACTICE: 0, RoundPurpose.SCREENING: -1}  # unique, so there is one round of each
OWNER = COLLECTION = POLICY = "onboarding"


def write(session: Session, new: ExerciseIn, by: Account | None) -> Exercise:
    """Create an exercise, which joins practice or screening at once."""
    kind = ItemKind.COMPARISON if new.completions else ItemKind.DEMONSTRATION
    _check(new)
    round = round_of(session, new.part)
    prompt = _prompt(session, new, by)
    policy = policies.get_or_create(
        session, POLICY, PolicyKind.PEOPLE, description="Written for practice or screening."
    )
    drafts = [CompletionDraft(prompt.id, policy.id, require_text(one.text, "text")) for one in new.completions]
    ids = completions.add_all(session, drafts)
    last = session.scalars(select(func.coalesce(func.max(Item.position), -1)).where(Item.round_id == round.id)).one()
    item = Item(round=round, prompt=prompt, kind=kind, position=last + 1, overlap=0)
    try:
        with session.begin_nested():
            session.add(item)
    except IntegrityError as error:
        raise Conflict(
            _("An exercise with this prompt already exists; change the prompt slightly."), field="prompt"
        ) from error
    session.add_all(ItemCompletion(item_id=item.id, completion_id=id, position=n) for n, id in enumerate(ids))
    exercise = Exercise(item=item, explanation=new.explanation.strip(), created_by_id=by.id if by else None)
    session.add(exercise)
    session.flush()
    session.add_all(
        Reference(item_id=item.id, completion_id=id, **_reference(round, prompt, one))
        for id, one in zip(ids, new.completions, strict=True)
    )
    session.flush()
    accounts.record(session, by, "exercise.write", subject=item.public_id, part=new.part)
    session.expire_all()
    return exercise_(session, item.public_id)


def change(
    session: Session,
    exercise: Exercise,
    by: Account | None,
    *,
    explanation: str | None = None,
    references: Sequence[ReferenceIn] | None = None,
    retired: bool | None = None,
) -> Exercise:
    """Edit an exercise's reference and explanation, or retire or restore it; its texts stay."""
    item = exercise.item
    if explanation is not None:
        _check_explanation(item.round.purpose, explanation)
        exercise.explanation = explanation.strip()
    if references is not None:
        if len(references) != len(exercise.references):
            raise BadInput(
                _("The exercise has %(n)d completions; send a reference for each, in the same order.")
                % {"n": len(exercise.references)},
                field="references",
            )
        if references:
            _check_says_something(references)
        for stored, one in zip(exercise.references, references, strict=True):
            for name, value in _reference(item.round, item.prompt, one).items():
                setattr(stored, name, value)
    if retired is not None and retired != (exercise.retired_at is not None):
        exercise.retired_at = utc_now() if retired else None
    session.flush()
    accounts.record(session, by, "exercise.change", subject=item.public_id, retired=retired)
    session.expire_all()
    return exercise_(session, item.public_id)


def exercise_(session: Session, public_id: str) -> Exercise:
    """Return one exercise, or raise NotFound."""
    found = queries.exercise(session, public_id)
    if found is None:
        raise NotFound(_("Exercise not found."))
    return found


def _check(new: ExerciseIn) -> None:
    if not new.completions and new.part == RoundPurpose.PRACTICE:
        raise BadInput(
            _("Practice compares completions with a reference; write at least two completions."), field="completions"
        )
    if len(new.completions) == 1:
        raise BadInput(_("Write at least two completions, or none to ask for a demonstration."), field="completions")
    texts = [one.text.strip() for one in new.completions]
    if len(set(texts)) < len(texts):
        raise BadInput(_("Two completions have the same text; change one of them."), field="completions")
    if new.completions:
        _check_says_something(new.completions)
    _check_explanation(new.part, new.explanation)


def _check_says_something(references: Sequence[ReferenceIn]) -> None:
    if len({one.tier for one in references} - {None}) < 2 and not any(one.flags for one in references):
        raise BadInput(
            _("Give at least two completions different places or answer flags; otherwise there is nothing to compare."),
            field="completions",
        )


def _check_explanation(part: RoundPurpose, explanation: str) -> None:
    if part == RoundPurpose.PRACTICE and not explanation.strip():
        raise BadInput(_("Explain the reference; labelers learn from the explanation."), field="explanation")


def _reference(round: Round, prompt: Prompt, one: ReferenceIn) -> dict:
    return {"tier": one.tier, "flags": guidelines.check_flags(round.form, prompt, one.flags), "why": one.why.strip()}


def _prompt(session: Session, new: ExerciseIn, by: Account | None) -> Prompt:
    """Add the prompt of an exercise; withdraw one written for it from the bank, so that no round or job sees it."""
    prompt = prompts.add(
        session,
        messages=[{"role": "user", "text": new.prompt}],
        source=PromptSource.LABELER_PLAIN,
        owner=OWNER,
        split=Split.TEST,
        collection=COLLECTION,
        written_by=by,
    )
    if prompt.owner == OWNER:
        prompts.withdraw(session, prompt, by)
    if new.sensitive and not prompt.sensitive:
        prompts.describe(session, prompt, use_case=prompt.use_case, answers=prompt.answers | {SENSITIVE: True}, by=by)
    return prompt


def round_of(session: Session, part: RoundPurpose) -> Round:
    """Get or create the only round of practice or of screening, with the newest guideline and form."""
    guideline = guidelines.current_guideline(session, guidelines.TRAINING)
    form = guidelines.current_form(session, FormKind.COMPLETION)
    found = rounds.by_number(session, NUMBERS[part])
    if found is None:
        name = "Practice" if part == RoundPurpose.PRACTICE else "Screening"
        made = Round(
            number=NUMBERS[part],
            name=name,
            purpose=part,
            state=RoundState.OPEN,
            overlap=0,
            opened_at=utc_now(),
            guideline=guideline,
            form=form,
        )
        try:
            with session.begin_nested():
                session.add(made)
            return made
        except IntegrityError:  # another request created it at the same moment
            found = rounds.by_number(session, NUMBERS[part])
            if found is None:
                raise
    found.guideline, found.form = guideline, form
    session.flush()
    return found
