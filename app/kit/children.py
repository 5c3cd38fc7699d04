"""Environment of child processes that compute: never the secrets of the web application."""

import os

from app.config import settings

_SECRETS = ("PLUMBLINE_SECRET", "PLUMBLINE_DATABASE_URL", "PLUMBLINE_BROKER_URL")


def environment() -> dict[str, str]:
    """Return the environment for a child process, without secrets."""
    hidden = {*_SECRETS, *settings().endpoint_key_names}
    inherited = {name: value for name, value in os.environ.items() if name not in hidden}
    return inherited | {"PLUMBLINE_DATA_DIR": str(settings().data_dir.absolute()), "PYTHONUNBUFFERED": "1"}
