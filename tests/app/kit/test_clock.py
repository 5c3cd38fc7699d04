"""Times, and when a day begins, are those of the reader's time zone."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import update

from app.assignments.tables import Draft
from app.database import transaction
from app.kit.clock import COOKIE
from app.rounds.tables import ItemKind
from tests.app.desk.pages.plain_browser import Browser
from tests.desk import make_round


@pytest.fixture
def ana(client, people):
    return Browser(client, people, people.labeler())


def read_in(ana, zone, url="/"):
    """A page as a browser of that zone gets it."""
    ana.client.cookies.set(COOKIE, zone)
    html = ana.open(url).html
    del ana.client.cookies[COOKIE]
    return html


@pytest.mark.parametrize(
    ("zone", "name"),
    [("Asia/Tokyo", "JST"), ("Etc/GMT+5", "-05"), ("UTC", "UTC"), ("", "UTC"), ("../../etc/passwd", "UTC")],
)
def test_a_page_tells_times_by_the_readers_clock(ana, zone, name):
    [(exact, shown)] = re.findall(r'Signed in <time datetime="(.+?)">(.+?)</time>', read_in(ana, zone, "/account"))
    moment = datetime.fromisoformat(exact)
    assert moment.utcoffset() == timedelta(0)
    there = moment.astimezone(ZoneInfo(zone) if name != "UTC" else UTC)
    assert shown == f"{there:%Y-%m-%d %H:%M} {name}"


def test_today_began_at_the_readers_midnight(ana):
    make_round(1, kind=ItemKind.DEMONSTRATION)
    ana.next()
    ana.press("submit", text="done", do=None)
    now = datetime.now(UTC)
    with transaction() as session:
        session.execute(update(Draft).values(submitted_at=now - timedelta(minutes=90)))
    counted = []
    for hour in (0, 12):  # it is that hour there now: 90 minutes ago was yesterday, or was today
        ahead = (hour - now.hour + 11) % 24 - 11
        html = read_in(ana, f"Etc/GMT{-ahead:+d}")  # their sign is the other way round
        counted += re.findall(r"Submitted today</dt><dd>(\d+)", html)
    assert counted == ["0", "1"]
