"""`plumbline export`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from app.database import reading, transaction
from app.errors import BadInput
from app.kit.terminal import AsJson, show
from app.snapshots import exports, queries, rules
from app.snapshots.schemas import Also
from app.snapshots.tables import Snapshot, SnapshotState
from training.contract.records import Purpose, Split

snapshots = typer.Typer(
    no_args_is_help=True,
    help="Frozen data: freeze closed rounds, list what is frozen, and save it as files.\n\n"
    "To save what a trainer reads: plumbline export save SNAPSHOT pairs.parquet (messages: SFT; pairs: DPO and reward "
    "models; kto; prompt_only: PPO and GRPO)",
)


def _row(one: Snapshot) -> dict:
    return {
        "id": one.public_id,
        "name": one.name,
        "purpose": one.purpose.value,
        "state": one.state.value,
        "lines": sum(file["lines"] for file in one.manifest["files"]) if one.manifest else None,
        "content_sha256": one.content_sha256,
        "created_at": one.created_at,
    }


@snapshots.command("list")
def list_snapshots(
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 50, as_json: AsJson = False
) -> None:
    """List snapshots."""
    with reading() as session:
        found, _following = queries.listing(session, limit=limit)
    show([_row(one) for one in found], as_json, "Nothing is frozen yet; `plumbline export freeze` does it.")


@snapshots.command("freeze")
def freeze(
    purpose: Annotated[Purpose, typer.Argument(help="sft: demonstrations; rm: comparisons; ppo: prompts.")],
    round: Annotated[list[int] | None, typer.Option(help="Only these closed rounds; absent: all.")] = None,
    collection: Annotated[
        list[str] | None, typer.Option(help="sft: few-shot pairs; rm: imported comparisons; ppo: prompts.")
    ] = None,
    no_rounds: Annotated[bool, typer.Option("--no-rounds", help="No round at all, only what was imported.")] = False,
    also: Annotated[
        list[Also] | None,
        typer.Option(help="Beside people's answers, those of simulated labelers or of the demo's accounts."),
    ] = None,
    split: Annotated[list[Split] | None, typer.Option(help="Only records of these splits.")] = None,
    train_on_evaluation: Annotated[
        bool, typer.Option("--train-on-evaluation", help="The evaluation rounds that are named may train too.")
    ] = False,
    name: Annotated[str, typer.Option(help="What it is called.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Come back when it is written.")] = False,
) -> None:
    """Freeze data into a snapshot that a worker writes; print its id."""
    rounds = [] if no_rounds else round or None
    filter = {
        "rounds": rounds,
        "train_on_evaluation": train_on_evaluation,
        "also": also or [],
        "collections": collection or [],
        "splits": split or [],
    }
    with transaction() as session:
        made = rules.create(session, purpose, filter, name=name)
    typer.echo(made.public_id)
    while wait:
        with reading() as session:
            now = queries.find(session, made.public_id)
        if now.state is SnapshotState.FAILED:
            raise BadInput(f"snapshot {now.public_id} could not be written: {now.error}")
        if now.state is SnapshotState.READY:
            return
        time.sleep(0.5)


@snapshots.command("save")
def save(
    snapshot: Annotated[str, typer.Argument(help="The snapshot's id, as `export list` shows it.")],
    what: Annotated[str, typer.Argument(help=f"One of {', '.join(exports.What)}, with .jsonl, .jsonl.gz or .parquet.")],
    to: Annotated[Path | None, typer.Option(help="The file or the folder to save to; absent: this folder.")] = None,
) -> None:
    """Save one of a snapshot's data as a file."""
    kind, format = exports.parse_name(what)
    with reading() as session:
        found = queries.find(session, snapshot)
    place = (to or Path()).absolute()
    if place.is_dir():
        place /= what
    if not place.parent.is_dir():
        raise BadInput(f"to: {place.parent} is no folder")
    exports.save(found, kind, format, place)
    typer.echo(str(place))
    neither = found.manifest["counts"].get("kto_left_out", 0)
    if kind is exports.What.KTO and neither:
        typer.echo(f"{neither} completions are neither plainly good nor plainly bad and left out.", err=True)
