"""The data folder belongs to one launcher, backup or demo at a time."""

import fcntl
from typing import TextIO

from app.config import settings
from app.errors import PlumblineError


class CannotRun(PlumblineError):
    """Plumbline does not start; the message says why in one line, and the way out."""


def exclusive() -> TextIO:
    """Make the data folder ours until the file is closed: two launchers must not share one."""
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
