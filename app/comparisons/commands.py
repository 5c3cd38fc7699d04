"""`plumbline import comparisons`."""

from pathlib import Path
from typing import Annotated

import typer

from app.comparisons.formats import ComparisonFormat
from app.comparisons.imports import import_comparisons as run
from app.kit.imports import ImportReport, Watch
from app.kit.rows import is_csv
from app.kit.terminal import AsJson
from app.prompts.import_terminal import Collection, DryRun, Files, Owner, OwnerField, SkipBad, Source, run_each
from app.prompts.imports import PromptDefaults
from app.prompts.tables import PromptSource


def import_comparisons(
    files: Files,
    format: Annotated[
        ComparisonFormat,
        typer.Option(
            help="hh: chosen and rejected transcripts; pairs: prompt, chosen, rejected; rankings: Plumbline's export; "
            "argilla, label-studio: exports of rankings."
        ),
    ],
    collection: Collection = "",
    policy: Annotated[
        str,
        typer.Option(help="Name of the policy that wrote the completions of pairs; default: the collection's name."),
    ] = "",
    source: Source = PromptSource.CUSTOMER,
    owner: Owner = "",
    owner_field: OwnerField = "owner",
    dry_run: DryRun = False,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Import comparisons that people made elsewhere, with their prompts and completions.

    They belong to no round; snapshots select them by collection. Pairs of identical texts are left out and counted.
    Prompts are split by owner, or by their text where no owner is given.

    Example: plumbline import comparisons pairs.jsonl.gz --format hh --collection harmless
    """

    def one(file: Path, watch: Watch) -> ImportReport:
        return run(
            file,
            format=format,
            as_csv=is_csv(file.name),
            defaults=PromptDefaults(collection, source, owner, owner_field),
            policy=policy,
            skip_bad=skip_bad,
            dry_run=dry_run,
            watch=watch,
        )

    run_each(files, one, "comparisons", dry_run=dry_run, skip_bad=skip_bad, as_json=as_json)
