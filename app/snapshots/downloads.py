"""The download response for one export of a snapshot, over REST and from its page."""

import tempfile
from pathlib import Path

from fastapi import Response
from fastapi.responses import FileResponse, StreamingResponse
from starlette.background import BackgroundTask

from app.database import reading
from app.snapshots import exports, queries


def export_response(id: str, name: str) -> Response:
    """Return the download of one export of a snapshot."""
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
