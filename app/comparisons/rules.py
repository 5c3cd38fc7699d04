"""Handing in a comparison: what was answered about each completion, and one ranking with ties."""

from collections.abc import Iterable

from sqlalchemy import insert
from sqlalchemy.orm import Session

from app.accounts.tables import Account
from app.assignments import rules as assignments
from app.assignments.tables import LETTERS, Assignment
from app.comparisons.schemas import Answer, ComparisonContent
from app.comparisons.tables import ComparedCompletion, Comparison
from app.errors import BadInput
from app.guidelines import rules as guidelines
from app.guidelines.tables import Form
from app.i18n import gettext as _
from app.prompts.tables import Prompt
from app.rounds.tables import ItemKind


def submit(
    session: Session,
    assignment: Assignment,
    labeler: Account,
    content: ComparisonContent,
    *,
    key: str = "",
    version: int | None = None,
    active_seconds: float = 0.0,
) -> Comparison:
    """Store a labeler's ranking, once; a repetition gives the same row, another ranking or key a Conflict."""
    item = assignment.item
    if item.kind is not ItemKind.COMPARISON:
        raise BadInput(_("This asks for a demonstration; send “text”, not “completions”."), field="completions")
    key = assignments.idempotency_key(key, content)
    assignments.begin_submit(session, assignment, labeler, version)
    if stored := assignments.handed_in(session, assignment, labeler, Comparison, key):
        return stored
    shown = assignments.shown_completions(item, labeler)
    letters = LETTERS[: len(shown)]
    tiers = _tiers(letters, content)
    rows = [
        {
            "completion_id": completion.id,
            "shown_position": position,
            "rating": content.of(letter).rating,
            "tier": tiers[letter],
            "flags": flags_of(item.round.form, item.prompt, letter, content.of(letter)),
        }
        for position, (letter, completion) in enumerate(zip(letters, shown, strict=True))
    ]
    filled = assignments.fill_slot(
        session, assignment, labeler, content.model_dump(mode="json"), active_seconds=active_seconds
    )
    comparison = Comparison(
        prompt_id=item.prompt_id,
        item_id=item.id,
        assignment_id=filled.assignment_id,
        labeler_id=labeler.id,
        pool=labeler.pool,
        guideline_id=item.round.guideline_id,
        form_id=item.round.form_id,
        notes=content.notes,
        surplus=filled.surplus,
        idempotency_key=key,
        active_seconds=active_seconds,
        submitted_at=filled.at,
    )
    session.add(comparison)
    session.flush()
    session.execute(insert(ComparedCompletion), [{"comparison_id": comparison.id, **row} for row in rows])
    return comparison


def dense(tiers: Iterable[int]) -> dict[int, int]:
    """Tiers without gaps, 1 the best: {2, 5} -> {2: 1, 5: 2}."""
    return {tier: number for number, tier in enumerate(sorted(set(tiers)), 1)}


def _tiers(letters: str, content: ComparisonContent) -> dict[str, int]:
    if unknown := sorted(set(content.completions) - set(letters)):
        raise BadInput(
            _("There is no completion %(letter)s here; there are: %(letters)s.")
            % {"letter": ", ".join(unknown), "letters": ", ".join(letters)},
            field=f"completions.{unknown[0]}",
        )
    if missing := [letter for letter in letters if content.of(letter).tier is None]:
        raise BadInput(
            _("Not ranked yet: %(letters)s. Give each a place; equally good ones may share one.")
            % {"letters": ", ".join(missing)},
            field=f"completions.{missing[0]}.tier",
        )
    places = dense(answer.tier for answer in content.completions.values())
    return {letter: places[content.of(letter).tier] for letter in letters}


def flags_of(form: Form, prompt: Prompt, letter: str, answer: Answer) -> dict[str, bool]:
    """The flags as they are stored: going on answered no to every flag that was shown and not set."""
    try:
        flags = guidelines.check_flags(form, prompt, answer.flags)
    except BadInput as error:
        field = f"completions.{letter}.flags.{error.field}"
        raise BadInput(f"{letter}: {error.message}", field=field) from error
    if not answer.gone_on:
        return flags
    if answer.rating is None:
        raise BadInput(
            _("%(letter)s: rate it from 1 to 7 before you go on.") % {"letter": letter},
            field=f"completions.{letter}.rating",
        )
    shown = [question.name for question in guidelines.questions_for(form, prompt) if question.kind == "yes_no"]
    return {name: flags.get(name, False) for name in shown}
