"""Ends the processes of `plumbline run` if the launcher is killed: it reads their groups until standard input closes.

It runs as a separate script, so that signals to the launcher or its terminal do not reach it.
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
    """Return whether any of these groups has a process left; zombies count only until they are reaped."""
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, 0)
            return True
    return False


def main() -> None:
    """Read "+group" and "-group" lines until the launcher has exited; then terminate the groups, and finally kill."""
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
