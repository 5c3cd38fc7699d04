"""Checks whether the disk is writable and whether an error means that it is full or failing."""

import errno
import os
import sqlite3
import tempfile
from pathlib import Path

import psycopg
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from app.config import settings

PROBE_BYTES = 65536
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


def check() -> None:
    """Write and remove a file in the data folder and in an embedded database's folder; raise OSError."""
    folders = {settings().make_data_dir()}
    url = make_url(settings().sqlalchemy_url)
    if url.get_backend_name() == "sqlite" and url.database:
        folders.add(Path(url.database).parent)
    for folder in folders:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x" * PROBE_BYTES)
            probe.flush()
            os.fsync(probe.fileno())


def is_full(error: BaseException | None) -> bool:
    """Return whether an error or one of its causes means that the disk is full, read-only or failing."""
    while error is not None:
        found = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(found, sqlite3.Error):
            name = getattr(found, "sqlite_errorname", "")
            if name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY")):
                return True
        if isinstance(found, psycopg.errors.DiskFull) or (isinstance(found, OSError) and found.errno in _FULL):
            return True
        error = error.__cause__
    return False
