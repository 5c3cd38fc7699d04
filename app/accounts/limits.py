"""Rate limits for failed sign-ins, counted in the broker's Redis so that all web processes agree.

A browser that signed in before has its own counter, so guesses made elsewhere cannot lock its owner out. A new password
starts new counters, because the keys contain the stored hash.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import cast

from limits.storage import Storage, storage_from_string
from redis import RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.accounts.tables import Account
from app.config import settings
from app.errors import TooMany
from app.kit.i18n import gettext as _

WINDOW_SECONDS = 3600
FIRST_WAIT_SECONDS = 30


@dataclass(frozen=True)
class Limit:
    """From failure number `amount` on, each failure causes a wait, which doubles up to `longest_seconds`."""

    amount: int
    longest_seconds: int


PER_USER = Limit(10, 900)  # one user name, from one address or one known browser
FROM_EVERYWHERE = Limit(100, 900)  # one user name, from all unknown browsers
PER_ADDRESS = Limit(200, 60)  # may be shared by a whole office, or by everyone behind an undeclared proxy


@lru_cache
def _storage(url: str) -> Storage:
    if url.startswith("redis+socket://"):  # Celery's name for what the limits package calls redis+unix
        path, _mark, _options = url.removeprefix("redis+socket://").partition("?")
        url = f"redis+unix://{path}"
    options: dict[str, object] = {}
    if url != "memory://":
        # A sign-in must not wait for a broker that does not answer: redis-py itself would retry for a minute.
        patience = {"socket_connect_timeout": 1, "socket_timeout": 1, "retry": Retry(NoBackoff(), 0)}
        options = {"key_prefix": "plumbline-limits", **patience}
    # The package declares neither that only async+ URLs give an asynchronous storage nor what redis-py accepts.
    return cast(Storage, storage_from_string(url, **options))  # type: ignore[arg-type]


def _counting(act: Callable[[Storage], float | None]) -> float | None:
    together = settings().broker_url or settings().web_server_processes > 1
    for url in (settings().broker if together else "memory://", "memory://"):
        try:
            return act(_storage(url))
        except RedisError:
            continue  # without the broker, people can still sign in; this process counts alone
    raise AssertionError("memory never fails")


def count_attempt(username: str, address: str, *, account: Account | None = None, browser: str = "") -> None:
    """Count a sign-in before its password is checked, so that parallel attempts count too; raises TooMany.

    `browser` is the id of a browser known to have signed in with this name, "" for any other.
    """
    keys = _keys(username, address, account, browser)
    wait = _counting(lambda storage: _closed(storage, keys) or _count(storage, keys))
    if wait:
        raise TooMany(
            _(
                "Too many sign-in attempts. Wait %(minutes)d min, sign in with a browser that you have used "
                "here before, or ask an admin for a new password."
            )
            % {"minutes": int(wait // 60) + 1},
            retry_after_seconds=int(wait) + 1,
        )


def forget_attempts(username: str, address: str, *, account: Account | None = None, browser: str = "") -> None:
    """Undo the count of a successful sign-in: clear its own counter and decrement the shared ones."""
    own, *shared = _keys(username, address, account, browser)

    def forget(storage: Storage) -> None:
        for key in (own, f"{own}:closed"):
            storage.clear(key)
        for key in shared:
            storage.incr(key, WINDOW_SECONDS, -1)

    _counting(forget)


def _keys(username: str, address: str, account: Account | None, browser: str) -> dict[str, Limit]:
    """Map the counters of one attempt to their limits, narrowest first."""
    of = f"{username.strip().lower()}\n{account.password_hash if account else ''}"
    user = hashlib.sha256(of.encode()).hexdigest()
    if browser:
        return {f"user:{user}:browser:{browser}": PER_USER}
    network = _network(address)
    return {
        f"user:{user}:address:{network}": PER_USER,
        f"user:{user}": FROM_EVERYWHERE,
        f"address:{network}": PER_ADDRESS,
    }


def _network(address: str) -> str:
    """Return the /64 of an IPv6 address, which belongs to one subscriber; return other addresses unchanged."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return address
    return str(found.ipv4_mapped or IPv6Address(int(found) >> 64 << 64))


def _closed(storage: Storage, keys: dict[str, Limit]) -> float:
    """Return the seconds until all counters accept attempts again; 0 if they do now."""
    waiting = [f"{key}:closed" for key in keys]
    return max((max(1.0, storage.get_expiry(key) - time.time()) for key in waiting if storage.get(key)), default=0.0)


def _count(storage: Storage, keys: dict[str, Limit]) -> float:
    """Count an attempt; returns the seconds to wait if a concurrent attempt was the last one allowed, else 0."""
    wait = 0.0
    for key, limit in keys.items():
        over = storage.incr(key, WINDOW_SECONDS) - limit.amount
        if over >= 0:
            pause = min(FIRST_WAIT_SECONDS * 2 ** min(over, 20), limit.longest_seconds)
            if storage.incr(f"{key}:closed", pause) > 1:
                wait = max(wait, pause)
    return wait
