"""Which slots a labeler may be given: conditions shared by the statements of slots.py and the counts of progress.py."""

from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    SQLColumnExpression,
    String,
    Text,
    and_,
    bindparam,
    cast,
    literal,
    or_,
    select,
)
from sqlalchemy.orm import aliased

from app.accounts.tables import Account, AccountKind
from app.assignments import order
from app.assignments.tables import Assignment, AssignmentState, Draft, OwnItem, Skip
from app.database import Base, fixed, utc_now
from app.prompts.tables import Prompt
from app.rounds.queries import is_reserved
from app.rounds.tables import ONBOARDING, Item, Round, RoundPurpose, RoundState

me = bindparam("me", type_=Integer)
_pool = bindparam("pool", type_=String)
number = bindparam("round", type_=Integer)


class OfferConditions(NamedTuple):
    """What changes the statement that finds a labeler's work; each combination has its own statement."""

    simulated: bool
    avoids_sensitive: bool
    one_round: bool

    @classmethod
    def by(cls, labeler: Account, round: int | None) -> "OfferConditions":
        """Return the combination for a labeler, for all rounds or for the one with this number."""
        return cls(labeler.kind is AccountKind.SIMULATED, labeler.avoids_sensitive, round is not None)


def own(labeler: Account, round: int | None) -> dict[str, int]:
    """Return the parameters of a statement about the labeler's own slots, in all rounds or the one with this number."""
    return {"me": labeler.id} | ({} if round is None else {"round": round})


def values(labeler: Account, round: int | None) -> dict[str, object]:
    """Return the parameters of a statement about offered slots."""
    return {**own(labeler, round), "pool": quoted(labeler.pool)}


def quoted(pool: str) -> str:
    """Return a pool as it appears in the JSON list Round.pools."""
    return f'"{pool}"'


# --- Free slots ---


def abandoned(slot: type[Assignment]) -> ColumnElement[bool]:
    """Match slots whose lease ran out."""
    return and_(slot.state == fixed(AssignmentState.LEASED), slot.lease_until < utc_now())


def fresh(slot: type[Assignment]) -> ColumnElement[bool]:
    """Match slots that nobody holds."""
    return slot.state == fixed(AssignmentState.OPEN)


def unreserved(slot: type[Assignment]) -> ColumnElement[bool]:
    """Match slots that nobody holds or has reserved as the next page."""
    return and_(fresh(slot), or_(slot.ahead_for_id.is_(None), slot.ahead_until < utc_now()))


def reserved(slot: type[Assignment]) -> ColumnElement[bool]:
    """Match the slot reserved as the labeler's next page."""
    return and_(fresh(slot), slot.ahead_for_id == me)


# --- Slots for a labeler ---


def offered(slot: type[Assignment], asked: OfferConditions) -> Select:
    """Select the ids of slots that the labeler may be given, free or not, in the order in which they are handed out."""
    item, round = aliased(Item), aliased(Round)
    found = (
        select(slot.id)
        .join(item, item.id == slot.item_id)
        .join(round, round.id == item.round_id)
        .where(
            round.state == fixed(RoundState.OPEN),
            round.purpose.not_in(
                [fixed(purpose) for purpose in ONBOARDING]
            ),  # where each labeler has slots of their own
            cast(round.pools, Text).contains(_pool),
            *untouched(slot.item_id, me),
        )
        .order_by(slot.position, slot.id)
    )
    if asked.simulated:
        found = found.where(*for_programs(item, round))
    if asked.avoids_sensitive:
        found = found.join(Prompt, Prompt.id == item.prompt_id).where(~Prompt.sensitive)
    return found.where(order.of_round(slot.position, number)) if asked.one_round else found


def untouched(
    item_id: SQLColumnExpression[int], labeler_id: SQLColumnExpression[int]
) -> tuple[ColumnElement[bool], ...]:
    """Match items of which a labeler holds no slot and wrote no part, and that they neither answered nor skipped."""
    held = aliased(Assignment)
    return (
        none(held, held.item_id == item_id, held.labeler_id == labeler_id),
        none(Skip, Skip.item_id == item_id, Skip.labeler_id == labeler_id),
        none(Draft, Draft.item_id == item_id, Draft.labeler_id == labeler_id, Draft.submitted_at.is_not(None)),
        none(OwnItem, OwnItem.item_id == item_id, OwnItem.labeler_id == labeler_id),
    )


def for_programs(item: type[Item], round: type[Round]) -> tuple[ColumnElement[bool], ...]:
    """Match what simulated labelers get: nothing reserved for people, and no readable texts, which no rubric judges."""
    return round.purpose != RoundPurpose.DEMO, ~is_reserved(item, round)


def none(table: type[Base], *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Match if no row of `table` meets the conditions; all other tables in them are those of the enclosing queries."""
    return ~select(literal(1)).select_from(table).where(*conditions).correlate_except(table).exists()
