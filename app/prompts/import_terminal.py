"""Options and printed reports that all import commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import orjson
import typer

from app.errors import BadInput
from app.kit.imports import ImportReport, Watch
from app.kit.terminal import progress
from app.prompts.tables import PromptSource

Files = Annotated[
    list[Path],
    typer.Argument(
        exists=True, dir_okay=False, readable=True, help="JSON Lines, a JSON array, or CSV; may be gzipped."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only check the file and report what an import would do.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Import the good rows even if there are bad rows.")]
Collection = Annotated[
    str, typer.Option(help="A name for finding these later, e.g. when choosing prompts for a round.")
]
Source = Annotated[PromptSource, typer.Option(help="Source of the prompts, for rows that name none.")]
Owner = Annotated[
    str, typer.Option(help="Owner of the prompts, for rows that name none. All prompts of an owner share a split.")
]
OwnerField = Annotated[str, typer.Option(help="The field that names the owner.")]


def run_each(
    files: list[Path],
    run: Callable[[Path, Watch], ImportReport],
    noun: str,
    *,
    dry_run: bool,
    skip_bad: bool,
    as_json: bool,
) -> None:
    """Import the files one after another and print a report of each; exits with 1 if bad rows stopped one."""
    reports = {}
    for file in files:
        try:
            with progress(file.name) as watch:
                reports[file] = run(file, watch)
        except BadInput as error:
            if len(files) > 1:
                raise BadInput(f"{file}: {error.message}", field=error.field) from error
            raise
        if not as_json:
            if len(files) > 1:
                typer.echo(f"{file}:")
            _tell(reports[file], noun, stopped=bool(reports[file].bad_rows) and not skip_bad, dry_run=dry_run)
    if as_json:
        told = [{"file": str(file), **report.as_dict()} for file, report in reports.items()]
        typer.echo(orjson.dumps(told if len(told) > 1 else told[0], option=orjson.OPT_INDENT_2).decode())
    if not skip_bad and any(report.bad_rows for report in reports.values()):
        raise typer.Exit(1)


def _tell(report: ImportReport, noun: str, *, stopped: bool, dry_run: bool) -> None:
    for problem in report.problems:
        typer.echo(f"line {problem.line}: {problem.field}: {problem.message}", err=True)
    would = "would be " if dry_run or stopped else ""
    typer.echo(
        f"{report.rows} rows: {report.added} {noun} {would}added, {report.known} duplicates, "
        f"{report.left_out_rows} left out, {report.bad_rows} bad."
    )
    for reason, count in report.reasons.most_common():
        typer.echo(f"{count} left out: {reason}")
    for note in report.notes:
        typer.echo(f"Note: {note}")
    if dry_run:
        for entry in report.preview:
            typer.echo(f"line {entry['line']} as it would be stored: {orjson.dumps(entry).decode()}")
    if stopped and not report.written:
        typer.echo("Nothing was imported. Fix the rows, or import the good ones with --skip-bad.", err=True)
