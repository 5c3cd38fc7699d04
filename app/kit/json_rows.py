"""Rows of JSON Lines or of one JSON array: each an object, with the line on which it begins."""

import json
import re
from collections import Counter
from collections.abc import Iterator

import orjson

from app.errors import BadInput
from app.kit.files import MAX_LINE_BYTES, Line, Source
from app.kit.given import NAME_CHARACTERS, BadRow, Given, Row, bad_row, too_long_row
from app.kit.i18n import gettext as _

_TOKEN = re.compile(rb'\\.|["\[\]{},\n]', re.DOTALL)


def json_rows(source: Source) -> Iterator[Row | BadRow]:
    """Yield every row, including bad ones; raise BadInput if the file cannot be split into rows."""
    array = source.start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
    return map(_json_row, _elements(source) if array else _lines_of_objects(source))


def _lines_of_objects(source: Source) -> Iterator[Line]:
    for line in source.lines():
        if line.text is None or line.text.strip():
            if line.text is not None and line.text.strip() == b"{":
                raise BadInput(
                    _("Line %(n)d begins an object that spans several lines; write one object per line, e.g. with: "
                      "jq -c . FILE") % {"n": line.number}
                )  # fmt: skip
            yield line


def _json_row(line: Line) -> Row | BadRow:
    if line.text is None:
        return too_long_row(line.number)
    size = len(line.text)
    if twice := _name_given_twice(line.text):
        message = _("The name “%(name)s” appears twice in one object; keep one.") % {"name": twice[:NAME_CHARACTERS]}
        return bad_row(line.number, message, size)
    try:
        values = orjson.loads(line.text)
    except orjson.JSONDecodeError as error:
        return bad_row(line.number, _not_json(line.text, error), size)
    if not isinstance(values, dict):
        return bad_row(line.number, _('The row is not an object; write {"prompt": ...}.'), size)
    return Row(line.number, Given(values), size_bytes=size)


class _Twice(Exception):
    """Raised if a name appears twice in an object."""


def _name_given_twice(text: bytes) -> str:
    """Return a name that appears twice in an object, because parsers silently keep one value; "" if none does."""

    def check(pairs: list[tuple[str, object]]) -> None:
        if len(pairs) > len({name for name, _value in pairs}):
            raise _Twice(next(name for name, count in Counter(name for name, _value in pairs).items() if count > 1))

    try:
        json.loads(text, object_pairs_hook=check, parse_int=len, parse_float=len)
    except _Twice as error:
        return str(error)
    except (ValueError, RecursionError):  # not JSON, or nested deeper than messages and texts are
        return ""
    return ""


def _not_json(text: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        text.decode()
    except UnicodeDecodeError:
        return _("The row is not UTF-8; save the file as UTF-8.")
    if found := re.search(rb"[:\[,]\s*-?(NaN|Infinity)\b", text):
        return _("%(word)s is not JSON; write null instead.") % {"word": found[1].decode()}
    return _("Not JSON: %(error)s. Write one object per line.") % {"error": error}


def _elements(source: Source) -> Iterator[Line]:
    """Split a JSON array at the commas between its elements; yield each with the line on which it begins."""
    depth, in_string, closed = 0, False, False
    line = began = 1
    element, too_long = bytearray(), False
    for data in _whole_escapes(source.chunks()):
        taken = 0  # bytes of `data` before it belong to no element, or to one already yielded
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
                            _("The array ends with %(mark)s on line %(n)d; it must end with ].")
                            % {"mark": mark.decode(), "n": line}
                        )
                    break
        if closed and data[taken:].strip():
            raise BadInput(
                _("Something follows the array that ends on line %(n)d; write one array, or one object per line.")
                % {"n": began}
            )
        element += data[taken:]
        if len(element) > MAX_LINE_BYTES:
            if not too_long:
                began += element.count(b"\n", 0, len(element) - len(element.lstrip()))
            element, too_long = bytearray(), True
    if not closed:
        raise BadInput(
            _("The array is never closed: a quote or a bracket is missing in the element on line %(n)d, or after it.")
            % {"n": began}
        )


def _whole_escapes(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same bytes, split so that no backslash is separated from the character that it escapes."""
    held = b""
    for chunk in chunks:
        data = held + chunk
        odd = (len(data) - len(data.rstrip(b"\\"))) % 2
        held = data[len(data) - odd :]
        yield data[: len(data) - odd]
