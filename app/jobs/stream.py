"""Live updates of a job: each process reads its state once a second, however many viewers follow it."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import anyio
from anyio.to_thread import run_sync

from app.database import reading
from app.jobs import queries
from app.jobs.queries import JobStatus
from app.jobs.rules import OVER

POLL_SECONDS = 1.0


@dataclass
class _Shared:
    """State shared by the viewers of one job: the first one reads, the others reuse what it read."""

    lock: anyio.Lock = field(default_factory=anyio.Lock)
    viewers: int = 0
    read_at: float = 0.0  # monotonic seconds
    standing: JobStatus | None = None


_shared: dict[int, _Shared] = {}


async def follow(job_id: int) -> AsyncIterator[JobStatus]:
    """Yield the job's state at first and after each change, until the job has ended."""
    shared = _shared.setdefault(job_id, _Shared())
    shared.viewers += 1
    seen = None
    try:
        while True:
            async with shared.lock:
                if shared.standing is None or time.monotonic() - shared.read_at >= POLL_SECONDS:
                    shared.standing = await run_sync(_read, job_id)
                    shared.read_at = time.monotonic()
                standing = shared.standing
            if standing != seen:
                seen = standing
                yield standing
                if standing.state in OVER:
                    return
            await anyio.sleep(POLL_SECONDS)
    finally:
        shared.viewers -= 1
        if not shared.viewers:
            _shared.pop(job_id, None)


def _read(job_id: int) -> JobStatus:
    with reading() as session:
        return queries.job_status(session, job_id)
