"""The interface through which an action came in; the audit trail records it."""

from contextvars import ContextVar
from enum import StrEnum


class Surface(StrEnum):
    """The interface through which an action came in."""

    PAGE = "page"
    REST = "rest"
    COMMAND_LINE = "command_line"
    WORKER = "worker"  # Plumbline itself, in the background


current: ContextVar[Surface] = ContextVar("surface", default=Surface.COMMAND_LINE)  # set by requests and workers
