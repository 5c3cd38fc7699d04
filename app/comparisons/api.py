"""Comparisons over REST, for accounts that may read everything."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from app.assignments import changes
from app.comparisons import queries
from app.comparisons.schemas import ComparisonOut, ComparisonPage
from app.comparisons.tables import ComparisonSource
from app.database import reading
from app.desk.schemas import VersionOut
from app.kit.text import Text
from app.rounds.tables import ItemKind
from app.web.auth import api_account

router = APIRouter(prefix="/api/v1/comparisons", tags=["comparisons"])


@router.get("")
def list_comparisons(
    request: Request,
    round: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Number of a round.")] = None,
    labeler: Annotated[Text, Query(max_length=80, description="Public id or user name of an account.")] = "",
    source: ComparisonSource | None = None,
    cursor: Text | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> ComparisonPage:
    """List comparisons, newest first."""
    api_account(request, "read")
    with reading() as session:
        found, following = queries.page(session, cursor, limit, round_number=round, labeler=labeler, source=source)
    return ComparisonPage(items=[ComparisonOut.of(one) for one in found], next_cursor=following)


@router.get("/{id}")
def read_comparison(request: Request, id: str) -> ComparisonOut:
    """Get a comparison."""
    api_account(request, "read")
    with reading() as session:
        return ComparisonOut.of(queries.comparison(session, id))


@router.get("/{id}/versions")
def read_versions(request: Request, id: str) -> list[VersionOut]:
    """List the labeler's earlier submissions, oldest first; lists and snapshots use the latest."""
    api_account(request, "read")
    with reading() as session:
        found = queries.comparison(session, id)
        earlier = changes.versions(session, found.item_id, found.labeler_id)
    return [VersionOut.of(version, ItemKind.COMPARISON) for version in earlier]
