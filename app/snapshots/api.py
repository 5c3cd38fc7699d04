"""Snapshots and their exports over REST."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from app.database import reading, transaction
from app.kit.text import Text
from app.snapshots import exports, queries, rules
from app.snapshots.downloads import export_response
from app.snapshots.schemas import SnapshotIn, SnapshotOut, SnapshotPage
from app.snapshots.tables import Snapshot
from app.web.auth import api_account

router = APIRouter(tags=["snapshots"])
Limit = Annotated[int, Query(ge=1, le=500)]


def out(snapshot: Snapshot) -> SnapshotOut:
    """Return a snapshot as the REST API sends it."""
    return SnapshotOut.model_validate({**snapshot.__dict__, "id": snapshot.public_id})


@router.get("/api/v1/snapshots")
def list_snapshots(request: Request, cursor: Text | None = None, limit: Limit = 100) -> SnapshotPage:
    """List snapshots, newest first."""
    api_account(request, "read")
    with reading() as session:
        found, following = queries.listing(session, cursor, limit)
    return SnapshotPage(items=[out(one) for one in found], next_cursor=following)


@router.post("/api/v1/snapshots", status_code=201)
def create_snapshot(request: Request, given: SnapshotIn) -> SnapshotOut:
    """Create a snapshot. It is written in the background: read it again until its state is `ready`."""
    by = api_account(request, "write")
    with transaction() as session:
        made = rules.create(session, given.purpose, given.filter, name=given.name, by=by)
        session.refresh(made)
    return out(made)


@router.get("/api/v1/snapshots/{id}")
def read_snapshot(request: Request, id: str) -> SnapshotOut:
    """Get one snapshot with its manifest."""
    api_account(request, "read")
    with reading() as session:
        return out(queries.find(session, id))


@router.get(
    "/api/v1/snapshots/{id}/{name}",
    response_class=StreamingResponse,
    responses={200: {"content": {kind: {} for kind in exports.MEDIA_TYPES.values()}}},
)
def export(request: Request, id: str, name: Text):
    """Export data as {demonstrations,comparisons,prompts,messages,pairs,kto,prompt_only}.{jsonl,jsonl.gz,parquet}.

    The first three are the records as frozen. The others are what trainers read: SFT, DPO and reward models, KTO, PPO.
    """
    api_account(request, "read")
    return export_response(id, name)
