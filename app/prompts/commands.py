"""`plumbline import prompts`, and how every import tells what it found."""

from pathlib import Path
from typing import Annotated

import orjson
import typer

from app.operation.terminal import AsJson
from app.prompts.imports import PromptDefaults
from app.prompts.imports import import_prompts as run
from app.prompts.rows import is_csv
from app.prompts.schemas import ImportReport
from app.prompts.tables import PromptSource

imports = typer.Typer(
    no_args_is_help=True,
    help="Bring your own data in: prompts, what policies answered, comparisons; docs/import.md is an example.\n\n"
    "Each command checks the whole file first. A bad row is told by line and field and stops the import; --dry-run "
    "only checks. The same file twice adds nothing. Names that end in .csv are CSV; .gz is read as it is.",
)

File = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="JSON Lines or CSV; may be gzipped.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only check the file and say what an import would do.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Import the good rows although there are bad ones.")]
Collection = Annotated[str, typer.Option(help="A name to find these by, e.g. when choosing a round's prompts.")]
Source = Annotated[PromptSource, typer.Option(help="Where the prompts come from, unless a row says it.")]
Owner = Annotated[
    str, typer.Option(help="Whose prompts these are, unless a row says it; all of an owner share a split.")
]
OwnerField = Annotated[str, typer.Option(help="The field of a row that names the owner.")]


def tell(report: ImportReport, noun: str, *, dry_run: bool, as_json: bool) -> None:
    """Print what an import found; ends with an error if bad rows stopped it."""
    if as_json:
        typer.echo(orjson.dumps(report.as_dict(), option=orjson.OPT_INDENT_2).decode())
    else:
        for problem in report.problems:
            typer.echo(f"line {problem.line}: {problem.field}: {problem.message}", err=True)
        would = "would be " if dry_run or not report.written else ""
        typer.echo(f"{report.rows} rows: {report.added} {noun} {would}added, {report.known} there already.")
        for reason, count in report.reasons():
            typer.echo(f"{count} left out: {reason}")
        for note in report.notes:
            typer.echo(f"Note: {note}")
        if report.problems:
            typer.echo(f"{report.bad_rows} bad rows (above).", err=True)
    if report.problems and not report.written:
        if not dry_run and not as_json:
            typer.echo("Nothing was imported. Mend the rows, or import the good ones with --skip-bad.", err=True)
        raise typer.Exit(1)


@imports.command("prompts")
def import_prompts(
    file: File,
    collection: Collection = "",
    source: Source = PromptSource.CUSTOMER,
    owner: Owner = "",
    owner_field: OwnerField = "owner",
    keep_similar: Annotated[
        bool, typer.Option("--keep-similar", help="Also take prompts whose first 200 characters another one has.")
    ] = False,
    dry_run: DryRun = False,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Import prompts: one a row, as "prompt", or "messages", or "instruction" with "input".

    A row may also say owner, source, use_case, split, collection and answers. Prompts longer than 1,024 tokens, prompts
    that begin like another one, and those over an owner's 200 are left out and counted.

    Example: plumbline import prompts instructions.jsonl --collection mine --owner-field customer
    """
    report = run(
        file,
        as_csv=is_csv(file.name),
        defaults=PromptDefaults(collection, source, owner, owner_field),
        keep_similar=keep_similar,
        skip_bad=skip_bad,
        dry_run=dry_run,
    )
    tell(report, "prompts", dry_run=dry_run, as_json=as_json)
