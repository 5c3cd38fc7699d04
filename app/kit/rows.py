"""Reading a file row by row: JSON Lines, a JSON array or CSV; every row with its line, the bad ones too.

A row is what it says or a problem with its line, never something else: where a broken quote makes it unknown what a
row of a CSV is, the whole file is refused.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from app.errors import BadInput
from app.i18n import gettext as _
from app.kit.files import MAX_LINE_BYTES, Line, Source, opened

MEGABYTES = MAX_LINE_BYTES // 1_000_000
NAME_CHARACTERS, MOST_NAMED = 60, 20  # of fields, in messages
csv.field_size_limit(2 * MAX_LINE_BYTES)
_TOKEN = re.compile(rb'\\.|["\[\]{},\n]', re.DOTALL)


@dataclass(frozen=True)
class Problem:
    """What is wrong in one row of a file, in which field, and how to mend it."""

    line: int
    field: str
    message: str


class Given(Mapping[str, object]):
    """The values of a row; it knows which were looked at, so that nothing is passed over without a word.

    In a CSV (`cells`) every value is text; one that holds messages or an object holds them as JSON.
    """

    def __init__(self, values: Mapping[str, object], *, cells: bool = False):
        self.values_, self.cells, self.used = values, cells, set()
        self.inner: dict[str, Given] = {}

    def __getitem__(self, field: str) -> object:
        self.used.add(field)
        return self.values_[field]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)

    def peek(self, field: str) -> object:
        """Return a value that may mean something else; looking at it does not count."""
        return self.values_.get(field)

    def replaced(self, values: Mapping[str, object]) -> "Given":
        """Return the same row with other values in some fields; what is looked at there counts here too."""
        made = Given({**self.values_, **values}, cells=self.cells)
        made.used, made.inner = self.used, self.inner
        return made

    def named(self) -> str:
        """Return the names of the fields, as many and as much of them as a message can hold."""
        names = [name if len(name) <= NAME_CHARACTERS else name[: NAME_CHARACTERS - 1] + "…" for name in self.values_]
        return ", ".join(names[:MOST_NAMED]) + (", …" if len(names) > MOST_NAMED else "")

    def within(self, field: str, values: Mapping[str, object]) -> "Given":
        """Return the object that a field holds; what is not looked at in it is not used in the row either."""
        self.used.add(field)
        made = self.inner[field] = Given(values)
        return made

    def unused(self) -> list[str]:
        """Fields that hold something and were never looked at."""
        names = [name for name, value in self.values_.items() if name not in self.used and value not in (None, "")]
        names += [f"{field}.{name}" for field, inner in self.inner.items() for name in inner.unused()]
        return [name[:NAME_CHARACTERS] for name in names[:MOST_NAMED]]

    def structured(self, field: str) -> object:
        """Return a value that is a list or an object; the cell of a CSV holds it as JSON."""
        value = self.get(field)
        if not self.cells or not isinstance(value, str):
            return value
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise BadInput(
                _("%(field)s is not JSON: %(error)s.") % {"field": field, "error": error}, field=field
            ) from error

    def text_or_messages(self, field: str) -> object:
        """Return a value that is a text or a list of messages; any other text of a cell is that text."""
        value = self.get(field)
        if self.cells and isinstance(value, str) and value.lstrip().startswith("[{"):
            try:
                parsed = orjson.loads(value)
            except orjson.JSONDecodeError:
                return value
            if all(isinstance(one, dict) and one.keys() & {"role", "from"} for one in parsed):
                return parsed
        return value


@dataclass(frozen=True)
class Row:
    """One row of a file: its values, or what is wrong with it as a whole."""

    line: int
    values: Given | None = None
    problem: Problem | None = None
    size_bytes: int = 0


def is_csv(name: str) -> bool:
    """Whether a file's name says CSV; anything else is read as JSON."""
    return name.lower().removesuffix(".gz").endswith(".csv")


def rows(path: Path, *, as_csv: bool) -> Iterator[Row]:
    """Yield every row of a file, bad ones too; BadInput where the file as a whole cannot be read, or holds no row."""
    with opened(path) as source:
        if as_csv:
            found = _csv_rows(source)
        elif source.start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
            found = map(_json_row, _elements(source))
        else:
            found = map(_json_row, _lines_of_objects(source))
        first = next(found, None)
        if first is None:
            raise BadInput(
                _("The file names its columns and holds no row; is it the right one?")
                if as_csv and source.start.strip()
                else _("The file is empty; is it the right one?")
            )
        yield first
        yield from found


