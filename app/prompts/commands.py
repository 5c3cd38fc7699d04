"""`plumbline import prompts`."""

from pathlib import Path
from typing import Annotated

import typer

from app.kit.imports import ImportReport
from app.kit.rows import is_csv
from app.kit.terminal import AsJson
from app.prompts.import_terminal import Collection, DryRun, Files, Owner, OwnerField, SkipBad, Source, run_each
from app.prompts.imports import PromptDefaults
from app.prompts.imports import import_prompts as run
from app.prompts.tables import PromptSource

imports = typer.Typer(
    no_args_is_help=True,
    help="Bring your own data in: prompts, what policies answered, comparisons; docs/import.md is an example.\n\n"
    "Each command checks the whole file first. A bad row is named by line and field and stops the import; --dry-run "
    "only checks, and shows the first entries as they would be stored. The same file twice adds nothing. Names that "
    "end in .csv are CSV; .gz is read as it is. Several files are imported one after another.",
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
        typer.Option("--keep-similar", help="Also take prompts that begin like another one or nearly repeat it."),
    ] = False,
    dry_run: DryRun = False,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Import prompts: one a row, as "prompt", or "messages", or "instruction" with "input".

    A row may also say owner, source, use_case, split, collection and answers. Left out and counted are prompts of more
    than 1,024 tokens, those that begin like another one or say nearly the same, and those over an owner's 200.

    Example: plumbline import prompts instructions.jsonl --collection mine --owner-field customer
    """

    def one(file: Path) -> ImportReport:
        return run(
            file,
            as_csv=is_csv(file.name),
            defaults=PromptDefaults(collection, source, owner, owner_field),
            keep_similar=keep_similar,
            skip_bad=skip_bad,
            dry_run=dry_run,
        )

    run_each(files, one, "prompts", dry_run=dry_run, skip_bad=skip_bad, as_json=as_json)
