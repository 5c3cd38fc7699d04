"""Snapshots and their exports over REST."""

import tempfile
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, StreamingResponse
from starlette.background import BackgroundTask

from app.database import reading, transaction
from app.snapshots import exports, queries, rules
from app.snapshots.schemas import SnapshotIn, SnapshotOut, SnapshotPage
from app.snapshots.tables import Snapshot
from app.web import api_account

router = APIRouter(tags=["snapshots"])
Limit = Annotated[int, Query(ge=1, le=500)]


def out(snapshot: Snapshot) -> SnapshotOut:
    """A snapshot as REST tells it."""
    return SnapshotOut.model_validate({**snapshot.__dict__, "id": snapshot.public_id})


@router.get("/api/v1/snapshots")
def list_snapshots(request: Request, cursor: str | None = None, limit: Limit = 100) -> SnapshotPage:
    """Snapshots, the newest first."""
    api_account(request, "read")
    with reading() as session:
        found, following = queries.listing(session, cursor, limit)
    return SnapshotPage(items=[out(one) for one in found], next_cursor=following)


@router.post("/api/v1/snapshots", status_code=201)
def create_snapshot(request: Request, given: SnapshotIn) -> SnapshotOut:
    """Freeze closed work; it is written in the background: read it again until its state is ready."""
    by = api_account(request, "write")
    with transaction() as session:
        made = rules.create(session, given.purpose, given.filter, name=given.name, by=by)
        session.refresh(made)
    return out(made)


@router.get("/api/v1/snapshots/{id}")
def read_snapshot(request: Request, id: str) -> SnapshotOut:
    """One snapshot with its manifest."""
    api_account(request, "read")
    with reading() as session:
        return out(queries.find(session, id))


@router.get(
    "/api/v1/snapshots/{id}/{name}",
    response_class=StreamingResponse,
    responses={200: {"content": {kind: {} for kind in exports.MEDIA_TYPES.values()}}},
)
def export(request: Request, id: str, name: str):
    """Data: {demonstrations,comparisons,pairs,prompts}.{jsonl,jsonl.gz,parquet}."""
    api_account(request, "read")
    return export_response(id, name)


def export_response(id: str, name: str):
    """The download of one export of a snapshot."""
    what, format = exports.parse_name(name)
    with reading() as session:
        snapshot = queries.find(session, id)
    headers = {"Content-Disposition": f'attachment; filename="{id}-{name}"', "X-Content-Type-Options": "nosniff"}
    media_type = exports.MEDIA_TYPES[format]
    if format is not exports.Format.PARQUET:
        return StreamingResponse(exports.stream(snapshot, what, format), media_type=media_type, headers=headers)
    folder = tempfile.TemporaryDirectory(prefix="export-")
    try:
        exports.write_parquet(snapshot, what, path := Path(folder.name) / "export.parquet")
    except BaseException:
        folder.cleanup()
        raise
    return FileResponse(path, media_type=media_type, headers=headers, background=BackgroundTask(folder.cleanup))
