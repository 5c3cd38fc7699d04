"""Policies: a completion points to one."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, UTCDateTime, choice, public_id, utc_now


class PolicyKind(StrEnum):
    """What stands behind a policy."""

    TRAINED = "trained"  # a checkpoint of ours
    IMPORTED = "imported"  # texts that came from elsewhere
    ENDPOINT = "endpoint"  # an OpenAI-compatible server
    PEOPLE = "people"  # demonstrations


class Policy(Base):
    """A named source of completions; labelers never see its name."""

    __tablename__ = "policies"

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=public_id)
    name: Mapped[str] = mapped_column(String(120), unique=True)
    kind: Mapped[PolicyKind] = mapped_column(choice(PolicyKind))
    description: Mapped[str] = mapped_column(Text, default="")
    path: Mapped[str | None] = mapped_column(Text)  # folder of the network, for a trained one
    endpoint_url: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())
