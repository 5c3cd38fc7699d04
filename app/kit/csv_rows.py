"""Rows of a CSV file, each with the line on which it begins; a broken quote rejects the whole file."""

import csv
import re
from collections import Counter
from collections.abc import Iterator

from app.errors import BadInput
from app.kit.files import MAX_LINE_BYTES, MAX_LINE_MB, Line, Source
from app.kit.given import BadRow, Given, Row, bad_row
from app.kit.i18n import gettext as _

csv.field_size_limit(2 * MAX_LINE_BYTES)


def csv_rows(source: Source) -> Iterator[Row | BadRow]:
    """Yield every row, including bad ones; raise BadInput if the file cannot be split into rows."""
    _check_separator(source.start)
    table = _Table(source)
    names = table.header()
    columns = [place for place, name in enumerate(names) if name]
    while (row := table.next_row()) is not None:
        line, cells = row
        if not any(cell.strip() for cell in cells):
            continue
        size = table.size
        if [cell.strip() for cell in cells] == names:
            yield bad_row(line, _("The row repeats the names of the columns; remove it."), size)
            continue
        if any("\udc80" <= letter <= "\udcff" for cell in cells for letter in cell if letter > "\ud7ff"):
            yield bad_row(line, _("The row is not UTF-8; save the file as UTF-8."), size)
        elif len(cells) < len(names) or any(cell.strip() for cell in cells[len(names) :]):
            message = _("%(n)d values for %(m)d columns; put values with commas or line breaks in double quotes.")
            yield bad_row(line, message % {"n": len(cells), "m": len(names)}, size)
        elif stray := [place for place, name in enumerate(names) if not name and cells[place].strip()]:
            message = _("Value %(n)d, “%(value)s”, is in a column without a name; name the column or remove it.")
            yield bad_row(line, message % {"n": stray[0] + 1, "value": cells[stray[0]][:40]}, size)
        else:
            values = {names[place]: cells[place] for place in columns if cells[place].strip()}
            yield Row(line, Given(values, cells=True), size_bytes=size)


def _check_separator(start: bytes) -> None:
    """Raise BadInput if the first line, ignoring quoted text, has another separator and no comma."""
    first = start.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n", 1)[0].decode(errors="replace").strip()
    if re.fullmatch(r"sep=.", first):
        raise BadInput(_("The first line, %(line)s, is for Excel; remove it, and separate the columns with commas.")
                       % {"line": first})  # fmt: skip
    bare = re.sub(r'"[^"]*"', "", first)
    for separator, word in ((";", _("semicolons")), ("\t", _("tabs")), ("|", _("vertical bars"))):
        if "," not in bare and separator in bare:
            raise BadInput(
                _("The columns are separated by %(word)s; save the file with commas: %(line)s")
                % {"word": word, "line": first[:80]}
            )


class _Table:
    """A CSV read row by row, with the line on which each row begins; raises BadInput if it has no clear rows."""

    def __init__(self, source: Source):
        self.line = 0  # the line read last
        self.began = 1  # first line of the current row
        self.size = 0  # of the current row, in bytes
        self.lines = _every_line(source)
        self.reader = csv.reader(self._texts(), strict=True)

    def _texts(self) -> Iterator[str]:
        for line in self.lines:
            self.line = line.number
            self.size += len(line.text or b"") + 1
            if line.text is None or self.size > MAX_LINE_BYTES:
                raise BadInput(
                    _("The row that begins on line %(n)d is longer than %(most)d MB; is a quote in it never closed?")
                    % {"n": self.began, "most": MAX_LINE_MB}
                )
            yield line.text.decode("utf-8", "surrogateescape") + "\n"

    def next_row(self) -> tuple[int, list[str]] | None:
        """Return (first line, cells) of the next row, or None at the end; a blank line is a row without cells."""
        self.began, self.size = self.line + 1, 0
        try:
            return self.began, next(self.reader)
        except StopIteration:
            return None
        except csv.Error as error:
            raise BadInput(self._broken(error)) from error

    def _broken(self, error: csv.Error) -> str:
        if "end of data" in str(error):
            return _("The quote that opens in the row on line %(n)d is never closed; close it, or double the quotes "
                     "that belong to the text.") % {"n": self.began}  # fmt: skip
        if "new-line" in str(error):
            return _(
                "On line %(n)d, a value without quotes has a carriage return; quote the value, or remove the return."
            ) % {"n": self.line}
        return _(
            "On line %(n)d, in the row that begins on line %(began)d, something follows a closing quote (%(error)s). "
            "Double the quotes within a quoted value. The rows after it cannot be determined, so nothing was read."
        ) % {"n": self.line, "began": self.began, "error": error}

    def header(self) -> list[str]:
        """Return the column names; surplus commas give empty names."""
        cells: list[str] = []
        while not any(cell.strip() for cell in cells):
            row = self.next_row()
            if row is None:
                return []
            _line, cells = row
        if any("\udc80" <= letter <= "\udcff" for cell in cells for letter in cell):
            raise BadInput(_("The first line, which names the columns, is not UTF-8; save the file as UTF-8."))
        names = [name.strip() for name in cells]
        while names and not names[-1]:
            names.pop()
        if twice := [name for name, count in Counter(filter(None, names)).items() if count > 1]:
            raise BadInput(
                _("The first line of a CSV names the columns; here a name appears twice: %(names)s")
                % {"names": ", ".join(twice)}
            )
        return names


def _every_line(source: Source) -> Iterator[Line]:
    """Yield all lines, including empty ones, because they may be part of a cell."""
    number = 0
    for line in source.lines():
        yield from (Line(empty, b"") for empty in range(number + 1, line.number))
        number = line.number
        yield line
