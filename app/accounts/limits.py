"""How often a sign-in may fail: per user name and per address, counted in the broker's Redis so that all webs agree."""

import hashlib
import time
from functools import lru_cache

from limits import RateLimitItem, parse
from limits.storage import Storage, storage_from_string
from limits.strategies import MovingWindowRateLimiter
from redis import RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.config import settings
from app.errors import TooMany
from app.i18n import gettext as _

PER_USER = parse("10 per 15 minutes")
PER_ADDRESS = parse("200 per 15 minutes")  # a whole office may share one


@lru_cache
def _limiter(url: str) -> MovingWindowRateLimiter:
    return MovingWindowRateLimiter(_storage(url))


def _storage(url: str) -> Storage:
    if url.startswith("redis+socket://"):  # Celery's word for what limits calls redis+unix
        path, _mark, _options = url.removeprefix("redis+socket://").partition("?")
        url = f"redis+unix://{path}"
    if url == "memory://":
        return storage_from_string(url)
    # Nobody waits at the sign-in for a broker that does not answer: redis-py itself would try for a minute.
    patience = {"socket_connect_timeout": 1, "socket_timeout": 1, "retry": Retry(NoBackoff(), 0)}
    return storage_from_string(url, key_prefix="plumbline-limits", **patience)


def _counted(item: RateLimitItem, key: str) -> float:
    """Count one attempt; returns the seconds to wait, 0 when it is within the limit."""
    for url in (settings().broker_url or "memory://", "memory://"):
        limiter = _limiter(url)
        try:
            if limiter.hit(item, key):
                return 0.0
            return max(1.0, limiter.get_window_stats(item, key).reset_time - time.time())
        except RedisError:
            continue  # without the broker people still sign in, and this process alone counts
    raise AssertionError("memory never fails")


def count_attempt(username: str, address: str) -> None:
    """Count a sign-in before the password is looked at, so that parallel ones count too; raises TooMany."""
    wait = max(_counted(PER_ADDRESS, f"address:{address}"), _counted(PER_USER, _user_key(username)))
    if wait:
        minutes = int(wait // 60) + 1
        raise TooMany(
            _("Too many attempts to sign in. Wait %(minutes)d minutes, or ask an admin for a new password.")
            % {"minutes": minutes},
            retry_after_seconds=int(wait) + 1,
        )


def forget_attempts(username: str) -> None:
    """A right sign-in clears its user name, and not its address: one's own account must not reset the guessing."""
    for url in {settings().broker_url or "memory://", "memory://"}:
        try:
            _limiter(url).clear(PER_USER, _user_key(username))
        except RedisError:
            continue


def _user_key(username: str) -> str:
    return "user:" + hashlib.sha256(username.strip().lower().encode()).hexdigest()
