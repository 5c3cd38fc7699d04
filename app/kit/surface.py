"""By which door an act comes in; the audit trail keeps it."""

from contextvars import ContextVar
from enum import StrEnum


class Surface(StrEnum):
    """Where an action came from; a worker acts in the background."""

    PAGE = "page"
    REST = "rest"
    COMMAND_LINE = "command_line"
    WORKER = "worker"  # Plumbline by itself, in the background


current: ContextVar[Surface] = ContextVar("surface", default=Surface.COMMAND_LINE)  # requests and workers set it
