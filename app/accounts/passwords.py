"""Passwords: argon2id, never hashed inside a transaction, and only a few at once, since each hash needs much memory."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from pwdlib import PasswordHash as Hasher
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher

from app.accounts.common import is_common
from app.config import settings
from app.errors import BadInput, TooMany
from app.kit.i18n import gettext as _

MIN_LENGTH, MAX_LENGTH = 10, 200
DEMO_PASSWORD = "plumbline-demo"  # of the demo accounts, which can sign in on this machine only
_parallel = threading.BoundedSemaphore(2)
_waiting = threading.BoundedSemaphore(16)  # of 40 request threads: other requests must not wait for password hashing


@contextmanager
def _turn() -> Iterator[None]:
    """Hold one of the few hashing slots; raises TooMany when too many threads already wait for one."""
    if not _waiting.acquire(blocking=False):
        raise TooMany(_("Many people are signing in right now. Try again in a few seconds."), retry_after_seconds=3)
    try:
        with _parallel:
            yield
    finally:
        _waiting.release()


class PasswordHash(str):
    """A password hash, safe to store."""


@lru_cache
def _hasher() -> Hasher:
    return Hasher((Argon2Hasher(time_cost=3, memory_cost=settings().argon2_memory_kib, parallelism=1),))


@lru_cache
def _nobodys_hash() -> str:
    return hash_password("nobody signs in with this")


def hash_password(password: str) -> PasswordHash:
    """Hash a password for storage; takes a fifth of a second on purpose."""
    with _turn():
        return PasswordHash(_hasher().hash(password))


def verify(password: str, stored: str | None) -> tuple[bool, PasswordHash | None]:
    """Return whether the password matches, and a new hash if the stored one is weaker than today's.

    A missing hash (`stored` is None) takes as long to reject as a wrong password.
    """
    stored = stored or _nobodys_hash()
    with _turn():
        try:
            right, renewed = _hasher().verify_and_update(password[: MAX_LENGTH + 1], stored)
        except UnknownHashError:
            return False, None
    if stored == _nobodys_hash():
        return False, None
    return right, PasswordHash(renewed) if renewed else None


def check_new(password: str, username: str = "") -> str:
    """Return a new password, or raise BadInput if it is too short, too long or easy to guess."""
    if len(password) < MIN_LENGTH:
        raise BadInput(
            _("The password has %(length)d characters; use at least %(minimum)d, for example four unrelated words.")
            % {"length": len(password), "minimum": MIN_LENGTH},
            field="password",
        )
    if len(password) > MAX_LENGTH:
        raise BadInput(
            _("The password is longer than %(maximum)d characters; choose a shorter one.") % {"maximum": MAX_LENGTH},
            field="password",
        )
    if is_common(password, username, *re.split(r"[._@+-]", username)):
        raise BadInput(
            _(
                "This password is easy to guess: it is a common password or the user name, two of these together, keys "
                "in a row or a repetition. Choose another, for example four unrelated words."
            ),
            field="password",
        )
    return password
