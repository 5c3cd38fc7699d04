"""Policies as forms and REST speak of them."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.policies.tables import Policy, PolicyKind


class PolicyIn(BaseModel):
    """A policy made by hand; trained ones come from checkpoints."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=120)
    kind: Literal[PolicyKind.IMPORTED, PolicyKind.ENDPOINT] = PolicyKind.IMPORTED
    description: str = Field("", max_length=2000)
    endpoint_url: str | None = Field(None, max_length=2000, pattern=r"^https?://\S+$")

    @model_validator(mode="after")
    def _address_of_an_endpoint(self) -> "PolicyIn":
        if (self.kind is PolicyKind.ENDPOINT) != (self.endpoint_url is not None):
            raise ValueError("endpoint_url: an endpoint has an address, and nothing else has one")
        return self


class PolicyOut(BaseModel):
    """A policy as REST tells it."""

    id: str
    name: str
    kind: PolicyKind
    description: str
    endpoint_url: str | None
    created_at: datetime

    @classmethod
    def of(cls, policy: Policy) -> "PolicyOut":
        """From its row."""
        return cls(
            id=policy.public_id,
            name=policy.name,
            kind=policy.kind,
            description=policy.description,
            endpoint_url=policy.endpoint_url,
            created_at=policy.created_at,
        )


class PoliciesOut(BaseModel):
    """A page of policies."""

    items: list[PolicyOut]
    next_cursor: str | None = None
