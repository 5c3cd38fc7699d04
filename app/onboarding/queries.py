"""Queries for exercises, a labeler's progress, screenings and demonstrations to review."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select
from sqlalchemy.orm import Session, contains_eager, joinedload, selectinload

from app.accounts.tables import Account
from app.assignments.tables import Draft, Skip
from app.comparisons.tables import Comparison
from app.demonstrations.tables import Demonstration
from app.onboarding.tables import DemonstrationReview, Exercise, Reference, Reviewer, Screening, Verdict
from app.prompts.tables import Prompt
from app.rounds.tables import Item, Round, RoundPurpose

# --- Exercises ---


def _whole() -> Select[Exercise]:
    return (
        select(Exercise)
        .join(Exercise.item)
        .join(Item.round)
        .join(Item.prompt)
        .options(
            contains_eager(Exercise.item).options(contains_eager(Item.round), contains_eager(Item.prompt)),
            selectinload(Exercise.references).joinedload(Reference.completion),
        )
    )


def exercises(session: Session, purpose: RoundPurpose | None = None) -> Sequence[Exercise]:
    """Return all exercises in the order of assignment, retired ones last."""
    found = _whole().order_by(Exercise.retired_at.is_not(None), Round.number.desc(), Item.position, Item.id)
    if purpose is not None:
        found = found.where(Round.purpose == purpose)
    return session.scalars(found).all()


def exercise(session: Session, public_id: str) -> Exercise | None:
    """Return an exercise by the public id of its item, or None."""
    return session.scalar(_whole().where(Item.public_id == public_id))


def _for(labeler: Account, purpose: RoundPurpose) -> ColumnElement[bool]:
    """Match the exercises that this labeler is to do."""
    asked = and_(Round.purpose == purpose, Exercise.retired_at.is_(None))
    return and_(asked, ~Prompt.sensitive) if labeler.avoids_sensitive else asked


def _done(labeler: Account) -> ColumnElement[bool]:
    handed_in = exists().where(
        Draft.item_id == Item.id, Draft.labeler_id == labeler.id, Draft.submitted_at.is_not(None)
    )
    skipped = exists().where(Skip.item_id == Item.id, Skip.labeler_id == labeler.id)
    return or_(handed_in, skipped)


class ExerciseProgress(NamedTuple):
    """Number of exercises done or skipped, and of all exercises."""

    done: int
    all: int

    @property
    def left(self) -> int:
        """Number of exercises still to do."""
        return self.all - self.done


def progress(session: Session, labeler: Account, purpose: RoundPurpose) -> ExerciseProgress:
    """Return the labeler's progress; retired exercises count only if the labeler did or skipped them."""
    query = select(func.count(), func.count().filter(_done(labeler))).select_from(Exercise)
    query = query.join(Exercise.item).join(Item.round).join(Item.prompt)
    query = query.where(Round.purpose == purpose, or_(_for(labeler, purpose), _done(labeler)))
    all_, done = session.execute(query).one()
    return ExerciseProgress(done, all_)


def skipped(session: Session, labeler: Account, purpose: RoundPurpose) -> int:
    """Count the exercises that the labeler skipped."""
    query = select(func.count()).select_from(Skip).join(Item, Item.id == Skip.item_id).join(Item.round)
    return session.scalar(query.where(Skip.labeler_id == labeler.id, Round.purpose == purpose)) or 0


def next_item(session: Session, labeler: Account, purpose: RoundPurpose) -> Item | None:
    """Return the first exercise that the labeler has neither done nor skipped, or None."""
    query = select(Item).join(Exercise, Exercise.item_id == Item.id).join(Item.round).join(Item.prompt)
    query = query.where(_for(labeler, purpose), ~_done(labeler)).options(contains_eager(Item.round))
    return session.scalars(query.order_by(Item.position, Item.id).limit(1)).first()


def comparisons(session: Session, labeler: Account, purpose: RoundPurpose) -> list[tuple[Comparison, Item]]:
    """Return the labeler's comparisons of practice or screening with their items, in the order of the items."""
    query = (
        select(Comparison)
        .join(Comparison.item)
        .join(Item.round)
        .where(Comparison.labeler_id == labeler.id, Round.purpose == purpose)
        .options(contains_eager(Comparison.item).joinedload(Item.prompt), selectinload(Comparison.completions))
        .order_by(Item.position)
    )
    return [(one, item) for one in session.scalars(query).all() if (item := one.item)]


