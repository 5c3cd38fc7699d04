"""The voluntary survey: who the labelers are and how they find the work (InstructGPT, appendix B.3).

Only counts are stored, one for each answer to each question. So nothing shows who answered, when, in which order, or
which answers belong together; the account records only that it was asked.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from babel import Locale
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.accounts import rules as accounts
from app.accounts.tables import Account, AccountKind, Role, SurveyState
from app.database import changed_rows, insert_into
from app.errors import Conflict
from app.kit.i18n import N_, language
from app.kit.i18n import gettext as _
from app.onboarding.tables import SurveyCount

ENOUGH = 5  # with fewer answers, counts could identify people
ANSWERED = "answered"  # a pseudo-question that counts the people who answered


class Question(NamedTuple):
    """One question with its answers (value -> text); every question is optional."""

    name: str
    text: str
    answers: Mapping[str, str]
    many: bool = False  # any number of answers can be chosen


AGREES = {
    "strongly_agree": N_("Strongly agree"),
    "agree": N_("Agree"),
    "neither": N_("Neither agree nor disagree"),
    "disagree": N_("Disagree"),
    "strongly_disagree": N_("Strongly disagree"),
}
GENDERS = {"male": N_("Male"), "female": N_("Female"), "other": N_("Nonbinary or other")}
ETHNICITIES = {
    "white": N_("White"),
    "southeast_asian": N_("Southeast Asian"),
    "indigenous": N_("Indigenous"),
    "east_asian": N_("East Asian"),
    "south_asian": N_("South Asian"),
    "middle_eastern": N_("Middle Eastern"),
    "latinx": N_("Latinx"),
    "black": N_("Black"),
    "other": N_("Another"),
}
AGES = {
    "18-24": N_("18 to 24"),
    "25-34": N_("25 to 34"),
    "35-44": N_("35 to 44"),
    "45-54": N_("45 to 54"),
    "55-64": N_("55 to 64"),
    "65": N_("65 or older"),
}
EDUCATION = {
    "less": N_("Less than high school"),
    "high_school": N_("High school"),
    "undergraduate": N_("Undergraduate degree"),
    "masters": N_("Master's degree"),
    "doctorate": N_("Doctorate"),
}
NO_COUNTRIES = {"EU", "EZ", "UN", "XA", "XB", "ZZ", "QO"}


def countries() -> dict[str, str]:
    """Return countries by code, named in the reader's language and sorted by name."""
    names = Locale.parse(language()).territories
    known = [(code, name) for code, name in names.items() if len(code) == 2 and code.isalpha()]
    return dict(sorted((one for one in known if one[0] not in NO_COUNTRIES), key=lambda one: one[1]))


def questions() -> list[Question]:
    """Return all questions in order: five on the person, then five on the work."""
    return [
        Question("gender", _("What gender do you identify as?"), GENDERS),
        Question("ethnicity", _("What ethnicities do you identify as?"), ETHNICITIES, many=True),
        Question("nationality", _("What is your nationality?"), countries()),
        Question("age", _("What is your age?"), AGES),
        Question("education", _("What is the highest level of education you have reached?"), EDUCATION),
        Question("clear", _("It was clear from the instructions what I was supposed to do."), AGREES),
        Question("enjoyable", _("I found the task enjoyable and engaging."), AGREES),
        Question("repetitive", _("I found the task repetitive."), AGREES),
        Question("paid_fairly", _("I was paid fairly for doing the task."), AGREES),
        Question("glad", _("Overall, I am glad I did this task."), AGREES),
    ]


def offer(session: Session, by: Account | None) -> int:
    """Offer the survey to every person who labels and was never asked; return how many."""
    asked = changed_rows(
        session,
        update(Account)
        .where(
            Account.role == Role.LABELER,
            Account.kind != AccountKind.SIMULATED,
            Account.disabled_at.is_(None),
            Account.survey == SurveyState.NOT_ASKED,
        )
        .values(survey=SurveyState.OFFERED),
    )
    accounts.record(session, by, "survey.offer", labelers=asked)
    return asked


def end_asking(session: Session, account: Account) -> None:
    """End the offer when an account answers or declines, without recording which; raise Conflict if it has none."""
    asked = changed_rows(
        session,
        update(Account)
        .where(Account.id == account.id, Account.survey == SurveyState.OFFERED)
        .values(survey=SurveyState.ASKED),
    )
    if not asked:
        raise Conflict(_("Everyone is asked to take the survey once, and you have already been asked. Thank you."))


def count(session: Session, given: Mapping[str, Iterable[str]]) -> None:
    """Add one person's answers to the counts; unknown and missing answers add nothing.

    Call it in a transaction of its own, after end_asking(): rows written together could be linked to each other.
    """
    chosen = [(ANSWERED, "yes")]
    for question in questions():
        answers = [answer for answer in dict.fromkeys(given.get(question.name, ())) if answer in question.answers]
        chosen += [(question.name, answer) for answer in (answers if question.many else answers[:1])]
    for name, answer in sorted(chosen):  # always in one order, so that two transactions never deadlock
        made = insert_into(session, SurveyCount).values(question=name, answer=answer, count=1)
        more = {"count": SurveyCount.count + 1}
        session.execute(made.on_conflict_do_update(index_elements=["question", "answer"], set_=more))


def results(session: Session) -> dict[str, dict[str, int]] | None:
    """Return question -> answer -> count, with the number of people who answered; None while fewer than five have."""
    found: dict[str, dict[str, int]] = {}
    for one in session.scalars(select(SurveyCount).order_by(SurveyCount.question, SurveyCount.answer)):
        found.setdefault(one.question, {})[one.answer] = one.count
    return found if found.get(ANSWERED, {}).get("yes", 0) >= ENOUGH else None
