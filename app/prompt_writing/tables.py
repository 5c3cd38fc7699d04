"""Calls for prompts, and what labelers write for them."""

from datetime import datetime

from sqlalchemy import ForeignKey, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.accounts.tables import Account
from app.database import Base, JSONColumn, UTCDateTime, choice, public_id, utc_now
from app.prompts.tables import PromptSource

WRITTEN = (PromptSource.LABELER_PLAIN, PromptSource.LABELER_FEW_SHOT, PromptSource.LABELER_USER_BASED)


class WritingCall(Base):
    """A call for prompts of one kind, open until enough are submitted or it is closed."""

    __tablename__ = "writing_calls"

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=public_id)
    kind: Mapped[PromptSource] = mapped_column(choice(PromptSource))  # one of WRITTEN
    use: Mapped[str] = mapped_column(Text, default="")  # the described use; for the other kinds a hint
    wanted: Mapped[int] = mapped_column(Integer)  # writings; a few-shot writing becomes several prompts
    collection: Mapped[str] = mapped_column(String(120))  # that the prompts are added to
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id", ondelete="SET NULL"))
    closed_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())


class Writing(Base):
    """What a labeler writes for a call: a draft until it is submitted, then the source of its prompts."""

    __tablename__ = "writings"

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=public_id)
    call_id: Mapped[int] = mapped_column(ForeignKey("writing_calls.id", ondelete="RESTRICT"), index=True)
    labeler_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="RESTRICT"), index=True)
    content: Mapped[dict] = mapped_column(JSONColumn, default=dict)  # schemas.WritingContent
    version: Mapped[int] = mapped_column(Integer, default=0)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())
    submitted_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    withdrawn_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    call: Mapped[WritingCall] = relationship()
    labeler: Mapped[Account] = relationship()