def _problem(line: int, message: str, size_bytes: int = 0) -> Row:
    return Row(line, problem=Problem(line, "line", message), size_bytes=size_bytes)


def _too_long(line: int) -> Row:
    return _problem(line, _("The row is longer than %(n)d MB; split it, or leave it out.") % {"n": MEGABYTES})


# --- JSON ---


def _lines_of_objects(source: Source) -> Iterator[Line]:
    for line in source.lines():
        if line.text is None or line.text.strip():
            if line.text is not None and line.text.strip() == b"{":
                raise BadInput(
                    _("Line %(n)d begins an object that goes over several lines; write one object per line, e.g. with: "
                      "jq -c . FILE") % {"n": line.number}
                )  # fmt: skip
            yield line


def _json_row(line: Line) -> Row:
    if line.text is None:
        return _too_long(line.number)
    size = len(line.text)
    if twice := _name_given_twice(line.text):
        message = _("The name “%(name)s” stands twice in one object; keep one.") % {"name": twice[:NAME_CHARACTERS]}
        return _problem(line.number, message, size)
    try:
        values = orjson.loads(line.text)
    except orjson.JSONDecodeError as error:
        return _problem(line.number, _not_json(line.text, error), size)
    if not isinstance(values, dict):
        return _problem(line.number, _('The row is not an object; write {"prompt": ...}.'), size)
    return Row(line.number, Given(values), size_bytes=size)


class _Twice(Exception):
    """A name stands twice in an object."""


def _name_given_twice(text: bytes) -> str:
    """A name that an object of this JSON has twice, of which parsers take one without a word; "" if there is none."""

    def check(pairs: list[tuple[str, object]]) -> None:
        if len(pairs) > len({name for name, _value in pairs}):
            raise _Twice(next(name for name, count in Counter(name for name, _value in pairs).items() if count > 1))

    try:
        json.loads(text, object_pairs_hook=check, parse_int=len, parse_float=len)
    except _Twice as error:
        return str(error)
    except (ValueError, RecursionError):  # no JSON, or nested deeper than messages and texts are
        return ""
    return ""


