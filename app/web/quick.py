"""Two threads for the requests of the desk: one works while the other waits for the database.

Each request is short, and more threads would only wait for the interpreter.

Everything else keeps the framework's forty threads, so that no suggestion or export holds up a labeler.
"""

from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

THREADS = 2
P = ParamSpec("P")
R = TypeVar("R")
_threads: RunVar[CapacityLimiter] = RunVar("quick_threads")


def quick(handler: Callable[P, R]) -> Callable[P, Awaitable[R]]:
    """Let a handler that only asks the database run on the few threads."""

    @wraps(handler)
    async def run(*args: P.args, **kwargs: P.kwargs) -> R:
        return await run_quickly(partial(handler, *args, **kwargs))

    return run


async def run_quickly(act: Callable[[], R]) -> R:
    """Call `act` on one of the few threads."""
    try:
        limiter = _threads.get()
    except LookupError:
        limiter = CapacityLimiter(THREADS)
        _threads.set(limiter)
    return await to_thread.run_sync(act, limiter=limiter)
