"""Completions: texts that policies, including people, wrote for prompts."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.database import Base, JSONColumn, UTCDateTime, public_id, utc_now
from app.policies.tables import Policy
from app.prompts.tables import Prompt


class Completion(Base):
    """One text of one policy for one prompt; identical texts of a policy are stored once per prompt."""

    __tablename__ = "completions"
    __table_args__ = (
        UniqueConstraint("prompt_id", "policy_id", "text_sha256"),
        Index("ix_completions_policy_prompt", "policy_id", "prompt_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True, default=public_id)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id", ondelete="CASCADE"))
    policy_id: Mapped[int] = mapped_column(ForeignKey("policies.id", ondelete="RESTRICT"))
    text: Mapped[str] = mapped_column(Text)
    text_sha256: Mapped[str] = mapped_column(String(64))
    settings: Mapped[dict] = mapped_column(JSONColumn, default=dict)  # temperature, seed, limit
    tokens: Mapped[int | None] = mapped_column(Integer)
    finished: Mapped[bool | None]  # False: cut off at the token limit
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now())
    prompt: Mapped[Prompt] = relationship()
    policy: Mapped[Policy] = relationship()
