"""Reading files of prompts row by row: JSON Lines or CSV, plain or gzipped, every row with its line number."""

import csv
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import orjson

from app.errors import BadInput
from app.i18n import gettext as _
from app.prompts.messages import canonical, clean_text
from app.prompts.schemas import Problem
from training.records import Message

MAX_LINE_BYTES = 20_000_000
csv.field_size_limit(MAX_LINE_BYTES)


@dataclass(frozen=True)
class Row:
    """One row of a file: its values, or what is wrong with it as a whole."""

    line: int
    values: Mapping[str, object] | None = None
    problem: Problem | None = None


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked if it is gzipped."""
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        yield gzip.GzipFile(fileobj=raw) if zipped else raw


def is_csv(name: str) -> bool:
    """Whether a file's name says CSV; anything else is read as JSON Lines."""
    return name.lower().removesuffix(".gz").endswith(".csv")


def rows(path: Path, *, as_csv: bool) -> Iterator[Row]:
    """Every row of a file, bad ones too; blank lines are passed over."""
    with opened(path) as file:
        lines = _lines(file)
        try:
            yield from _csv_rows(lines) if as_csv else _json_rows(lines)
        except (gzip.BadGzipFile, EOFError) as error:
            raise BadInput(_("The file is cut off or not gzip: %(error)s. Get it anew.") % {"error": error}) from error


def _lines(file: IO[bytes]) -> Iterator[tuple[int, str | None]]:
    """(number, text) of each line; None where it is not UTF-8 or far too long."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES):
        number += 1
        whole = line.endswith(b"\n") or len(line) < MAX_LINE_BYTES
        while not whole:
            rest = file.readline(MAX_LINE_BYTES)
            whole = rest.endswith(b"\n") or not rest
            line = b"\xff"
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            yield number, None


def _unreadable(line: int) -> Row:
    return Row(
        line, problem=Problem(line, "line", _("The line is not UTF-8, or longer than 20 MB; save the file as UTF-8."))
    )


def _json_rows(lines: Iterable[tuple[int, str | None]]) -> Iterator[Row]:
    for number, line in lines:
        if line is None:
            yield _unreadable(number)
            continue
        if not line.strip():
            continue
        try:
            values = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            if number == 1 and line.lstrip().startswith("["):
                raise BadInput(
                    _("The file is one JSON array; write one object per line instead, e.g. with: jq -c '.[]' FILE")
                ) from error
            yield Row(
                number,
                problem=Problem(number, "line", _("Not JSON: %(error)s. One object per line.") % {"error": error}),
            )
            continue
        if isinstance(values, list) and number == 1:
            raise BadInput(
                _("The file is one JSON array; write one object per line instead, e.g. with: jq -c '.[]' FILE")
            )
        if not isinstance(values, dict):
            yield Row(number, problem=Problem(number, "line", _('The line is not an object; write {"prompt": ...}.')))
            continue
        yield Row(number, values)


def _csv_rows(lines: Iterable[tuple[int, str | None]]) -> Iterator[Row]:
    broken: list[int] = []

    def texts() -> Iterator[str]:
        for number, line in lines:
            if line is None:
                broken.append(number)
            yield line or "\n"

    reader = csv.reader(texts(), strict=True)
    header: list[str] | None = None
    line = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(line, problem=Problem(line, "line", _("Not CSV: %(error)s.") % {"error": error}))
            line = reader.line_num + 1
            continue
        first, line = line, reader.line_num + 1
        if broken:
            yield from (_unreadable(number) for number in broken)
            broken.clear()
            continue
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = [name.strip() for name in cells]
            if len(set(header)) < len(header):
                raise BadInput(
                    _("The first line of a CSV names the columns; here a name stands twice: %(names)s")
                    % {"names": ", ".join(header)}
                )
            continue
        if len(cells) != len(header):
            message = _("%(n)d values for %(m)d columns; put values with commas or line breaks in double quotes.")
            yield Row(first, problem=Problem(first, "line", message % {"n": len(cells), "m": len(header)}))
            continue
        yield Row(first, {name: cell for name, cell in zip(header, cells, strict=True) if cell.strip()})


def prompts_of(values: Mapping[str, object]) -> list[tuple[Message, ...]]:
    """The prompts a row asks: `messages`, or `instruction` with `input` (or `instances`), or `prompt`.

    Rows of base models often hold both an instruction and a prompt made from it ("...Output:"): the instruction counts.
    """
    if values.get("messages") is not None:
        return [canonical(_parsed(values["messages"]))]
    if values.get("instruction") is not None:
        instruction = clean_text(values["instruction"], "instruction")
        instances = values.get("instances")
        if instances is None:
            return [_instructed(instruction, values.get("input"), "input")]
        if not isinstance(instances, list) or not all(isinstance(one, Mapping) for one in instances) or not instances:
            raise BadInput(_("instances must be a list of {input, output}."), field="instances")
        return [_instructed(instruction, one.get("input"), f"instances.{n}.input") for n, one in enumerate(instances)]
    if values.get("prompt") is not None:
        prompt = values["prompt"]
        if isinstance(prompt, list):
            return [canonical(prompt)]
        return [(Message(role="user", text=clean_text(prompt, "prompt")),)]
    raise BadInput(
        _("No prompt: a row needs prompt, messages, or instruction (with input). It has: %(keys)s.")
        % {"keys": ", ".join(values) or "nothing"},
        field="prompt",
    )


def _instructed(instruction: str, given: object, field: str) -> tuple[Message, ...]:
    if given is None or (isinstance(given, str) and not given.strip()):
        return (Message(role="user", text=instruction),)
    return (Message(role="user", text=f"{instruction}\n\n{clean_text(given, field)}"),)


def _parsed(messages: object) -> object:
    """The messages themselves, or those in a CSV cell."""
    if not isinstance(messages, str):
        return messages
    try:
        return json.loads(messages)
    except ValueError as error:
        raise BadInput(_("messages is not JSON: %(error)s.") % {"error": error}, field="messages") from error
