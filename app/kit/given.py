"""One row of a file: its values, tracked so that none is silently ignored, or the problem with it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import orjson

from app.errors import BadInput
from app.kit.files import MAX_LINE_MB
from app.kit.i18n import gettext as _

NAME_CHARACTERS, MOST_NAMED = 60, 20  # of field names in messages


@dataclass(frozen=True)
class Problem:
    """A problem in one row of a file: its line, its field and the fix."""

    line: int
    field: str
    message: str


class Given(Mapping[str, object]):
    """The values of a row; it tracks which were read, so that none is silently ignored.

    In a CSV (`cells`) every value is text; messages and objects are written as JSON in their cell.
    """

    def __init__(self, values: Mapping[str, object], *, cells: bool = False):
        self.values_, self.cells = values, cells
        self.used: set[str] = set()
        self.inner: dict[str, Given] = {}

    def __getitem__(self, field: str) -> object:
        self.used.add(field)
        return self.values_[field]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)

    def peek(self, field: str) -> object:
        """Return a value without marking it as used, because it may mean something else."""
        return self.values_.get(field)

    def replaced(self, values: Mapping[str, object]) -> "Given":
        """Return the same row with other values in some fields; usage is shared with the original."""
        made = Given({**self.values_, **values}, cells=self.cells)
        made.used, made.inner = self.used, self.inner
        return made

    def named(self) -> str:
        """Return the field names, limited in number and length to fit a message."""
        names = [name if len(name) <= NAME_CHARACTERS else name[: NAME_CHARACTERS - 1] + "…" for name in self.values_]
        return ", ".join(names[:MOST_NAMED]) + (", …" if len(names) > MOST_NAMED else "")

    def within(self, field: str, values: Mapping[str, object]) -> "Given":
        """Return the object that a field holds; its unused fields count as unused in the row too."""
        self.used.add(field)
        made = self.inner[field] = Given(values)
        return made

    def unused(self) -> list[str]:
        """Return the fields that have a value but were never read."""
        names = [name for name, value in self.values_.items() if name not in self.used and value not in (None, "")]
        names += [f"{field}.{name}" for field, inner in self.inner.items() for name in inner.unused()]
        return [name[:NAME_CHARACTERS] for name in names[:MOST_NAMED]]

    def structured(self, field: str) -> object:
        """Return a value that is a list or an object; a CSV cell holds it as JSON. Raise BadInput if it is not JSON."""
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
        """Return a value that is a text or a list of messages; a CSV cell holds such a list as JSON."""
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
    """One row of a file."""

    line: int
    values: Given
    size_bytes: int = 0


@dataclass(frozen=True)
class BadRow:
    """One row of a file that is rejected as a whole."""

    problem: Problem
    size_bytes: int = 0


def bad_row(line: int, message: str, size_bytes: int = 0) -> BadRow:
    """Return a row that is rejected as a whole."""
    return BadRow(Problem(line, "line", message), size_bytes)


def too_long_row(line: int) -> BadRow:
    """Return a rejected row for one that exceeds the length limit."""
    return bad_row(line, _("The row is longer than %(n)d MB; split it, or leave it out.") % {"n": MAX_LINE_MB})
