"""Reading demonstrations."""

from collections.abc import Sequence

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, joinedload

from app.assignments.queries import page_of_answers
from app.completions.tables import Completion
from app.demonstrations.tables import Demonstration
from app.errors import NotFound
from app.kit.i18n import gettext as _
from app.prompts.tables import Prompt
from app.rounds.tables import Item


def _whole() -> Select[Demonstration]:
    return select(Demonstration).options(
        joinedload(Demonstration.item).joinedload(Item.round),
        joinedload(Demonstration.completion).joinedload(Completion.prompt).selectinload(Prompt.memberships),
        joinedload(Demonstration.labeler),
        joinedload(Demonstration.guideline),
        joinedload(Demonstration.form),
    )


def demonstration(session: Session, public_id: str) -> Demonstration:
    """Return a demonstration with all it points to; raise NotFound if the id is unknown."""
    found = session.scalar(_whole().where(Demonstration.public_id == public_id))
    if found is None:
        raise NotFound(_("Demonstration not found."))
    return found


def page(
    session: Session,
    cursor: str | None,
    limit: int,
    *,
    round_number: int | None = None,
    labeler: str = "",
) -> tuple[Sequence[Demonstration], str | None]:
    """Return one page of demonstrations, newest first, and the next cursor.

    `round_number` and `labeler` (public id or user name) select those of one round and of one labeler.
    """
    return page_of_answers(session, _whole(), Demonstration, cursor, limit, round_number=round_number, labeler=labeler)
