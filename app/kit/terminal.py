"""Output of commands: a table for people, or JSON for programs."""

import shutil
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import orjson
import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def show(rows: Sequence[dict], as_json: bool = False, otherwise: str = "Nothing yet.") -> None:
    """Print rows with the same keys as a table or a JSON list; print `otherwise` instead of an empty table."""
    if as_json:
        typer.echo(orjson.dumps(list(rows), option=orjson.OPT_INDENT_2, default=str).decode())
        return
    if not rows:
        typer.echo(otherwise)
        return
    names = list(rows[0])
    lines = [[name.replace("_", " ") for name in names], *([_cell(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    room = shutil.get_terminal_size((200, 24)).columns
    for line in lines:
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        typer.echo(text if len(text) <= room else text[: room - 1] + "…")


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
