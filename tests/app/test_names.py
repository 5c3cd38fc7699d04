"""Names that one file takes from another exist: no test runs the benchmarks, so nothing else would say."""

import ast
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

from app.config import ROOT

OURS = ("app", "training", "tests")


def test_every_name_imported_from_the_project_exists():
    missing = [
        f"{file.relative_to(ROOT)}: {module}.{name}"
        for folder in (*OURS, "migrations")
        for file in sorted((ROOT / folder).rglob("*.py"))
        for module, name in _taken(file.read_text(encoding="utf-8"))
        if not _exists(module, name)
    ]
    assert not missing


def _taken(source: str) -> Iterator[tuple[str, str | None]]:
    """Module and name of each import from the project; the name is None where the module itself is imported."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names if alias.name.split(".")[0] in OURS)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module.split(".")[0] in OURS:
            yield from ((node.module, alias.name) for alias in node.names)


def _exists(module: str, name: str | None) -> bool:
    try:
        if name is None:
            return find_spec(module) is not None
        return hasattr(import_module(module), name) or find_spec(f"{module}.{name}") is not None
    except ModuleNotFoundError:
        return False
