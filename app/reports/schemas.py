"""Schemas of reports in the REST API."""

from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from app.kit.text import Text
from app.reports.tables import Report
from training.contract.records import Message


class ReportIn(BaseModel):
    """A message about a problem."""

    model_config = ConfigDict(extra="forbid")

    text: Text = Field(max_length=4_000)


class ReportMessageOut(BaseModel):
    """One message."""

    by: str = Field(description="`labeler` or `admin`.")
    text: str
    at: datetime


class OwnReportOut(BaseModel):
    """A report as its labeler sees it."""

    id: str
    prompt: list[Message]
    messages: list[ReportMessageOut] = Field(description="The first is the report itself.")
    unseen: bool = Field(description="Whether there is a reply that has not been marked as read.")
    resolved_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, one: Report, **more) -> Self:
        """Build from the row and what it points to."""
        unseen = one.answered_at is not None and (one.seen_at is None or one.seen_at < one.answered_at)
        messages = [
            ReportMessageOut(by="labeler" if said.account_id == one.labeler_id else "admin", text=said.text, at=said.at)
            for said in one.messages
        ]
        return cls(
            id=one.public_id,
            prompt=one.item.prompt.messages,
            messages=messages,
            unseen=unseen,
            resolved_at=one.resolved_at,
            created_at=one.created_at,
            **more,
        )


class ReportOut(OwnReportOut):
    """A report as admins see it."""

    labeler: str = Field(description="Public id of the account.")
    round: int
    resolved_by: str | None = Field(description="Public id of the account.")

    @classmethod
    def of(cls, one: Report, **more) -> Self:
        """Build from the row and what it points to."""
        return super().of(
            one,
            labeler=one.labeler.public_id,
            round=one.item.round.number,
            resolved_by=one.resolved_by.public_id if one.resolved_by else None,
        )


class OwnReportPage(BaseModel):
    """The labeler's own reports, newest first."""

    items: list[OwnReportOut]
    next_cursor: str | None


class ReportPage(BaseModel):
    """Reports, the newest first."""

    items: list[ReportOut]
    next_cursor: str | None
