"""Ends the processes of `plumbline run` should it be killed: it reads their groups until its standard input closes.

Run as a script of its own, so that neither a signal to the launcher nor one to its terminal reaches it.
"""

import os
import signal
import sys
import time
from contextlib import suppress

GRACE_SECONDS = 5


def signal_groups(groups: set[int], number: int) -> None:
    """Send a signal to every process of these groups."""
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


def alive(groups: set[int]) -> bool:
    """Whether any of these groups has a process left; the dead that nobody has fetched do not count for long."""
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, 0)
            return True
    return False


def main() -> None:
    """Read "+group" and "-group" lines until the launcher is gone; then ask the groups to end, then make them."""
    groups: set[int] = set()
    for line in sys.stdin:
        change = groups.add if line[0] == "+" else groups.discard
        change(int(line[1:]))
    signal_groups(groups, signal.SIGTERM)
    until = time.monotonic() + GRACE_SECONDS
    while alive(groups) and time.monotonic() < until:
        time.sleep(0.1)
    signal_groups(groups, signal.SIGKILL)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    main()
