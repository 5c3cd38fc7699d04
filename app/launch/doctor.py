"""`plumbline doctor`: what this installation has, what it lacks and how to get it."""

import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from sqlalchemy.exc import SQLAlchemyError

from app import queue
from app.config import settings
from app.database import engine
from app.kit import disk
from app.kit.secret import WeakSecret
from app.launch import migrate

LEAST_FREE_GB = 2.0


def examine() -> list[dict]:
    """Run every check; each has `ok` and a sentence. Torch is located but not loaded."""
    checks = [_python(), _data_folder(), _secret(), _database(), _broker()]
    if checks[-1]["ok"]:
        checks += [_worker(queue.DEFAULT), _worker(queue.TRAINING)]
    return [*checks, _proxy(), _torch()]


def _check(name: str, ok: bool, detail: str) -> dict:
    return {"check": name, "ok": ok, "detail": detail}


def _python() -> dict:
    found = ".".join(map(str, sys.version_info[:3]))
    return _check("python", sys.version_info >= (3, 11), f"{found}; 3.11 or newer is required")


def _data_folder() -> dict:
    folder = settings().data_dir
    try:
        disk.check()
        free_gb = shutil.disk_usage(folder).free / 1e9
        open_to_others = folder.stat().st_mode & 0o077
    except OSError as error:
        advice = "free disk space, or set PLUMBLINE_DATA_DIR to a writable folder"
        return _check("data folder", False, f"{folder}: {error.strerror}; {advice}")
    if open_to_others:
        return _check("data folder", False, f"{folder} can be read by others on this machine; run: chmod 700 {folder}")
    enough = free_gb >= LEAST_FREE_GB
    advice = "" if enough else f"; checkpoints need disk space: free {LEAST_FREE_GB:.0f} GB, or move PLUMBLINE_DATA_DIR"
    return _check("data folder", enough, f"{folder}, {free_gb:.1f} GB free{advice}")


def _secret() -> dict:
    try:
        return _check("secret", True, f"{len(settings().key)} bytes")
    except (WeakSecret, OSError) as error:
        return _check("secret", False, str(error))


def _database() -> dict:
    shown = engine().url.render_as_string(hide_password=True)
    try:
        migrate.check()
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        return _check("database", False, f"{shown}: {reason}; check PLUMBLINE_DATABASE_URL")
    except migrate.WrongSchema as error:
        return _check("database", False, f"{shown}: {error.message}")
    return _check("database", True, f"{shown}, schema {migrate.newest()}, with all tables")


def _broker() -> dict:
    if queue.workers(queue.DEFAULT) is not None:
        return _check("broker", True, f"connected; messages waiting: {queue.waiting(queue.DEFAULT)}")
    return _check("broker", False, "does not answer; start `plumbline run`, or set PLUMBLINE_BROKER_URL to a Redis")


def _worker(name: str) -> dict:
    names = queue.workers(name) or []
    detail = ", ".join(names) if names else f"none is running; start one with `plumbline worker --queue {name}`"
    return _check(f"{name} worker", bool(names), detail)


def _proxy() -> dict:
    """Check that sign-in limits count clients: behind an https proxy, all of them share the proxy's address.

    PLUMBLINE_TRUSTED_PROXIES prevents that.
    """
    if not settings().base_url.startswith("https://") or settings().trusted_proxies:
        return _check("proxy", True, settings().trusted_proxies or "not needed for http")
    advice = "set PLUMBLINE_TRUSTED_PROXIES to the address of your https proxy (docs/deploy.md)"
    return _check("proxy", False, f"all sign-ins count as one address, so failed ones slow everyone down; {advice}")


def _torch() -> dict:
    if find_spec("torch") is None or find_spec("transformers") is None:
        return _check("torch", False, "not installed, so no job can run here: pip install -e '.[train]'")
    try:
        return _check("torch", True, f"torch {version('torch')}, transformers {version('transformers')}")
    except PackageNotFoundError as error:
        return _check("torch", False, f"{error}; reinstall it: pip install -e '.[train]'")
