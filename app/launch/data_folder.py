"""Exclusive use of the data folder by one launcher, backup or demo at a time."""

import fcntl
from typing import TextIO

from app.config import settings
from app.errors import PlumblineError


class CannotRun(PlumblineError):
    """Raised if Plumbline cannot start; the one-line message gives the reason and the fix."""


def exclusive() -> TextIO:
    """Lock the data folder until the returned file is closed, so that no two launchers share it; raise CannotRun."""
    folder = settings().data_dir
    try:
        settings().make_data_dir()
        lock = (folder / "run.lock").open("w")
    except OSError as error:
        raise CannotRun(
            f"the data folder {folder} is not writable ({error.strerror}); set PLUMBLINE_DATA_DIR to another"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise CannotRun(
            f"Plumbline is already running on the data folder {folder}; stop it, or set PLUMBLINE_DATA_DIR to another"
        ) from error
    return lock
