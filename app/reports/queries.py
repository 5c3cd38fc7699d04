"""Queries for reports."""

from collections.abc import Sequence

from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session, joinedload, selectinload

from app.accounts.tables import Account
from app.errors import NotFound
from app.kit import cursors
from app.kit.i18n import gettext as _
from app.reports.tables import Report, ReportMessage
from app.rounds.tables import Item


def _whole() -> Select[Report]:
    return select(Report).options(
        joinedload(Report.item).options(joinedload(Item.prompt), joinedload(Item.round)),
        joinedload(Report.labeler),
        joinedload(Report.resolved_by),
        selectinload(Report.messages).joinedload(ReportMessage.account),
    )


def report(session: Session, public_id: str, labeler: Account | None = None) -> Report:
    """Return a report with all it points to, or raise NotFound; with `labeler`, only one of theirs."""
    query = _whole().where(Report.public_id == public_id)
    if labeler is not None:
        query = query.where(Report.labeler_id == labeler.id)
    if (found := session.scalar(query)) is None:
        raise NotFound(_("Report not found."))
    return found


def page(
    session: Session,
    cursor: str | None,
    limit: int,
    *,
    resolved: bool | None = None,
    labeler: Account | None = None,
) -> tuple[Sequence[Report], str | None]:
    """Return one page of reports, newest first, and the next cursor; optionally by `resolved` and `labeler`."""
    query = _whole()
    if resolved is not None:
        query = query.where(Report.resolved_at.is_not(None) if resolved else Report.resolved_at.is_(None))
    if labeler is not None:
        query = query.where(Report.labeler_id == labeler.id)
    return cursors.page(session, query, Report, cursor, limit)


def answered(session: Session, labeler: Account) -> Sequence[Report]:
    """Return the labeler's reports with an unseen reply, latest reply first."""
    unseen = or_(Report.seen_at.is_(None), Report.seen_at < Report.answered_at)
    query = _whole().where(Report.labeler_id == labeler.id, Report.answered_at.is_not(None), unseen)
    return session.scalars(query.order_by(Report.answered_at.desc()).limit(20)).all()
