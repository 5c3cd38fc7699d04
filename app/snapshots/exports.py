"""Exports of a ready snapshot as files: JSON Lines, plain or gzipped, and Parquet."""

import gzip
import os
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from itertools import islice
from pathlib import Path

import orjson

from app.errors import Conflict, NotFound
from app.kit.i18n import gettext as _
from app.kit.words import word
from app.snapshots.rules import folder
from app.snapshots.shapes import SHAPES, What
from app.snapshots.tables import Snapshot, SnapshotState
from training.contract import records

BATCH = 2000


class Format(StrEnum):
    """File format of an export."""

    JSONL = "jsonl"
    JSONL_GZ = "jsonl.gz"
    PARQUET = "parquet"


MEDIA_TYPES = {
    Format.JSONL: "application/jsonl",
    Format.JSONL_GZ: "application/gzip",
    Format.PARQUET: "application/vnd.apache.parquet",
}


def available(snapshot: Snapshot) -> list[What]:
    """Return the exports that a snapshot has data for."""
    held = _files(snapshot)
    return [what for what, shape in SHAPES.items() if held & shape.files.keys()]


def _files(snapshot: Snapshot) -> set[str]:
    return {file["name"] for file in snapshot.manifest["files"]} if snapshot.manifest else set()


def parse_name(name: str) -> tuple[What, Format]:
    """Return the export and the format that a file name such as "pairs.jsonl.gz" means; raise NotFound if none."""
    stem, _dot, ending = name.partition(".")
    try:
        return What(stem), Format(ending)
    except ValueError:
        raise NotFound(
            _("There is no export %(name)s. Available: %(what)s, with the extensions %(endings)s.")
            % {"name": name, "what": ", ".join(What), "endings": ", ".join(Format)}
        ) from None


def rows(snapshot: Snapshot, what: What) -> Iterator[dict]:
    """Return the rows of an export, in the snapshot's order; raise Conflict or NotFound before the first."""
    if snapshot.state is not SnapshotState.READY:
        raise Conflict(_("Snapshot %(id)s is %(state)s.") % {"id": snapshot.public_id, "state": word(snapshot.state)})
    if what not in available(snapshot):
        raise NotFound(
            _("Snapshot %(id)s holds no %(what)s; it holds %(held)s.")
            % {"id": snapshot.public_id, "what": what, "held": ", ".join(available(snapshot))}
        )
    if not folder(snapshot).is_dir():
        raise NotFound(
            _("The files of snapshot %(id)s are not in the data folder; restore snapshots/%(id)s from a backup.")
            % {"id": snapshot.public_id}
        )
    return SHAPES[what].rows(lambda: _read(snapshot, what))


def _read(snapshot: Snapshot, what: What) -> Iterator[records.PromptRecord]:
    held = _files(snapshot)
    for name, record in SHAPES[what].files.items():
        if name in held:
            yield from records.read(folder(snapshot) / name, record)


def stream(snapshot: Snapshot, what: What, format: Format) -> Iterator[bytes]:
    """Return the bytes of a JSON Lines export, compressed or not; the same snapshot gives the same bytes."""
    lines = (orjson.dumps(row) + b"\n" for row in rows(snapshot, what))
    return _batches(lines) if format is Format.JSONL else _gzipped(_batches(lines))


def _batches(lines: Iterator[bytes]) -> Iterator[bytes]:
    while batch := list(islice(lines, BATCH)):
        yield b"".join(batch)


def _gzipped(batches: Iterator[bytes]) -> Iterator[bytes]:
    """Compress each batch as a gzip member; without batches yield an empty member, as zero bytes are no gzip file."""
    yield gzip.compress(next(batches, b""), mtime=0)
    for batch in batches:
        yield gzip.compress(batch, mtime=0)


def write_parquet(snapshot: Snapshot, what: What, path: Path) -> None:
    """Write an export as a Parquet file; nested columns keep their structure."""
    from app.snapshots import parquet  # loads pyarrow: 35 MiB, so only where Parquet is written

    shape = SHAPES[what]
    parquet.write(path, shape.columns(shape.record), rows(snapshot, what))


def save(snapshot: Snapshot, what: What, format: Format, path: Path) -> None:
    """Save an export as a file, whole or not at all."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    try:
        if format is Format.PARQUET:
            write_parquet(snapshot, what, Path(draft))
        else:
            with open(draft, "wb") as out:
                out.writelines(stream(snapshot, what, format))
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
