"""Uploaded files, kept in the data folder between the check and the import, then deleted."""

import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from app.config import settings
from app.errors import BadInput
from app.kit.i18n import gettext as _

KEPT_SECONDS = 24 * 3600


def keep(file: IO[bytes], name: str) -> str:
    """Store an upload and return its key, which ends with its format; deletes uploads older than a day."""
    folder = settings().data_dir / "uploads"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if old.stat().st_mtime < time.time() - KEPT_SECONDS:
            old.unlink(missing_ok=True)
    key = secrets.token_hex(16) + (".csv" if name.lower().removesuffix(".gz").endswith(".csv") else ".jsonl")
    with (folder / key).open("wb") as kept:
        shutil.copyfileobj(file, kept)
    return key


def path(key: str) -> Path:
    """Return the path of an upload, or raise BadInput."""
    found = settings().data_dir / "uploads" / key
    if not re.fullmatch(r"[0-9a-f]{32}\.(csv|jsonl)", key) or not found.is_file():
        raise BadInput(_("The uploaded file is no longer available; upload it again."), field="file")
    return found


def forget(key: str) -> None:
    """Delete an upload."""
    path(key).unlink(missing_ok=True)


@contextmanager
def kept(file: IO[bytes], name: str) -> Iterator[Path]:
    """Keep an upload as a file while the block runs."""
    key = keep(file, name)
    try:
        yield path(key)
    finally:
        forget(key)
