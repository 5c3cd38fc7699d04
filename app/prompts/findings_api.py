"""Personal data found in prompts, over REST."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from app.database import reading, transaction
from app.kit.text import Text
from app.prompts import findings
from app.prompts.findings import Action, Shown
from app.prompts.hygiene.kinds import PersonalData
from app.prompts.tables import Finding, FindingState
from app.web.auth import api_account

router = APIRouter(prefix="/api/v1/personal-data", tags=["prompts"])
Limit = Annotated[int, Query(ge=1, le=500)]


class FindingOut(BaseModel):
    """A piece of personal data found in a prompt."""

    id: str
    prompt: str = Field(description="Id of the prompt.")
    message: int = Field(description="Index of the message, starting from 0.")
    start: int = Field(description="Index of the first character in the message's text.")
    stop: int = Field(description="Index after the last character.")
    kind: PersonalData
    state: FindingState
    before: str = Field(description="Text before the finding.")
    text: str
    behind: str
    decided_at: datetime | None

    @classmethod
    def of(cls, finding: Finding) -> "FindingOut":
        """Build from a row whose prompt is loaded."""
        shown = Shown.of(finding)
        return cls(
            id=finding.public_id,
            prompt=finding.prompt.public_id,
            message=finding.message,
            start=finding.start,
            stop=finding.stop,
            kind=finding.kind,
            state=finding.state,
            before=shown.before,
            text=shown.found,
            behind=shown.behind,
            decided_at=finding.decided_at,
        )


class FindingsOut(BaseModel):
    """A page of open findings, and the number of open findings of each kind."""

    items: list[FindingOut]
    counts: dict[PersonalData, int]
    next_cursor: str | None


class Decided(BaseModel):
    """A decision on a finding."""

    model_config = ConfigDict(extra="forbid")

    action: Action = Field(
        description="mask: replace the text permanently. allow: keep the text. drop: withdraw the prompt."
    )


class DecidedForAll(Decided):
    """A decision on all open findings, or on those of one kind."""

    kind: PersonalData | None = Field(None, description="Default: every kind.")
    until: Text = Field(description="Id of the newest finding that was seen; later findings stay open.")


class Count(BaseModel):
    """The number of findings that were decided."""

    decided: int


@router.get("")
def list_findings(
    request: Request, kind: PersonalData | None = None, cursor: Text | None = None, limit: Limit = 100
) -> FindingsOut:
    """List open findings, oldest first. Snapshots leave out prompts with open findings."""
    api_account(request, "read")
    with reading() as session:
        found, following = findings.page(session, kind, cursor, limit)
        counts = findings.counts(session)
    return FindingsOut(items=[FindingOut.of(one) for one in found], counts=counts, next_cursor=following)


@router.post("/decide")
def decide_all(request: Request, given: DecidedForAll) -> Count:
    """Make the same decision on all open findings, or on those of one kind."""
    by = api_account(request, "write")
    return Count(decided=findings.decide_all(given.kind, given.action, given.until, by))


@router.post("/{id}")
def decide(request: Request, id: str, given: Decided) -> FindingOut:
    """Decide on one finding; `reopen` reopens an allowed finding."""
    by = api_account(request, "write")
    with transaction() as session:
        finding = findings.find(session, id)
        findings.decide(session, finding, given.action, by)
        session.refresh(finding)
        return FindingOut.of(finding)
