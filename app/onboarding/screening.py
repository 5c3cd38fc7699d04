"""Screening as in InstructGPT, appendix B.1: invited, submitted, reviewed without names, decided by an admin."""

import secrets
from collections.abc import Mapping

from sqlalchemy import insert, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.accounts import queries as account_queries
from app.accounts import rules as accounts
from app.accounts.tables import Account, Role
from app.assignments.leaving import change_account
from app.database import changed_rows, insert_into, utc_now
from app.errors import BadInput, Conflict, Forbidden, NotFound
from app.kit.i18n import N_, ngettext
from app.kit.i18n import gettext as _
from app.kit.text import require_text
from app.onboarding import queries
from app.onboarding.agreement import Compared, Count, Figures, Outcome, order_count, pairs, sensitive_count
from app.onboarding.rules import tiers
from app.onboarding.tables import DemonstrationReview, Reviewer, Screening, Verdict
from app.rounds.tables import RoundPurpose
from training.contract.records import Pool

# "For what topics or cultural groups are you comfortable identifying sensitive speech?" (B.1); others are free text.
TOPICS = {
    "religion": N_("Religion and belief"),
    "ethnicity": N_("Ethnicity and skin color"),
    "nationality": N_("Nationality and migration"),
    "gender": N_("Gender"),
    "orientation": N_("Sexual orientation"),
    "disability": N_("Disability and illness"),
    "age": N_("Age"),
    "politics": N_("Politics"),
    "violence": N_("Violence and war"),
    "sex": N_("Sexual content"),
    "self_harm": N_("Self-harm"),
}
NOTE_CHARACTERS = 2_000
COMFORT = {"yes": N_("yes"), "partly": N_("partly"), "no": N_("no")}


def invite(session: Session, username: str, by: Account | None) -> Screening:
    """Invite a labeler to a screening; until the verdict they get no other new tasks."""
    labeler = account_queries.by_username(session, username)
    if labeler is None or labeler.role is not Role.LABELER:
        raise BadInput(
            _("There is no labeler “%(name)s”; check the user name.") % {"name": username.strip()}, field="username"
        )
    if not queries.progress(session, labeler, RoundPurpose.SCREENING).all:
        raise BadInput(_no_exercises(session, labeler), field="username")
    made = insert_into(session, Screening)
    taken = None
    while taken is None:  # until an unused number is drawn
        row = {"labeler_id": labeler.id, "number": secrets.randbelow(900_000) + 100_000}
        taken = session.scalar(made.values(row).on_conflict_do_nothing().returning(Screening.labeler_id))
        if taken is None and queries.screening_of(session, labeler):
            raise Conflict(_("“%(name)s” has already been invited.") % {"name": labeler.username}, field="username")
    change_account(session, labeler, by=by, paused=True)
    accounts.record(session, by, "screening.invite", subject=labeler.public_id)
    return session.get_one(Screening, labeler.id)


def _no_exercises(session: Session, labeler: Account) -> str:
    """Return why a screening would have no exercises for this labeler, and what to do first."""
    if any(not one.retired_at for one in queries.exercises(session, RoundPurpose.SCREENING)):
        return _(
            "“%(name)s” opted out of sensitive prompts, and every screening exercise has a sensitive prompt. Write "
            "another exercise, then invite them."
        ) % {"name": labeler.username}
    return _("The screening has no exercises yet. Write one or restore a retired one, then invite the labeler.")


def call_off(session: Session, username: str, by: Account | None) -> None:
    """Cancel an undecided screening: the labeler works as before; their answers stay."""
    labeler = account_queries.by_username(session, username)
    found = queries.screening_of(session, labeler) if labeler else None
    if labeler is None or found is None or found.verdict:
        raise NotFound(_("Nobody with that user name is being screened."))
    session.delete(found)
    session.flush()
    change_account(session, labeler, by=by, paused=False)
    accounts.record(session, by, "screening.call_off", subject=labeler.public_id)


def assess(session: Session, labeler: Account, comfort: Mapping[str, str], note: str) -> Screening:
    """Save the labeler's self-assessment; raise Conflict once the screening is submitted."""
    for topic, answer in comfort.items():
        if topic not in TOPICS or answer not in COMFORT:
            raise BadInput(
                _("“%(topic)s: %(answer)s” is not a valid answer. Topics: %(topics)s; answers: %(answers)s.")
                % {"topic": topic, "answer": answer, "topics": ", ".join(TOPICS), "answers": ", ".join(COMFORT)},
                field="comfort",
            )
    note = require_text(note, "note", may_be_empty=True, at_most=NOTE_CHARACTERS)
    changed = changed_rows(
        session,
        update(Screening)
        .where(Screening.labeler_id == labeler.id, Screening.handed_in_at.is_(None))
        .values(comfort=dict(comfort), comfort_note=note.strip()),
    )
    return _own(session, labeler, changed)


def hand_in(session: Session, labeler: Account) -> Screening:
    """Submit the screening, once every exercise is done or skipped and the self-assessment is given."""
    left = queries.progress(session, labeler, RoundPurpose.SCREENING).left
    if left:
        message = ngettext(
            "%(num)d exercise is left; complete or skip it first.",
            "%(num)d exercises are left; complete or skip them first.",
            left,
        )
        raise BadInput(message % {"num": left})
    found = queries.screening_of(session, labeler)
    if found and not found.comfort and not found.comfort_note:
        raise BadInput(_("First say which sensitive speech you can identify; “no” is a fine answer."), field="comfort")
    changed = changed_rows(
        session,
        update(Screening)
        .where(Screening.labeler_id == labeler.id, Screening.handed_in_at.is_(None))
        .values(handed_in_at=utc_now()),
    )
    return _own(session, labeler, changed)


