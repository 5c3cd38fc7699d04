"""Output of commands: a table for people, JSON for programs, and how far long work is."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
LINE_SECONDS = 10  # between lines about long work where there is no terminal
WIDE = 10_000  # columns where there is no terminal: nothing is cut


def show(rows: Sequence[dict], as_json: bool = False, otherwise: str = "Nothing yet.") -> None:
    """Print rows with the same keys as a table or a JSON list; print `otherwise` instead of an empty table."""
    if as_json:
        typer.echo(orjson.dumps(list(rows), option=orjson.OPT_INDENT_2, default=str).decode())
        return
    if not rows:
        typer.echo(otherwise)
        return
    table = Table(box=None, pad_edge=False, header_style="")
    for name in rows[0]:
        table.add_column(name.replace("_", " "), no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row.values()))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    with console.capture() as lines:
        console.print(table)
    typer.echo("\n".join(line.rstrip() for line in lines.get().splitlines()))


@contextmanager
def progress(what: str) -> Iterator[Callable[[float, str], None]]:
    """Show on standard error how far long work is and how long it will take; plain lines where there is no terminal.

    Yield a function that takes the share of the work that is done (0 to 1; 0 while it is not known) and a note.
    """
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _lines(what)
        return
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)

        def watch(share: float, note: str) -> None:
            said = f"{what}: {note}" if note else what
            bar.update(task, total=1 if share else None, completed=share, description=said)

        yield watch


def _lines(what: str) -> Callable[[float, str], None]:
    """Return a function that prints a line from time to time."""
    printed = time.monotonic()

    def watch(share: float, note: str) -> None:
        nonlocal printed
        if time.monotonic() - printed >= LINE_SECONDS:
            printed = time.monotonic()
            done = f"{share:.0%}" if share else "working"
            typer.echo(f"{what}: {note + ', ' if note else ''}{done}", err=True)

    return watch


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple | set):
        return ", ".join(map(str, value))
    return " ".join(str(value).split())