def comparison(session: Session, item: Item, labeler: Account) -> Comparison | None:
    """Return the labeler's comparison of one item, or None."""
    query = select(Comparison).where(Comparison.item_id == item.id, Comparison.labeler_id == labeler.id)
    return session.scalar(query.options(selectinload(Comparison.completions)))


def references(session: Session, item_ids: Sequence[int]) -> dict[int, list[Reference]]:
    """Return the references of exercises, by item id."""
    found: dict[int, list[Reference]] = {id: [] for id in item_ids}
    for one in session.scalars(select(Reference).where(Reference.item_id.in_(list(item_ids)))):
        found[one.item_id].append(one)
    return found


# --- Screenings ---


def screening_of(session: Session, labeler: Account) -> Screening | None:
    """Return the labeler's own screening, or None."""
    return session.get(Screening, labeler.id)


def screening(session: Session, number: int) -> Screening | None:
    """Return a screening by its number, or None."""
    return session.scalar(select(Screening).where(Screening.number == number).options(joinedload(Screening.labeler)))


def screenings(session: Session) -> Sequence[Screening]:
    """Return all screenings, undecided ones first, by their random numbers, which reveal nothing."""
    decided = Screening.verdict.is_not(None)
    query = select(Screening).options(joinedload(Screening.labeler)).order_by(decided, Screening.number)
    return session.scalars(query).all()


def coverage(session: Session) -> dict[str, dict[str, int]]:
    """Count accepted labelers by topic and by whether they are comfortable with it ("yes", "partly", "no")."""
    counts: dict[str, dict[str, int]] = {}
    taken = select(Screening.comfort).where(Screening.verdict.in_((Verdict.TRAIN, Verdict.HELD_OUT)))
    for comfort in session.scalars(taken):
        for topic, answer in comfort.items():
            each = counts.setdefault(topic, {})
            each[answer] = each.get(answer, 0) + 1
    return counts


# --- Reviews ---


def may_review(session: Session, account: Account) -> bool:
    """Return whether the account was named a reviewer."""
    return session.get(Reviewer, account.id) is not None


def reviewers(session: Session) -> Sequence[Account]:
    """Return the named reviewers, sorted by name."""
    return session.scalars(
        select(Account).join(Reviewer, Reviewer.account_id == Account.id).order_by(Account.name)
    ).all()


def _to_review() -> Select[Demonstration]:
    return (
        select(Demonstration)
        .join(Demonstration.item)
        .join(Item.round)
        .join(Item.prompt)
        .join(Screening, Screening.labeler_id == Demonstration.labeler_id)
        .where(
            Round.purpose == RoundPurpose.SCREENING, Screening.handed_in_at.is_not(None), Screening.verdict.is_(None)
        )
        .options(
            contains_eager(Demonstration.item).contains_eager(Item.prompt),
            joinedload(Demonstration.completion),
        )
    )


def to_review(session: Session, reviewer: Account) -> list[tuple[Demonstration, Prompt]]:
    """Return demonstrations of undecided screenings, with their prompts, that this reviewer has not rated.

    Their order reveals nothing.
    """
    rated = exists().where(
        DemonstrationReview.demonstration_id == Demonstration.id, DemonstrationReview.reviewer_id == reviewer.id
    )
    query = _to_review().where(Demonstration.labeler_id != reviewer.id, ~rated)
    found = session.scalars(query.order_by(Demonstration.public_id)).all()
    return [(one, item.prompt) for one in found if (item := one.item)]


def demonstrations_of(
    session: Session, screening: Screening
) -> Sequence[tuple[Demonstration, list[DemonstrationReview]]]:
    """Return the demonstrations of a screening with their reviews."""
    query = (
        select(Demonstration)
        .join(Demonstration.item)
        .join(Item.round)
        .join(Item.prompt)
        .where(Round.purpose == RoundPurpose.SCREENING, Demonstration.labeler_id == screening.labeler_id)
        .options(
            contains_eager(Demonstration.item).contains_eager(Item.prompt),
            joinedload(Demonstration.completion),
        )
        .order_by(Item.position)
    )
    written = session.scalars(query).all()
    reviews = session.scalars(
        select(DemonstrationReview)
        .where(DemonstrationReview.demonstration_id.in_([one.id for one in written]))
        .order_by(DemonstrationReview.reviewer_id)
    ).all()
    return [(one, [review for review in reviews if review.demonstration_id == one.id]) for one in written]


def demonstration_to_review(session: Session, public_id: str) -> Demonstration | None:
    """Return a demonstration of a submitted, undecided screening, or None."""
    return session.scalar(_to_review().where(Demonstration.public_id == public_id))
