"""Policies, each the source of completions, and those that a sampler serves."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.database import Base, UTCDateTime, choice, public_id, utc_now


class PolicyKind(StrEnum):
    """The kind of a policy."""

    TRAINED = "trained"  # a checkpoint trained here
    IMPORTED = "imported"  # texts written elsewhere
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
    path: Mapped[str | None] = mapped_column(Text)  # model folder, for a trained policy
    endpoint_url: Mapped[str | None] = mapped_column(Text)  # of an OpenAI-compatible server, http://host:8001/v1
    endpoint_model: Mapped[str] = mapped_column(String(200), default="")  # the model's name in requests
    key_variable: Mapped[str] = mapped_column(String(120), default="")  # environment variable that holds the key
    last_error: Mapped[str] = mapped_column(Text, default="")  # of the last request; empty: it was answered
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())

    @property
    def writes(self) -> bool:
        """Whether the policy can be asked for completions at any time."""
        return self.kind is PolicyKind.ENDPOINT or (self.kind is PolicyKind.TRAINED and self.path is not None)


class ServedPolicy(Base):
    """A recently requested trained policy; `plumbline sampler` keeps it in memory and holds a lease on it."""

    __tablename__ = "served_policies"
    __table_args__ = (Index("ix_served_policies_wanted", "wanted_at"),)

    policy_id: Mapped[int] = mapped_column(ForeignKey("policies.id", ondelete="CASCADE"), primary_key=True)
    wanted_at: Mapped[datetime | None] = mapped_column(UTCDateTime, default=utc_now())  # null: failed; request again
    owner: Mapped[str] = mapped_column(String(120), default="")  # the sampler that holds the lease
    lease_until: Mapped[datetime | None] = mapped_column(UTCDateTime)
    address: Mapped[str] = mapped_column(Text, default="")  # where it answers; empty until loaded
    error: Mapped[str] = mapped_column(Text, default="")  # why it could not be loaded
    policy: Mapped[Policy] = relationship()
