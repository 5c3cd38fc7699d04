"""What a comparison must be, and how it is stored: answers about each completion, and one ranking with ties."""

import re
from collections.abc import Iterable
from typing import Any, TypeVar

from sqlalchemy import delete, insert
from sqlalchemy.orm import Session

from app.accounts.tables import Account
from app.assignments import late
from app.assignments import rules as assignments
from app.assignments.tables import LETTERS
from app.assignments.task import AnyItem
from app.comparisons.schemas import ComparisonContent, CompletionAnswer
from app.comparisons.tables import ComparedCompletion, Comparison, ComparisonSource, SeededOrder
from app.database import as_read, public_id, run
from app.errors import BadInput
from app.guidelines import rules as guidelines
from app.guidelines.rules import HasAnswers
from app.guidelines.tables import Form
from app.guidelines.versions import FormVersion
from app.kit.i18n import gettext as _
from app.rounds.tables import ItemKind
from training.contract.records import Pool

Place = TypeVar("Place", int, tuple[bool, int])  # smaller is better
# Silent reading runs at 175 to 300 words a minute (Brysbaert 2019); at twice that or more, one skims.
READING_WORDS_A_MINUTE = 600
# Scripts without spaces between words; a word is about two of their characters.
UNSPACED = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


def validate(
    session: Session, item: AnyItem, labeler: Account, content: ComparisonContent, pool: Pool
) -> list[dict[str, Any]]:
    """Refuse a ranking that is not complete; return the columns of what is compared, in the order shown."""
    shown = assignments.shown_completions(item, labeler)
    letters = LETTERS[: len(shown)]
    tiers = _tiers(letters, content)
    _check_seeded_order(letters, content)
    return [
        {
            "completion_id": completion.id,
            "shown_position": position,
            "rating": content.of(letter).rating,
            "tier": tiers[letter],
            "unacceptable": content.of(letter).unacceptable,
            "flags": flags_of(item.round.form, item.prompt, letter, content.of(letter)),
        }
        for position, (letter, completion) in enumerate(zip(letters, shown, strict=True))
    ]


_NEW = insert(Comparison).returning(Comparison.id)
# With RETURNING, all rows go in one statement.
_COMPARED = insert(ComparedCompletion).returning(ComparedCompletion.shown_position)


def store(
    session: Session,
    item: AnyItem,
    content: ComparisonContent,
    rows: list[dict[str, Any]],
    columns: dict[str, Any],
    before: Comparison | None,
) -> Comparison:
    """Store a ranking with what it compares; `before` is the one that was edited."""
    at = columns["submitted_at"]
    values = {
        "prompt_id": item.prompt_id,
        "form_id": item.round.form_id,
        "notes": content.notes,
        "seeded_order": content.seeded_order,
        # A clock that goes ahead must not cost the answer.
        "first_action_at": min(content.first_action_at, at) if content.first_action_at else None,
        **columns,
    }
    if before:
        comparison = session.merge(Comparison(**values))
        session.flush()
        session.execute(delete(ComparedCompletion).where(ComparedCompletion.comparison_id == comparison.id))
    else:
        values |= {"public_id": public_id(), "source": ComparisonSource.PERSON}
        del values["id"]
        comparison = as_read(Comparison(id=run(session, _NEW, values).scalar_one(), **values))
        session.add(comparison)
    run(session, _COMPARED, [{"comparison_id": comparison.id, **row} for row in rows])
    return comparison


def remove(session: Session, stored: Comparison) -> None:
    """Delete a comparison with what it compared."""
    session.execute(delete(Comparison).where(Comparison.id == stored.id))


def dense(places: Iterable[Place]) -> dict[Place, int]:
    """Return tiers without gaps, 1 the best: {2, 5} -> {2: 1, 5: 2}."""
    return {place: number for number, place in enumerate(sorted(set(places)), 1)}


def reading_seconds(texts: Iterable[str]) -> float:
    """Return the least seconds in which these texts can be read; a faster labeler is warned, but never blocked."""
    words = sum(len(text.split()) + len(UNSPACED.findall(text)) / 2 for text in texts)
    return 60 * words / READING_WORDS_A_MINUTE


def _tiers(letters: str, content: ComparisonContent) -> dict[str, int]:
    if unknown := sorted(set(content.completions) - set(letters)):
        raise BadInput(
            _("There is no completion %(letter)s here. The completions are: %(letters)s.")
            % {"letter": ", ".join(unknown), "letters": ", ".join(letters)},
            field=f"completions.{unknown[0]}",
        )
    if undecided := [letter for letter in letters if content.of(letter).undecided]:
        groups: dict[int | None, list[str]] = {}
        for letter in undecided:
            level = [one for one in letters if content.of(one).depth == content.of(letter).depth]
            groups[content.of(letter).tier] = level
        raise BadInput(
            _("Undecided: %(groups)s. Mark each group as tied, or put it in order.")
            % {"groups": "; ".join(", ".join(group) for group in groups.values())},
            field=f"completions.{undecided[0]}.undecided",
        )
    if missing := [letter for letter in letters if content.of(letter).depth is None]:
        raise BadInput(
            _("Not ranked yet: %(letters)s. Give each a place; equally good completions can share one.")
            % {"letters": ", ".join(missing)},
            field=f"completions.{missing[0]}.tier",
        )
    depths = {letter: depth for letter in letters if (depth := content.of(letter).depth) is not None}
    return _ordered(depths)


def _check_seeded_order(letters: str, content: ComparisonContent) -> None:
    if content.seeded_order is not SeededOrder.CONFIRMED:
        return
    places = content.seeded(letters)
    said = {letter: depth for letter in letters if (depth := content.of(letter).depth) is not None}
    seeded = {letter: depth for letter in letters if (depth := places[letter].depth) is not None}
    if len(seeded) < len(letters) or _ordered(said) != _ordered(seeded):
        raise BadInput(
            _("This order differs from the one that the ratings give, so it was edited, not confirmed."),
            field="seeded_order",
        )


def _ordered(places: dict[str, Place]) -> dict[str, int]:
    numbers = dense(places.values())
    return {letter: numbers[place] for letter, place in places.items()}


def flags_of(form: Form | FormVersion, prompt: HasAnswers, letter: str, answer: CompletionAnswer) -> dict[str, bool]:
    """Return the flags as they are stored: with `flags_complete`, each shown flag that is not set counts as no."""
    try:
        flags = guidelines.check_flags(form, prompt, answer.flags)
    except BadInput as error:
        field = f"completions.{letter}.flags.{error.field}"
        raise BadInput(f"{letter}: {error.message}", field=field) from error
    if not answer.flags_complete:
        return flags
    if answer.rating is None:
        raise BadInput(
            _("Rate completion %(letter)s from 1 to 7 before you continue.") % {"letter": letter},
            field=f"completions.{letter}.rating",
        )
    shown = [question.name for question in guidelines.questions_for(form, prompt) if question.kind == "yes_no"]
    return {name: flags.get(name, False) for name in shown}


late.register(ItemKind.COMPARISON, Comparison)
