"""`plumbline import completions`."""

from pathlib import Path
from typing import Annotated

import typer

from app.completions.imports import import_completions as run
from app.kit.imports import ImportReport, Watch
from app.kit.rows import is_csv
from app.kit.terminal import AsJson
from app.prompts.import_terminal import Collection, DryRun, Files, Owner, OwnerField, SkipBad, Source, run_each
from app.prompts.imports import PromptDefaults
from app.prompts.tables import PromptSource


def import_completions(
    files: Files,
    policy: Annotated[
        str,
        typer.Option(
            help="Policy that wrote them, for rows that name none. Default: the file's name. Labelers never see it."
        ),
    ] = "",
    add_prompts: Annotated[
        bool, typer.Option("--add-prompts", help="Also store prompts that are not in the bank yet.")
    ] = False,
    collection: Collection = "",
    source: Source = PromptSource.CUSTOMER,
    owner: Owner = "",
    owner_field: OwnerField = "owner",
    dry_run: DryRun = False,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Import a policy's completions: each row has a prompt, as in `import prompts`, and a "completion".

    The completion can also be called "response", "output" or "text", or be the last message of a dialogue. A round then
    chooses K of the distinct texts. Empty completions are left out and counted.

    Example: plumbline import completions answers-of-a.jsonl answers-of-b.jsonl
    """

    def one(file: Path, watch: Watch) -> ImportReport:
        return run(
            file,
            as_csv=is_csv(file.name),
            policy=policy,
            file_name=file.name,
            add_prompts=PromptDefaults(collection, source, owner, owner_field) if add_prompts else None,
            skip_bad=skip_bad,
            dry_run=dry_run,
            watch=watch,
        )

    run_each(files, one, "completions", dry_run=dry_run, skip_bad=skip_bad, as_json=as_json)
