"""Times in the reader's time zone, which each request sends in a cookie; UTC without one."""

from contextvars import ContextVar
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

COOKIE = "zone"  # set by static/clock.js
_zone: ContextVar[tzinfo] = ContextVar("zone", default=UTC)


@lru_cache
def _known() -> set[str]:
    return available_timezones()


def set_zone(name: str) -> None:
    """Show times in this zone ("Europe/Berlin") for the rest of the request; fall back to UTC if it is unknown."""
    _zone.set(ZoneInfo(name) if name in _known() else UTC)


def local(moment: datetime) -> datetime:
    """Return the same moment in the reader's time zone."""
    return moment.astimezone(_zone.get())


def midnight() -> datetime:
    """Return the start of the reader's current day."""
    return local(datetime.now(UTC)).replace(hour=0, minute=0, second=0, microsecond=0)


def time_of_day(moment: datetime) -> str:
    """Format a time of day, e.g. '09:30:15 CET'."""
    return f"{local(moment):%H:%M:%S %Z}"
