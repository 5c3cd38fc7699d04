"""Guidelines and forms; a version never changes, a new one is added instead."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, JSONColumn, UTCDateTime, choice, public_id, utc_now


class FormKind(StrEnum):
    """What a form asks about."""

    COMPLETION = "completion"  # rating and flags of one completion, Table 3
    PROMPT = "prompt"  # Table 7


class Guideline(Base):
    """One version of a guideline; `name` is e.g. "training" or "evaluation"."""

    __tablename__ = "guidelines"
    __table_args__ = (UniqueConstraint("name", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=public_id)
    name: Mapped[str] = mapped_column(String(80))
    version: Mapped[int] = mapped_column(Integer)
    title: Mapped[str] = mapped_column(String(200))
    body: Mapped[str] = mapped_column(Text)  # Markdown
    what_changed: Mapped[str] = mapped_column(Text, default="")
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())


class Acknowledgement(Base):
    """An account has read a version of a guideline, or begun to work under it (enough for the first version)."""

    __tablename__ = "acknowledgements"

    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True)
    guideline_id: Mapped[int] = mapped_column(ForeignKey("guidelines.id", ondelete="CASCADE"), primary_key=True)
    said_so: Mapped[bool] = mapped_column(default=True)  # False: not confirmed, only shown next to the task
    at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())


class Form(Base):
    """One version of a form; `questions` is a list of guidelines.schemas.Question."""

    __tablename__ = "forms"
    __table_args__ = (UniqueConstraint("kind", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=public_id)
    kind: Mapped[FormKind] = mapped_column(choice(FormKind))
    version: Mapped[int] = mapped_column(Integer)
    questions: Mapped[list[dict]] = mapped_column(JSONColumn)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())
