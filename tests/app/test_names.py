"""Names that one file takes from another exist: no test runs the benchmarks, so nothing else would say."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from app.config import ROOT

OURS = ("app", "training", "tests")


def test_every_name_imported_from_the_project_exists():
    missing = [
        f"{file.relative_to(ROOT)}: {module}.{name}"
        for folder in (*OURS, "migrations")
        for file in sorted((ROOT / folder).rglob("*.py"))
        for module, name in _taken(file)
        if not _exists(module, name)
    ]
    assert not missing


def test_what_is_missing_is_found():
    assert _exists("app.config", "ROOT") and _exists("app.config", None) and _exists("app", "config")
    assert not _exists("app.config", "NOTHING") and not _exists("app.nothing", None)


def _taken(file: Path) -> Iterator[tuple[str, str | None]]:
    """Module and name of each import from the project; the name is None where the module itself is imported."""
    for node in ast.walk(_parsed(file)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names if alias.name.split(".")[0] in OURS)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module.split(".")[0] in OURS:
            yield from ((node.module, alias.name) for alias in node.names)


def _exists(module: str, name: str | None) -> bool:
    place = ROOT.joinpath(*module.split("."))
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    if name is None:
        return file.exists() or place.is_dir()
    if (place / name).is_dir() or (place / f"{name}.py").exists():
        return True
    return file.exists() and name in _bound(file)


@cache
def _bound(file: Path) -> set[str]:
    """Every name that a file gives to something, wherever in it."""
    found = set()
    for node in ast.walk(_parsed(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name)
    return found


@cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))