def _not_json(text: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        text.decode()
    except UnicodeDecodeError:
        return _("The row is not UTF-8; save the file as UTF-8.")
    if found := re.search(rb"[:\[,]\s*-?(NaN|Infinity)\b", text):
        return _("%(word)s is not JSON; write null in its place.") % {"word": found[1].decode()}
    return _("Not JSON: %(error)s. Write one object per line.") % {"error": error}


def _elements(source: Source) -> Iterator[Line]:
    """Cut a JSON array at the commas between its elements; each comes with the line that it begins in."""
    depth, in_string, closed = 0, False, False
    line = began = 1
    element, too_long = bytearray(), False
    for data in _whole_escapes(source.chunks()):
        taken = 0  # what is before it in `data` belongs to no element, or to one that was yielded
        for token in _TOKEN.finditer(data):
            mark = token[0]
            if mark == b"\n":
                line += 1
            elif in_string or mark == b'"':
                in_string = mark != b'"' if in_string else True
            elif mark in b"[{":
                depth += 1
                if depth == 1:
                    taken, began = token.end(), line
            elif depth == 1 or (mark != b"," and depth > 1):
                depth -= mark != b","
                if depth > 1 or (depth == 1 and mark != b","):
                    continue
                element += data[taken : token.start()]
                taken = token.end()
                blank = len(element) - len(element.lstrip())
                if too_long or element.strip() or depth == 1:
                    yield Line(began + element.count(b"\n", 0, blank), None if too_long else bytes(element))
                element, too_long, began, closed = bytearray(), False, line, depth == 0
                if closed:
                    if mark != b"]":
                        raise BadInput(
                            _("The array ends with %(mark)s in line %(n)d; it must end with ].")
                            % {"mark": mark.decode(), "n": line}
                        )
                    break
        if closed and data[taken:].strip():
            raise BadInput(
                _("Something follows the array that ends in line %(n)d; write one array, or one object per line.")
                % {"n": began}
            )
        element += data[taken:]
        if len(element) > MAX_LINE_BYTES:
            if not too_long:
                began += element.count(b"\n", 0, len(element) - len(element.lstrip()))
            element, too_long = bytearray(), True
    if not closed:
        raise BadInput(
            _("The array is never closed: a quote or a bracket is missing in the element of line %(n)d, or after it.")
            % {"n": began}
        )


def _whole_escapes(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes, cut so that no backslash is parted from what it escapes."""
    held = b""
    for chunk in chunks:
        data = held + chunk
        odd = (len(data) - len(data.rstrip(b"\\"))) % 2
        held = data[len(data) - odd :]
        yield data[: len(data) - odd]


# --- CSV ---


def _csv_rows(source: Source) -> Iterator[Row]:
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
            yield _problem(line, _("The row repeats the names of the columns; remove it."), size)
            continue
        if any("\udc80" <= letter <= "\udcff" for cell in cells for letter in cell if letter > "\ud7ff"):
            yield _problem(line, _("The row is not UTF-8; save the file as UTF-8."), size)
        elif len(cells) < len(names) or any(cell.strip() for cell in cells[len(names) :]):
            message = _("%(n)d values for %(m)d columns; put values with commas or line breaks in double quotes.")
            yield _problem(line, message % {"n": len(cells), "m": len(names)}, size)
        elif stray := [place for place, name in enumerate(names) if not name and cells[place].strip()]:
            message = _("Value %(n)d, “%(value)s”, is in a column without a name; name the column or remove it.")
            yield _problem(line, message % {"n": stray[0] + 1, "value": cells[stray[0]][:40]}, size)
        else:
            values = {names[place]: cells[place] for place in columns if cells[place].strip()}
            yield Row(line, Given(values, cells=True), size_bytes=size)


def _check_separator(start: bytes) -> None:
    """Refuse a table whose first line, what is quoted in it aside, has no comma and another separator."""
    first = start.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n", 1)[0].decode(errors="replace").strip()
    if re.fullmatch(r"sep=.", first):
        raise BadInput(_("The first line, %(line)s, is for Excel; remove it, and separate the columns by commas.")
                       % {"line": first})  # fmt: skip
    bare = re.sub(r'"[^"]*"', "", first)
    for separator, word in ((";", _("semicolons")), ("\t", _("tabs")), ("|", _("bars"))):
        if "," not in bare and separator in bare:
            raise BadInput(
                _("The columns are separated by %(word)s; save the file with commas: %(line)s")
                % {"word": word, "line": first[:80]}
            )


class _Table:
    """A CSV read row by row with the line that each begins in; what cannot be cut into rows is refused as a whole."""

    def __init__(self, source: Source):
        self.line = 0  # the line last read
        self.began = 1  # of the row being read
        self.size = 0  # of the row being read, in bytes
        self.lines = _every_line(source)
        self.reader = csv.reader(self._texts(), strict=True)

    def _texts(self) -> Iterator[str]:
        for line in self.lines:
            self.line = line.number
            self.size += len(line.text or b"") + 1
            if line.text is None or self.size > MAX_LINE_BYTES:
                raise BadInput(
                    _("The row that begins in line %(n)d is longer than %(most)d MB; is a quote in it never closed?")
                    % {"n": self.began, "most": MEGABYTES}
                )
            yield line.text.decode("utf-8", "surrogateescape") + "\n"

    def next_row(self) -> tuple[int, list[str]] | None:
        """(the line that it begins in, its cells), None at the end; blank lines are rows without cells."""
        self.began, self.size = self.line + 1, 0
        try:
            return self.began, next(self.reader)
        except StopIteration:
            return None
        except csv.Error as error:
            raise BadInput(self._broken(error)) from error

    def _broken(self, error: csv.Error) -> str:
        if "end of data" in str(error):
            return _("The quote that opens in the row of line %(n)d is never closed; close it, or double the quotes "
                     "that belong to the text.") % {"n": self.began}  # fmt: skip
        if "new-line" in str(error):
            return _("In line %(n)d a value holds a carriage return without quotes; quote the value, or remove it.") % {
                "n": self.line
            }
        return _(
            "In line %(n)d, in the row that begins in line %(began)d, something follows a closing quote (%(error)s); "
            "quotes within a quoted value are doubled. What rows come after it cannot be told, so nothing was read."
        ) % {"n": self.line, "began": self.began, "error": error}

    def header(self) -> list[str]:
        """The names of the columns; those of spare commas are empty."""
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
                _("The first line of a CSV names the columns; here a name stands twice: %(names)s")
                % {"names": ", ".join(twice)}
            )
        return names


def _every_line(source: Source) -> Iterator[Line]:
    """All lines, the empty ones too: they may be within a cell."""
    number = 0
    for line in source.lines():
        yield from (Line(empty, b"") for empty in range(number + 1, line.number))
        number = line.number
        yield line
