"""The key for pseudonyms, CSRF tokens and signed cookies: created once, and refused if it could be guessed."""

import os
import secrets
from pathlib import Path

from app.errors import PlumblineError

LEAST_BYTES, LEAST_DISTINCT = 32, 8


class WeakSecret(PlumblineError):
    """Raised if the key is too weak, e.g. cut short by a power failure; gives its place and the next step."""

    status = 500


def given(secret: str) -> bytes:
    """Return the key in PLUMBLINE_SECRET; raise WeakSecret."""
    _check(secret.encode().strip(), "PLUMBLINE_SECRET", "Set it to what `openssl rand -hex 32` prints")
    return secret.encode()


def stored(path: Path) -> bytes:
    """Return the key in a file, creating it on first use, readable only by its owner; raise WeakSecret."""
    if not path.exists():
        _make(path)
    key = path.read_bytes().strip()
    _check(key, str(path), "Restore it from a backup, or remove it to have a new one created")
    return key


def _check(key: bytes, place: str, way_out: str) -> None:
    if len(key) >= LEAST_BYTES and len(set(key)) >= LEAST_DISTINCT:
        return
    raise WeakSecret(
        f"the secret in {place} is too easy to guess: it has {len(key)} bytes, {len(set(key))} of them different, and "
        f"at least {LEAST_BYTES} random ones are needed. {way_out}. With a new secret everyone has to sign in again, "
        "and new snapshots give labelers other pseudonyms; existing snapshots stay as they are"
    )


def _make(path: Path) -> None:
    draft = path.with_suffix(f".{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(draft)  # the first process wins; all read the same key
    except FileExistsError:
        pass
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
