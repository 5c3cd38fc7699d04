"""Which modules of app/ may import which, by their names: a new module is covered without being listed."""

import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output

ROWS = ("tables", "queries", "rules")  # of a feature, from the lowest up
SURFACE = re.compile(r"(^|_)(pages|api|tasks|commands)$")
FRAMEWORKS = ("fastapi", "starlette", "jinja2")


class FeaturesContract(Contract):
    """Contract on the features of app/ and the modules around them.

    A module of a feature is a surface if its name is or ends in pages, api, tasks or commands; the others are core.
    """

    type_name = "features"

    order = fields.ListField(subfield=fields.StringField())  # features; the core of each imports only earlier ones
    mounts = fields.SetField(subfield=fields.StringField())  # modules that import surfaces
    helpers = fields.SetField(subfield=fields.StringField())  # named like surfaces, but only answer requests

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Check every import of a module of app/."""
        imports = [
            (importer, imported)
            for importer in sorted(graph.modules)
            if importer.startswith("app.")
            for imported in sorted(graph.find_modules_directly_imported_by(importer))
        ]
        found = [
            f"{importer} -> {imported}: {why}"
            for importer, imported in imports
            for why in self._why(importer, imported)
        ]
        unlisted = {name.split(".")[1] for name in graph.modules if name.count(".") == 2 and name.startswith("app.")}
        unlisted -= {*self.order, "kit", "web"}
        found += [f"app.{name} is no feature that is listed" for name in sorted(unlisted)]
        try:
            TopologicalSorter({name: graph.find_modules_directly_imported_by(name) for name in graph.modules}).prepare()
        except CycleError as error:
            found.append(f"{' -> '.join(reversed(error.args[1]))}: a cycle")
        return ContractCheck(kept=not found, metadata={"found": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print each import that is not allowed, and why."""
        for line in check.metadata["found"]:
            output.print_error(line)

    def _feature(self, module: str) -> str | None:
        parts = module.split(".")
        return parts[1] if parts[0] == "app" and len(parts) > 1 and parts[1] in self.order else None

    def _is_surface(self, module: str) -> bool:
        return self._feature(module) is not None and bool(SURFACE.search(module.rpartition(".")[2]))

    def _why(self, importer: str, imported: str) -> Iterator[str]:
        """Yield why this import is not allowed."""
        ours, theirs = self._feature(importer), self._feature(imported)
        if self._is_surface(imported) and importer not in self.mounts:
            yield "5. only what mounts surfaces imports them"
        if importer in self.mounts or importer.startswith("app.web"):
            if importer.startswith("app.web") and theirs not in (None, "accounts"):
                yield "what all pages share knows accounts alone"
            return
        if ours is None and theirs is not None and importer != "app.tables":
            yield "what all features share knows none of them"
        if self._is_surface(importer) or importer in self.helpers:
            return
        if imported.split(".")[0] in FRAMEWORKS or imported.startswith("app.web") or imported in self.helpers:
            yield "3. core reaches no web framework"
        if ours and theirs and self.order.index(theirs) > self.order.index(ours):
            yield "5. core imports only features listed before its own"
        if ours and ours == theirs:
            yield from self._within(importer.rpartition(".")[2], imported.rpartition(".")[2])

    def _within(self, importer: str, imported: str) -> Iterator[str]:
        if importer in ROWS and imported in ROWS and ROWS.index(imported) > ROWS.index(importer):
            yield "4. in a feature rules are above queries, and queries above tables"
        if (importer, imported) in {("schemas", "rules"), ("queries", "schemas"), ("tables", "schemas")}:
            yield "4. schemas are above no rules, and queries and tables do without them"
