"""Labelers without think time, as one process that costs as little as it can: raw HTTP/1.1 on one loop.

Reads {url, seconds, way, visitors: [headers, ...]} from standard input, and prints what came of it as JSON.
"""

import asyncio
import json
import re
import resource
import sys
import time
from collections import Counter
from urllib.parse import urlencode

import orjson

LETTERS = "ABCD"
ARRIVES_AFTER = 0.005  # seconds after the one before: while the first work, not all at once


class Visitor:
    """One kept connection."""

    def __init__(self, host: str, port: int, headers: dict[str, str]):
        self.host, self.port = host, port
        self.head = "".join(f"{name}: {value}\r\n" for name, value in {"Host": f"{host}:{port}", **headers}.items())
        self.took: dict[str, list[float]] = {}
        self.statuses: Counter[int] = Counter()
        self.done: list[str] = []  # ids of acknowledged submissions
        self.given: list[str] = []  # "id:fence"

    async def open(self) -> None:
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port)

    async def send(self, name: str, method: str, path: str, body: bytes = b"", kind: str = "application/json"):
        """Return (status, headers in lower case, body)."""
        about = f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n" if method == "POST" else ""
        began = time.perf_counter()
        self.writer.write(f"{method} {path} HTTP/1.1\r\n{self.head}{about}\r\n".encode() + body)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = re.search(r"content-length: (\d+)", head)
        came = await self.reader.readexactly(int(length[1])) if length else b""
        self.took.setdefault(name, []).append(time.perf_counter() - began)
        status = int(head[9:12])
        self.statuses[status] += 1
        return status, head, came


async def by_rest(visitor: Visitor, until: float) -> None:
    """Claim and submit until the time is up."""
    path = "/api/v1/assignments"
    while time.perf_counter() < until:
        status, _head, came = await visitor.send("next", "POST", f"{path}/next")
        if status != 200:
            return
        work = orjson.loads(came)
        visitor.given.append(f"{work['id']}:{work['fence']}")
        answers = {
            letter: {"rating": 5, "flags_complete": True, "tier": n // 2 + 1} for n, letter in enumerate(LETTERS)
        }
        body = {"fence": work["fence"], "completions": answers, "notes": str(work["id"])}
        status, _head, came = await visitor.send("submit", "POST", f"{path}/{work['id']}/submit", orjson.dumps(body))
        if status == 200:
            visitor.done.append(str(work["id"]))


def _posted(page: bytes) -> dict[str, str]:
    """Return the hidden fields of the page's form."""
    form = page[page.index(b'id="work"') :]
    names = (b"csrf_token", b"labeler", b"version", b"fence", b"key", b"active_seconds")
    found = ((name, re.search(rb'name="' + name + rb'" value="([^"]*)"', form)) for name in names)
    return {name.decode(): value[1].decode() for name, value in found if value}


async def by_pages(visitor: Visitor, until: float) -> None:
    """Open a task, rate all of it, rank, and submit, each by the page's own form."""
    kind = "application/x-www-form-urlencoded"
    _status, _head, desk = await visitor.send("desk", "GET", "/")
    token = re.search(rb'name="csrf_token" value="([^"]*)"', desk)
    begin = urlencode({"csrf_token": token[1].decode() if token else ""}).encode()
    _status, head, _came = await visitor.send("begin", "POST", "/assignments/next", begin, kind)
    while time.perf_counter() < until and (place := re.search(r"location: (/assignments/(\w+))", head)):
        url, id = place[1], place[2]
        _status, _head, page = await visitor.send("open", "GET", url)
        fields = _posted(page)
        visitor.given.append(f"{id}:{fields['fence']}")
        rated = {f"rating.{letter}": str(7 - n) for n, letter in enumerate(LETTERS)}
        rated |= {f"flags_complete.{letter}": "yes" for letter in LETTERS}
        body = urlencode(fields | rated | {"rated": "A", "do": "at:ranking"}).encode()
        status, head, _came = await visitor.send("rate", "POST", f"{url}/draft", body, kind)
        if status != 303:
            return
        _status, _head, page = await visitor.send("rank", "GET", re.search(r"location: (\S+)", head)[1])
        placed = {f"tier.{letter}": str(n + 1) for n, letter in enumerate(LETTERS)}
        body = urlencode(_posted(page) | placed | {"ranking": "1", "notes": id, "do": "hand_in"}).encode()
        status, head, _came = await visitor.send("submit", "POST", f"{url}/submit", body, kind)
        if status != 303:
            return
        visitor.done.append(id)


async def main(asked: dict) -> dict:
    """Let everybody work at once."""
    host, port = asked["url"].removeprefix("http://").split(":")
    visitors = [Visitor(host, int(port), headers) for headers in asked["visitors"]]
    work = by_pages if asked["way"] == "pages" else by_rest
    began = time.perf_counter()

    async def come(number: int, visitor: Visitor) -> None:
        await asyncio.sleep(ARRIVES_AFTER * number)
        await visitor.open()
        await work(visitor, began + asked["seconds"])

    await asyncio.gather(*(come(number, one) for number, one in enumerate(visitors)))
    seconds = time.perf_counter() - began
    took: dict[str, list[float]] = {}
    for one in visitors:
        for name, times in one.took.items():
            took.setdefault(name, []).extend(times)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": seconds,
        "client_seconds": used.ru_utime + used.ru_stime,
        "statuses": dict(sum((one.statuses for one in visitors), Counter())),
        "done": [id for one in visitors for id in one.done],
        "doubles": sum(n - 1 for n in Counter(key for one in visitors for key in one.given).values() if n > 1),
        "milliseconds": {name: percentiles(times) for name, times in took.items()},
    }


def percentiles(times: list[float]) -> dict[str, float]:
    """Return the median, 95th and 99th percentile in milliseconds."""
    ordered = sorted(times)
    return {f"p{n}": round(1000 * ordered[min(len(ordered) - 1, len(ordered) * n // 100)], 1) for n in (50, 95, 99)}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.load(sys.stdin)))))
