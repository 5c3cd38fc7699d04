"""Reading a file row by row: JSON Lines, a JSON array or CSV; every row with its line, the bad ones too.

A row is what it says or a problem with its line, never something else: where a broken quote makes it unknown what a
row of a CSV is, the whole file is refused.
"""

from collections.abc import Iterator
from pathlib import Path

from app.errors import BadInput
from app.kit.csv_rows import csv_rows
from app.kit.files import opened
from app.kit.given import Row
from app.kit.i18n import gettext as _
from app.kit.json_rows import json_rows


def is_csv(name: str) -> bool:
    """Whether a file's name says CSV; anything else is read as JSON."""
    return name.lower().removesuffix(".gz").endswith(".csv")


def rows(path: Path, *, as_csv: bool) -> Iterator[Row]:
    """Yield every row of a file, bad ones too; BadInput where the file as a whole cannot be read, or holds no row."""
    with opened(path) as source:
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
