"""Reports: what a labeler says is wrong with an item, and the messages that follow."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.accounts.tables import Account
from app.database import Base, UTCDateTime, public_id, utc_now
from app.rounds.tables import Item


class Report(Base):
    """A problem with an item, open until an admin resolves it."""

    __tablename__ = "reports"
    __table_args__ = (
        Index("ix_reports_labeler", "labeler_id", "answered_at"),
        Index("ix_reports_resolved", "resolved_at", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=public_id)
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id", ondelete="CASCADE"), index=True)
    labeler_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())
    answered_at: Mapped[datetime | None] = mapped_column(UTCDateTime)  # when an admin last replied or resolved it
    seen_at: Mapped[datetime | None] = mapped_column(UTCDateTime)  # the labeler has read up to here
    resolved_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    resolved_by_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id", ondelete="SET NULL"))
    item: Mapped[Item] = relationship()
    labeler: Mapped[Account] = relationship(foreign_keys=labeler_id)
    resolved_by: Mapped[Account | None] = relationship(foreign_keys=resolved_by_id)
    messages: Mapped[list["ReportMessage"]] = relationship(order_by="ReportMessage.id")


class ReportMessage(Base):
    """One message of a report; the first is the report itself."""

    __tablename__ = "report_messages"

    id: Mapped[int] = mapped_column(primary_key=True)
    report_id: Mapped[int] = mapped_column(ForeignKey("reports.id", ondelete="CASCADE"), index=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    text: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())
    account: Mapped[Account] = relationship()
