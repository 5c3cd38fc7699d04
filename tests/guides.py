"""The parts of README and docs/ that tests try: blocks, command lines, requests, words of tables."""

import re
import shlex
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import typer
from typer.main import get_command

from app.cli import cli
from app.config import ROOT
from app.jobs.tables import JobVerb

GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
METHODS = "GET|POST|PUT|PATCH|DELETE"


class Block(NamedTuple):
    """A fenced or indented block; an indented one has no language."""

    language: str
    text: str
    line: int


def blocks(path: Path) -> list[Block]:
    """Return every block of a guide, with lines that end in a backslash joined to the next."""
    found, lines, start, before = [], [], 0, ""
    language: str | None = None
    for number, line in enumerate([*path.read_text().splitlines(), ""], 1):
        if line.lstrip().startswith("```"):
            if language is None:
                language, lines, start = line.strip("` "), [], number + 1
            else:
                found.append(Block(language, "\n".join(lines), start))
                language, lines = None, []
        elif language is not None:
            lines.append(line)
        elif line.startswith("    ") and (lines or before == ""):
            start = start if lines else number
            lines.append(line[4:])
        elif lines:
            found.append(Block("", "\n".join(lines), start))
            lines = []
        before = line.strip()
    return [block._replace(text=re.sub(r"\\\n\s*", "", block.text)) for block in found]


def typed(path: Path) -> list[str]:
    """Return every line of a guide's blocks that may be a command, without its comment."""
    lines = [line for block in blocks(path) if block.language in ("", "sh") for line in block.text.splitlines()]
    return [re.sub(r"\s+#.*", "", line).strip() for line in lines]


def named(path: Path) -> list[str]:
    """Return every `code` in a guide's text that may be a command or part of one."""
    prose = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]


def words_behind(lines: Iterable[str], program: str) -> Iterator[list[str]]:
    """Return the words after `program` wherever it is called; lines that abbreviate with `...` are left out."""
    for line in lines:
        for part in re.split(r" && | \| ", line):
            before, called, rest = part.partition(f"{program} ")
            if called and re.fullmatch(r"[\w./= \"$:-]*", before) and rest and "..." not in rest:
                yield shlex.split(rest.replace("[", "").replace("]", ""))


def requests(path: Path) -> Iterator[tuple[str, str]]:
    """Return method and path of every REST request; `...` means the path of an assignment."""
    text = path.read_text()
    for method, asked in re.findall(rf"\b({METHODS}) ((?:/|\.\.\./)[\w/{{}}.-]+)", text):
        yield method, asked.replace("...", "/api/v1/assignments/{id}", 1).rstrip(".")
    for block in blocks(path):
        for call in re.findall(r"curl .*?(?=\ncurl |\Z)", block.text, re.S):
            method = re.search(rf"-X ({METHODS})", call)
            sends = re.search(r" -(?:d|F) ", call)
            asked = re.search(r"(/(?:api/v1|healthz|readyz|metrics)[\w/{}.-]*)", call)
            if asked:
                yield (method[1] if method else "POST" if sends else "GET"), asked[1]


def section(path: Path, begins: str) -> str:
    """Return the text from the line that begins so up to the next blank line."""
    text = path.read_text()
    start = text.index(f"\n{begins}") + 1
    return text[start : text.find("\n\n", start)]


_plumbline = cache(lambda: get_command(cli))


def refuses(words: list[str], *, whole: bool) -> str | None:
    """Return why `plumbline` does not accept these words, which are parsed and not run; None if it does.

    If a guide only mentions a command, words may be missing.
    """
    command, rest = _plumbline(), [{"NUMBER": "1", "VERB": JobVerb.TRAIN_SFT}.get(word, word) for word in words]
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    if hasattr(command, "commands"):  # a group alone, or its subcommand is misspelt
        return f"{rest[0]} is none of {', '.join(command.commands)}" if rest and rest != ["--help"] else None
    try:
        command.make_context("plumbline", rest)
    except typer.Exit:  # raised by --help
        return None
    except Exception as error:
        missing = type(error).__name__ == "MissingParameter"
        return None if missing and not whole else repr(error)
