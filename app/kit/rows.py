"""Reads a file row by row: JSON Lines, a JSON array or CSV; every row with its line, including bad ones.

A row is either exactly its content or a problem with its line. If a broken quote makes the rows of a CSV ambiguous,
the whole file is rejected.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from app.errors import BadInput
from app.kit.csv_rows import csv_rows
from app.kit.files import opened
from app.kit.given import BadRow, Row
from app.kit.i18n import gettext as _
from app.kit.json_rows import json_rows


def is_csv(name: str) -> bool:
    """Return whether the file name ends in .csv or .csv.gz; any other file is read as JSON."""
    return name.lower().removesuffix(".gz").endswith(".csv")


def rows(path: Path, *, as_csv: bool, watch: Callable[[float], object] | None = None) -> Iterator[Row | BadRow]:
    """Yield every row of a file, including bad ones; raise BadInput if the file cannot be read or has no rows."""
    with opened(path, watch) as source:
        found = csv_rows(source) if as_csv else json_rows(source)
        first = next(found, None)
        if first is None:
            raise BadInput(
                _("The file has column names but no rows; is it the right one?")
                if as_csv and source.start.strip()
                else _("The file is empty; is it the right one?")
            )
        yield first
        yield from found
