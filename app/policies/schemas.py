"""Schemas of policies for forms and the API."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.kit.text import Text
from app.policies.tables import Policy, PolicyKind


class PolicyIn(BaseModel):
    """An imported policy or an endpoint; trained policies are created from checkpoints."""

    model_config = ConfigDict(extra="forbid")

    name: Text = Field(min_length=1, max_length=120)
    kind: Literal[PolicyKind.IMPORTED, PolicyKind.ENDPOINT] = PolicyKind.IMPORTED
    description: Text = Field("", max_length=2000)
    endpoint_url: Text | None = Field(
        None, max_length=2000, pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$",
        description="Base address of an OpenAI-compatible server, e.g. http://127.0.0.1:8001/v1",
    )  # fmt: skip
    endpoint_model: Text = Field("", max_length=200, description="Name of the model in requests to the endpoint.")
    key_variable: Text = Field(
        "",
        max_length=120,
        description="Environment variable with the endpoint's key; must be listed in PLUMBLINE_ENDPOINT_KEYS.",
    )

    @model_validator(mode="after")
    def _address_of_an_endpoint(self) -> "PolicyIn":
        if (self.kind is PolicyKind.ENDPOINT) != (self.endpoint_url is not None):
            raise ValueError("endpoint_url: an endpoint needs an address, and only an endpoint can have one")
        if self.endpoint_url is None and (self.endpoint_model or self.key_variable):
            raise ValueError("endpoint_model, key_variable: only an endpoint can have them")
        if self.endpoint_url and "@" in self.endpoint_url:  # addresses are shown to admins
            raise ValueError("endpoint_url: leave out user name and password; use key_variable instead")
        return self


class PolicyChange(BaseModel):
    """Changes to an imported policy or an endpoint; its name cannot change. Omitted fields stay unchanged."""

    model_config = ConfigDict(extra="forbid")

    description: Text = Field("", max_length=2000)
    endpoint_url: Text | None = None
    endpoint_model: Text = ""
    key_variable: Text = ""


class PolicyOut(BaseModel):
    """A policy."""

    id: str
    name: str
    kind: PolicyKind
    description: str
    endpoint_url: str | None
    endpoint_model: str
    key_variable: str = Field(description="Name of the environment variable; the key itself is never returned.")
    last_error: str = Field(description="Error of the last request to the policy; empty if it answered.")
    created_at: datetime

    @classmethod
    def of(cls, policy: Policy) -> "PolicyOut":
        """Build from a row."""
        return cls(
            id=policy.public_id,
            name=policy.name,
            kind=policy.kind,
            description=policy.description,
            endpoint_url=policy.endpoint_url,
            endpoint_model=policy.endpoint_model,
            key_variable=policy.key_variable,
            last_error=policy.last_error,
            created_at=policy.created_at,
        )


class PoliciesOut(BaseModel):
    """A page of policies."""

    items: list[PolicyOut]
    next_cursor: str | None = None


class TrialIn(BaseModel):
    """A question to ask a policy as a trial."""

    model_config = ConfigDict(extra="forbid")

    question: Text = Field(min_length=1, max_length=4000)


class TrialOut(BaseModel):
    """A policy's answer to a trial question."""

    text: str
    seconds: float
