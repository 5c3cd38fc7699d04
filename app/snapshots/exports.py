"""The data of a ready snapshot in the formats that others read: JSON Lines, gzip, Parquet; rankings, and pairs of them.

A pair is prompt, chosen and rejected as lists of messages, as preference trainers take them; pairs of one ranking
share `group`, since they are not independent of each other. Ties give no pair.
"""

import gzip
import os
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from itertools import islice
from pathlib import Path

import orjson

from app.errors import BadInput, Conflict, NotFound, PlumblineError
from app.i18n import gettext as _
from app.snapshots.rules import folder
from app.snapshots.tables import Snapshot, SnapshotState
from training import records

BATCH = 2000


class What(StrEnum):
    """Which data of a snapshot."""

    DEMONSTRATIONS = "demonstrations"
    COMPARISONS = "comparisons"
    PAIRS = "pairs"
    PROMPTS = "prompts"


class Format(StrEnum):
    """In which format."""

    JSONL = "jsonl"
    JSONL_GZ = "jsonl.gz"
    PARQUET = "parquet"


MEDIA_TYPES = {
    Format.JSONL: "application/jsonl",
    Format.JSONL_GZ: "application/gzip",
    Format.PARQUET: "application/vnd.apache.parquet",
}
_SOURCES = {
    What.DEMONSTRATIONS: {records.DEMONSTRATIONS: records.DemonstrationRecord},
    What.COMPARISONS: {records.COMPARISONS: records.ComparisonRecord},
    What.PAIRS: {records.COMPARISONS: records.ComparisonRecord},
    What.PROMPTS: {
        records.PROMPTS: records.PromptRecord,
        records.COMPARISONS: records.ComparisonRecord,
        records.DEMONSTRATIONS: records.DemonstrationRecord,
    },
}


class NotInstalled(PlumblineError):
    """A format whose library is not installed."""

    status = 501
    title = "Not installed here"


def available(snapshot: Snapshot) -> list[What]:
    """What a snapshot holds."""
    held = {file["name"] for file in snapshot.manifest["files"]} if snapshot.manifest else set()
    return [what for what, sources in _SOURCES.items() if held & sources.keys()]


def parse_name(name: str) -> tuple[What, Format]:
    """What and how, from a file's name such as "pairs.jsonl.gz"; raises NotFound."""
    stem, _dot, ending = name.partition(".")
    try:
        return What(stem), Format(ending)
    except ValueError:
        raise NotFound(
            _("There is no export %(name)s; there are %(what)s with the endings %(endings)s.")
            % {"name": name, "what": ", ".join(What), "endings": ", ".join(Format)}
        ) from None


def rows(snapshot: Snapshot, what: What) -> Iterator[dict]:
    """The rows of an export, in the snapshot's order; raises Conflict or NotFound before the first."""
    if snapshot.state is not SnapshotState.READY:
        raise Conflict(_("Snapshot %(id)s is %(state)s.") % {"id": snapshot.public_id, "state": snapshot.state})
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
    return _rows(snapshot, what)


def _rows(snapshot: Snapshot, what: What) -> Iterator[dict]:
    if what is What.PROMPTS:
        yield from _prompts(snapshot)
        return
    for line in _lines(snapshot, what):
        if what is What.PAIRS:
            yield from pairs(line)
        else:
            yield line.model_dump(mode="json")


def _lines(snapshot: Snapshot, what: What) -> Iterator[records.PromptRecord]:
    held = {file["name"] for file in snapshot.manifest["files"]}
    for name, record in _SOURCES[what].items():
        if name in held:
            yield from records.read(folder(snapshot) / name, record)


def _prompts(snapshot: Snapshot) -> Iterator[dict]:
    # What a held-out labeler did with a train prompt says validation: the prompt's own split is in the other records.
    splits: dict[str, records.Split] = {}
    for line in _lines(snapshot, What.PROMPTS):
        if getattr(line, "pool", None) is not records.Pool.HELD_OUT:
            splits.setdefault(line.prompt_key, line.split)
    seen: set[str] = set()
    for line in _lines(snapshot, What.PROMPTS):
        if line.prompt_key not in seen:
            seen.add(line.prompt_key)
            row = line.model_dump(mode="json", include=set(records.PromptRecord.model_fields))
            yield {**row, "split": splits.get(line.prompt_key, line.split).value}