def _own(session: Session, labeler: Account, changed: int) -> Screening:
    found = session.get(Screening, labeler.id, populate_existing=True)
    if found is None:
        raise NotFound(_("You have not been invited to a screening; ask an admin."))
    if not changed:
        raise Conflict(_("You have submitted your screening; nothing more can be added."))
    return found


# --- Reviewing ---


def check_reviewer(session: Session, account: Account) -> None:
    """Raise NotFound unless the account may rate demonstrations: admins and named reviewers may."""
    if account.role is not Role.ADMIN and not queries.may_review(session, account):
        raise NotFound(_("Page not found."))


def name_reviewer(session: Session, username: str, by: Account | None) -> Account:
    """Add a reviewer, who can rate the demonstrations of screenings."""
    account = account_queries.by_username(session, username)
    if account is None:
        raise BadInput(
            _("There is no account “%(name)s”; check the user name.") % {"name": username.strip()}, field="username"
        )
    try:
        with session.begin_nested():
            session.add(Reviewer(account_id=account.id))
    except IntegrityError as error:
        raise Conflict(_("“%(name)s” is already a reviewer.") % {"name": account.username}, field="username") from error
    accounts.record(session, by, "reviewer.name", subject=account.public_id)
    return account


def dismiss_reviewer(session: Session, public_id: str, by: Account | None) -> None:
    """Remove a reviewer; their ratings stay."""
    account = account_queries.get(session, public_id)
    found = session.get(Reviewer, account.id)
    if found is None:
        raise NotFound(_("Reviewer not found."))
    session.delete(found)
    session.flush()
    accounts.record(session, by, "reviewer.dismiss", subject=public_id)


def review(session: Session, public_id: str, reviewer: Account, rating: int, note: str = "") -> DemonstrationReview:
    """Rate a demonstration of an undecided screening from 1 to 7, once; reviewers cannot rate their own."""
    check_reviewer(session, reviewer)
    found = queries.demonstration_to_review(session, public_id)
    if found is None:
        raise NotFound(_("Demonstration not found, or its screening has been decided."))
    if found.labeler_id == reviewer.id:
        raise Forbidden(_("This is your own demonstration; other reviewers rate it."))
    if not 1 <= rating <= 7:
        raise BadInput(_("Rate the demonstration from 1 to 7."), field="rating")
    require_text(note, "note", may_be_empty=True, at_most=NOTE_CHARACTERS)
    row = {"demonstration_id": found.id, "reviewer_id": reviewer.id, "rating": rating, "note": note.strip()}
    try:
        with session.begin_nested():
            session.execute(insert(DemonstrationReview).values(row))
    except IntegrityError as error:
        raise Conflict(_("You have already rated this demonstration.")) from error
    return session.get_one(DemonstrationReview, (found.id, reviewer.id))


# --- Deciding ---


def compared(session: Session, screening: Screening) -> list[Compared]:
    """Measure every submitted comparison against its reference, in the order of the exercises."""
    answers = queries.comparisons(session, screening.labeler, RoundPurpose.SCREENING)
    references = queries.references(session, [item.id for _answer, item in answers])
    made = []
    for answer, item in answers:
        right = {one.completion_id: one for one in references[item.id]}
        found = list(pairs({id: one.tier for id, one in right.items()}, tiers(answer)))
        flags = [(right[row.completion_id].flags, row.flags) for row in answer.completions]
        tied = sum(pair.outcome is Outcome.TIED for pair in found)
        asked = item.prompt.messages[-1]["text"]
        made.append(Compared(item.public_id, asked, order_count(found), tied, sensitive_count(flags)))
    return made


def figures(session: Session, screening: Screening) -> Figures:
    """Return what the screening measured: as frozen at the verdict, or else as of now."""
    if screening.figures is not None:
        return Figures.of(screening.figures)
    found = compared(session, screening)
    return Figures(
        sensitive=sum((one.sensitive for one in found), Count()),
        order=sum((one.order for one in found), Count()),
        tied=sum(one.tied for one in found),
        ratings=[[one.rating for one in reviews] for _, reviews in queries.demonstrations_of(session, screening)],
        skipped=queries.skipped(session, screening.labeler, RoundPurpose.SCREENING),
    )


def screening_(session: Session, number: int) -> Screening:
    """Return a screening by its number, or raise NotFound."""
    found = queries.screening(session, number)
    if found is None:
        raise NotFound(_("There is no screening %(number)s.") % {"number": number})
    return found


def decide(session: Session, number: int, verdict: Verdict, by: Account, reason: str = "") -> Screening:
    """Accept the labeler into a pool, or decline; the first verdict is final, also when two admins decide at once."""
    found = screening_(session, number)
    if found.handed_in_at is None:
        raise Conflict(_("Screening %(number)s has not been submitted yet.") % {"number": number})
    measured = figures(session, found).as_dict()
    decided = changed_rows(
        session,
        update(Screening)
        .where(Screening.labeler_id == found.labeler_id, Screening.verdict.is_(None))
        .values(
            verdict=Verdict(verdict),
            reason=reason.strip(),
            figures=measured,
            decided_by_id=by.id,
            decided_at=utc_now(),
        ),
    )
    if not decided:
        raise Conflict(
            _("Screening %(number)s has already been decided; reload it to see the decision.") % {"number": number}
        )
    pool = None if verdict is Verdict.DECLINED else Pool(verdict)
    change_account(session, found.labeler, by=by, pool=pool, paused=verdict is Verdict.DECLINED)
    accounts.record(session, by, "screening.decide", subject=found.labeler.public_id, verdict=verdict, number=number)
    session.expire_all()
    return screening_(session, number)
