"""Reading assignments as their labeler may see them, and the figures of the desk."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, TypeVar

from sqlalchemy import Integer, Select, String, bindparam, case, func, or_, select
from sqlalchemy.orm import Session, aliased, joinedload, selectinload

from app.accounts.tables import Account
from app.assignments.tables import Assignment, AssignmentState, Draft, Skip
from app.completions.tables import Completion
from app.database import Base
from app.errors import NotFound
from app.i18n import gettext as _
from app.prompts.tables import Prompt
from app.rounds.tables import Item, ItemCompletion, ItemKind, Round, RoundState

Answer = TypeVar("Answer", bound=Base)  # the table of demonstrations or of comparisons
_asked = aliased(Assignment)
_me = bindparam("me", type_=Integer)
_public_id = bindparam("public_id", type_=String)
_ASSIGNMENT = (  # built once: building it costs more than running it
    select(Assignment)
    .join(_asked, _asked.item_id == Assignment.item_id)
    .join(Draft, Draft.item_id == Assignment.item_id)
    .where(_asked.public_id == _public_id, Draft.labeler_id == _me)
    .order_by(case((Assignment.labeler_id == _me, 0), (Assignment.public_id == _public_id, 1), else_=2), Assignment.id)
    .limit(1)
    .options(
        joinedload(Assignment.item).options(
            joinedload(Item.prompt),
            joinedload(Item.round).options(joinedload(Round.form), joinedload(Round.guideline)),
            selectinload(Item.completions)
            .joinedload(ItemCompletion.completion)
            .load_only(Completion.public_id, Completion.text),
        )
    )
)


def assignment(session: Session, public_id: str, labeler: Account) -> Assignment:
    """The labeler's slot of the item behind this id, with all that its page shows; NotFound unless it was given out.

    A labeler who lost a lease and came back through another slot of the item gets that one.
    """
    found = session.scalar(_ASSIGNMENT, {"public_id": public_id, "me": labeler.id})
    if found is None:
        raise NotFound(_("There is no such assignment, or it is not yours."))
    return found


def draft(session: Session, assignment: Assignment, labeler: Account) -> Draft:
    """What the labeler has written for this item."""
    return session.get_one(Draft, (assignment.item_id, labeler.id))


class Standing(StrEnum):
    """How an assignment stands for a labeler who was given it."""

    HELD = "held"  # it is the labeler's, also when the lease ran out and nobody else asked
    LOST = "lost"  # given to somebody else, skipped, or its round closed; what is handed in is kept all the same
    SUBMITTED = "submitted"
    EDITING = "editing"  # handed in, and being changed; what was handed in stands until it is handed in again


def standing(assignment: Assignment, labeler: Account, draft: Draft) -> Standing:
    """How the assignment stands for this labeler."""
    is_open = assignment.item.round.state is RoundState.OPEN
    if draft.submitted_at is not None:
        return Standing.EDITING if draft.reopened_at is not None and is_open else Standing.SUBMITTED
    leased = assignment.labeler_id == labeler.id and assignment.state is AssignmentState.LEASED
    reserved = assignment.ahead_for_id == labeler.id and assignment.state is AssignmentState.OPEN
    return Standing.HELD if (leased or reserved) and is_open else Standing.LOST


class Work(NamedTuple):
    """One line of the desk."""

    id: str  # of an assignment
    kind: ItemKind
    messages: list[dict]
    at: datetime
    held: bool
    hidden: bool  # the prompt is sensitive, and its labeler has not chosen to see it


def _work(labeler: Account):
    own, any_slot = aliased(Assignment), aliased(Assignment)
    some_slot = select(any_slot.public_id).where(any_slot.item_id == Draft.item_id).limit(1).scalar_subquery()
    return (
        select(
            func.coalesce(own.public_id, some_slot),
            Item.kind,
            Prompt.messages,
            func.coalesce(Draft.submitted_at, Draft.updated_at, type_=Draft.updated_at.type),
            own.id.is_not(None),
            Prompt.sensitive & Draft.warned_at.is_(None),
        )
        .join(Item, Item.id == Draft.item_id)
        .join(Prompt, Prompt.id == Item.prompt_id)
        .outerjoin(own, (own.item_id == Draft.item_id) & (own.labeler_id == Draft.labeler_id))
        .where(Draft.labeler_id == labeler.id)
    ), own


def unfinished(session: Session, labeler: Account, limit: int = 50) -> list[Work]:
    """What the labeler holds, or has begun and not handed in, the newest first."""
    work, own = _work(labeler)
    skipped = select(Skip.item_id).where(Skip.labeler_id == labeler.id)
    rows = session.execute(
        work.where(
            Draft.submitted_at.is_(None),
            Draft.item_id.not_in(skipped),
            or_(own.id.is_not(None), Draft.version > 0),
        )
        .order_by(Draft.updated_at.desc())
        .limit(limit)
    )
    return [Work(*row) for row in rows]


def submitted(session: Session, labeler: Account, limit: int = 10) -> list[Work]:
    """What the labeler handed in, the newest first."""
    work, _own = _work(labeler)
    rows = session.execute(work.where(Draft.submitted_at.is_not(None)).order_by(Draft.submitted_at.desc()).limit(limit))
    return [Work(*row) for row in rows]


class Figures(NamedTuple):
    """A labeler's counts."""

    submitted_today: int
    active_seconds_today: float
    submitted: int
    skipped: int


def figures(session: Session, labeler: Account, midnight: datetime) -> Figures:
    """How much the labeler has done since midnight and in all."""
    today = Draft.submitted_at >= midnight
    done = session.execute(
        select(
            func.count(case((today, 1))),
            func.coalesce(func.sum(case((today, Draft.active_seconds))), 0.0),
            func.count(Draft.submitted_at),
        ).where(Draft.labeler_id == labeler.id)
    ).one()
    skipped = session.scalar(select(func.count()).select_from(Skip).where(Skip.labeler_id == labeler.id))
    return Figures(*done, skipped)


def page_of_answers(
    session: Session,
    answers: Select[tuple[Answer]],
    table: type[Answer],
    cursor: str | None,
    limit: int,
    *,
    round_number: int | None,
    labeler: str,
) -> tuple[Sequence[Answer], str | None]:
    """One page of what was handed in, the newest first, and the next cursor; of a round, of a labeler (id or name)."""
    query = answers.order_by(table.id.desc()).limit(limit + 1)
    if cursor:
        query = query.where(table.id < select(table.id).where(table.public_id == cursor).scalar_subquery())
    if round_number is not None:
        of_round = select(Item.id).join(Round, Round.id == Item.round_id).where(Round.number == round_number)
        query = query.where(table.item_id.in_(of_round))
    if labeler:
        known = select(Account.id).where((Account.public_id == labeler) | (Account.username == labeler.lower()))
        query = query.where(table.labeler_id.in_(known))
    found = session.scalars(query).all()
    return found[:limit], found[limit - 1].public_id if len(found) > limit else None