def pairs(record: records.ComparisonRecord) -> Iterator[dict]:
    """Every pair of a ranking whose tiers differ, the chosen completion's message beside the rejected one's."""
    prompt = [{"role": message.role, "content": message.text} for message in record.prompt]
    group = f"{record.prompt_key}:{record.labeler}"
    for chosen, rejected in record.pairs():
        yield {
            "prompt": prompt,
            "chosen": [{"role": "assistant", "content": record.completions[chosen].text}],
            "rejected": [{"role": "assistant", "content": record.completions[rejected].text}],
            "group": group,
            "split": record.split.value,
            "pool": record.pool.value,
        }


def stream(snapshot: Snapshot, what: What, format: Format) -> Iterator[bytes]:
    """The bytes of a JSON Lines export, compressed or not; the same snapshot gives the same bytes."""
    lines = (orjson.dumps(row) + b"\n" for row in rows(snapshot, what))
    return _batches(lines) if format is Format.JSONL else _gzipped(_batches(lines))


def _batches(lines: Iterator[bytes]) -> Iterator[bytes]:
    while batch := list(islice(lines, BATCH)):
        yield b"".join(batch)


def _gzipped(batches: Iterator[bytes]) -> Iterator[bytes]:
    for batch in batches:
        yield gzip.compress(batch, mtime=0)  # members of a gzip file follow each other


def write_parquet(snapshot: Snapshot, what: What, path: Path) -> None:
    """A Parquet file; nested columns keep their structure."""
    found = rows(snapshot, what)
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise NotInstalled(
            _("Parquet needs pyarrow: install the extra, pip install -e .[exports], or take jsonl.gz.")
        ) from None
    batches = iter(lambda: list(islice(found, BATCH)), [])
    schema = _schema(what)
    writer = None
    try:
        for batch in batches:
            table = pyarrow.Table.from_pylist([_flat(row) for row in batch], schema=schema)
            if writer is None:
                writer = pyarrow.parquet.ParquetWriter(path, schema, compression="zstd")
            writer.write_table(table)
        if writer is None:
            raise BadInput(_("There is no row to write."), field="what")
    finally:
        if writer is not None:
            writer.close()


def _schema(what: What):
    """The columns of a Parquet export: the same in every file, however many of their values are null."""
    import pyarrow as pa

    def messages(words: str) -> pa.DataType:
        return pa.list_(pa.struct({"role": pa.string(), words: pa.string()}))

    prompt = {"prompt_key": pa.string(), "prompt": messages("text"), "split": pa.string(), "use_case": pa.string()}
    said_by = {"labeler": pa.string(), "pool": pa.string()}
    if what is What.PROMPTS:
        return pa.schema(prompt)
    if what is What.DEMONSTRATIONS:
        return pa.schema({**prompt, "completion": pa.string(), **said_by})
    if what is What.PAIRS:
        sides = {side: messages("content") for side in ("prompt", "chosen", "rejected")}
        return pa.schema({**sides, "group": pa.string(), "split": pa.string(), "pool": pa.string()})
    completion = pa.struct(
        {
            "text": pa.string(),
            "policy": pa.string(),
            "tier": pa.int64(),
            "rating": pa.int64(),
            "flags": pa.string(),
            "shown_position": pa.int64(),
        }
    )
    return pa.schema({**prompt, "completions": pa.list_(completion), **said_by, "round": pa.int64()})


def _flat(row: dict) -> dict:
    """Flags as one JSON text, since which there are differs from row to row and Parquet wants one schema."""
    if "completions" in row:
        row["completions"] = [
            {**completion, "flags": orjson.dumps(completion["flags"]).decode()} for completion in row["completions"]
        ]
    return row


def save(snapshot: Snapshot, what: What, format: Format, path: Path) -> None:
    """An export as a file, whole or not at all."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    try:
        if format is Format.PARQUET:
            write_parquet(snapshot, what, Path(draft))
        else:
            with open(draft, "wb") as out:
                out.writelines(stream(snapshot, what, format))
        os.chmod(draft, 0o644)
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
