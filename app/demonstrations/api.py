"""Demonstrations over REST, for those who may read everything."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from app.assignments import changes
from app.database import reading
from app.demonstrations import queries
from app.demonstrations.schemas import DemonstrationOut, DemonstrationPage
from app.desk.schemas import VersionOut
from app.kit.text import Text
from app.rounds.tables import ItemKind
from app.web.auth import api_account

router = APIRouter(prefix="/api/v1/demonstrations", tags=["demonstrations"])


@router.get("")
def list_demonstrations(
    request: Request,
    round: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Number of a round.")] = None,
    labeler: Annotated[Text, Query(max_length=80, description="Public id or user name of an account.")] = "",
    cursor: Text | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> DemonstrationPage:
    """List demonstrations, newest first."""
    api_account(request, "read")
    with reading() as session:
        found, following = queries.page(session, cursor, limit, round_number=round, labeler=labeler)
    return DemonstrationPage(items=[DemonstrationOut.of(one) for one in found], next_cursor=following)


@router.get("/{id}")
def read_demonstration(request: Request, id: str) -> DemonstrationOut:
    """Get a demonstration."""
    api_account(request, "read")
    with reading() as session:
        return DemonstrationOut.of(queries.demonstration(session, id))


@router.get("/{id}/versions")
def read_versions(request: Request, id: str) -> list[VersionOut]:
    """List the labeler's earlier submissions, oldest first; lists and snapshots use the latest."""
    api_account(request, "read")
    with reading() as session:
        found = queries.demonstration(session, id)
        earlier = changes.versions(session, found.item_id, found.labeler_id)
    return [VersionOut.of(version, ItemKind.DEMONSTRATION) for version in earlier]
