"""Reporting a problem with an item, replying to the report, and resolving it."""

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.accounts.rules import record
from app.accounts.tables import Account
from app.assignments.tables import Assignment
from app.database import changed_rows, utc_now
from app.errors import BadInput
from app.kit.i18n import gettext as _
from app.kit.text import require_text
from app.reports.tables import Report, ReportMessage

MAX_CHARACTERS = 4_000


def make(session: Session, assignment: Assignment, labeler: Account, text: str) -> Report:
    """Report a problem with the item of an assignment that the labeler was given; the assignment is unchanged."""
    report = Report(item_id=assignment.item_id, labeler_id=labeler.id)
    report.messages.append(ReportMessage(account_id=labeler.id, text=_checked(text)))
    session.add(report)
    session.flush()
    return report


def add(session: Session, report: Report, labeler: Account, text: str) -> None:
    """Add a message from the labeler, which reopens a resolved report."""
    session.add(ReportMessage(report_id=report.id, account_id=labeler.id, text=_checked(text)))
    session.execute(
        update(Report).where(Report.id == report.id).values(resolved_at=None, resolved_by_id=None, seen_at=utc_now())
    )


def reply(session: Session, report: Report, by: Account, text: str) -> None:
    """Add an admin's reply, which appears on the labeler's desk."""
    session.add(ReportMessage(report_id=report.id, account_id=by.id, text=_checked(text)))
    session.execute(update(Report).where(Report.id == report.id).values(answered_at=utc_now()))
    record(session, by, "report.reply", report.public_id)


def resolve(session: Session, report: Report, by: Account) -> None:
    """Resolve the report and notify the labeler on the desk; repeating this changes nothing."""
    done = changed_rows(
        session,
        update(Report)
        .where(Report.id == report.id, Report.resolved_at.is_(None))
        .values(resolved_at=utc_now(), resolved_by_id=by.id, answered_at=utc_now()),
    )
    if done:
        record(session, by, "report.resolve", report.public_id)


def see(session: Session, report: Report) -> None:
    """Mark the replies as read by the labeler."""
    session.execute(update(Report).where(Report.id == report.id).values(seen_at=utc_now()))


def _checked(text: str) -> str:
    text = require_text(text, "text", may_be_empty=True).strip()
    if not text:
        raise BadInput(_("The text is empty. Write a few words first."), field="text")
    if len(text) > MAX_CHARACTERS:
        raise BadInput(
            _("The text has %(given)s characters; at most %(most)s are allowed.")
            % {"given": len(text), "most": MAX_CHARACTERS},
            field="text",
        )
    return text
