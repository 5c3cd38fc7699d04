"""Times by the reader's clock: each request tells its browser's time zone, in a cookie; without one it is UTC."""

from contextvars import ContextVar
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

COOKIE = "zone"  # static/clock.js sets it
_zone: ContextVar[tzinfo] = ContextVar("zone", default=UTC)


@lru_cache
def _known() -> set[str]:
    return available_timezones()


def set_zone(name: str) -> None:
    """Show times in this zone ("Europe/Berlin") for the rest of the request; an unknown one is UTC."""
    _zone.set(ZoneInfo(name) if name in _known() else UTC)


def local(moment: datetime) -> datetime:
    """The same moment in the reader's zone."""
    return moment.astimezone(_zone.get())


def midnight() -> datetime:
    """When the reader's day began."""
    return local(datetime.now(UTC)).replace(hour=0, minute=0, second=0, microsecond=0)


def time_of_day(moment: datetime) -> str:
    """'09:30:15 CET'."""
    return f"{local(moment):%H:%M:%S %Z}"
