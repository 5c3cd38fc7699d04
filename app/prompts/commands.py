"""`plumbline import prompts`."""

from pathlib import Path
from typing import Annotated

import typer

from app.kit.imports import ImportReport, Watch
from app.kit.rows import is_csv
from app.kit.terminal import AsJson
from app.prompts.import_terminal import Collection, DryRun, Files, Owner, OwnerField, SkipBad, Source, run_each
from app.prompts.imports import PromptDefaults
from app.prompts.imports import import_prompts as run
from app.prompts.tables import PromptSource

imports = typer.Typer(
    no_args_is_help=True,
    help="Import your own prompts, completions and comparisons; see docs/import.md for an example.\n\n"
    "Each command checks the whole file first. A bad row stops the import and is reported by line and field; --dry-run "
    "only checks, and shows the first entries as they would be stored. Importing a file twice adds nothing. Names that "
    "end in .csv are read as CSV; gzipped files are read directly. Several files are imported one after another.",
)


@imports.command("prompts")
def import_prompts(
    files: Files,
    collection: Collection = "",
    source: Source = PromptSource.CUSTOMER,
    owner: Owner = "",
    owner_field: OwnerField = "owner",
    keep_similar: Annotated[
        bool,
        typer.Option(
            "--keep-similar", help="Keep near-duplicates: same first 200 characters, or nearly the same text."
        ),
    ] = False,
    dry_run: DryRun = False,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Import prompts, one per row, as "prompt", or "messages", or "instruction" with "input".

    A row can also have owner, source, use_case, split, collection and answers. Prompts with more than 1,024 tokens,
    near-duplicates, and prompts beyond the limit of 200 per owner are left out and counted.

    Example: plumbline import prompts instructions.jsonl --collection mine --owner-field customer
    """

    def one(file: Path, watch: Watch) -> ImportReport:
        return run(
            file,
            as_csv=is_csv(file.name),
            defaults=PromptDefaults(collection, source, owner, owner_field),
            keep_similar=keep_similar,
            skip_bad=skip_bad,
            dry_run=dry_run,
            watch=watch,
        )

    run_each(files, one, "prompts", dry_run=dry_run, skip_bad=skip_bad, as_json=as_json)
