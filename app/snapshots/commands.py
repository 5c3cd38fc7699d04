"""`plumbline export`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from app.database import reading, transaction
from app.errors import BadInput
from app.kit.terminal import AsJson, progress, show
from app.snapshots import exports, queries, rules
from app.snapshots.schemas import Also
from app.snapshots.tables import Snapshot, SnapshotState
from training.contract.records import Purpose, Split

snapshots = typer.Typer(
    no_args_is_help=True,
    help="Snapshots: freeze closed rounds, list snapshots, and save their data as files.\n\n"
    "To save data for a trainer: plumbline export save SNAPSHOT pairs.parquet (messages: SFT; pairs: DPO and reward "
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
    limit: Annotated[int, typer.Option(min=1, help="How many to list, newest first.")] = 50, as_json: AsJson = False
) -> None:
    """List snapshots."""
    with reading() as session:
        found, _following = queries.listing(session, limit=limit)
    show([_row(one) for one in found], as_json, "No snapshots yet; create one with `plumbline export freeze`.")


@snapshots.command("freeze")
def freeze(
    purpose: Annotated[Purpose, typer.Argument(help="sft: demonstrations; rm: comparisons; ppo: prompts.")],
    round: Annotated[list[int] | None, typer.Option(help="Only these closed rounds; default: all.")] = None,
    collection: Annotated[
        list[str] | None, typer.Option(help="Collections. sft: few-shot pairs; rm: imported comparisons; ppo: prompts.")
    ] = None,
    no_rounds: Annotated[bool, typer.Option("--no-rounds", help="No rounds, only imported data.")] = False,
    also: Annotated[
        list[Also] | None,
        typer.Option(help="Besides people's answers, include those of simulated labelers or demo accounts."),
    ] = None,
    split: Annotated[list[Split] | None, typer.Option(help="Only records of these splits.")] = None,
    train_on_evaluation: Annotated[
        bool, typer.Option("--train-on-evaluation", help="Also train on the evaluation rounds that are named.")
    ] = False,
    name: Annotated[str, typer.Option(help="Name of the snapshot.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the snapshot is written.")] = False,
) -> None:
    """Create a snapshot, which a worker writes, and print its id."""
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
    if wait:
        _wait(made.public_id)


def _wait(id: str) -> None:
    with progress("waiting for the snapshot") as watch:
        while (now := _read(id)).state not in (SnapshotState.READY, SnapshotState.FAILED):
            watch(0, str(now.state))
            time.sleep(0.5)
    if now.state is SnapshotState.FAILED:
        raise BadInput(f"snapshot {now.public_id} could not be written: {now.error}")


def _read(id: str) -> Snapshot:
    with reading() as session:
        return queries.find(session, id)


@snapshots.command("save")
def save(
    snapshot: Annotated[str, typer.Argument(help="The snapshot's id, as `export list` shows it.")],
    what: Annotated[str, typer.Argument(help=f"One of {', '.join(exports.What)}, with .jsonl, .jsonl.gz or .parquet.")],
    to: Annotated[Path | None, typer.Option(help="The file or folder to save to; default: the current folder.")] = None,
) -> None:
    """Save one export of a snapshot as a file."""
    kind, format = exports.parse_name(what)
    with reading() as session:
        found = queries.find(session, snapshot)
    place = (to or Path()).absolute()
    if place.is_dir():
        place /= what
    if not place.parent.is_dir():
        raise BadInput(f"to: {place.parent} is not a folder")
    exports.save(found, kind, format, place)
    typer.echo(str(place))
    neither = found.manifest["counts"].get("kto_left_out", 0) if found.manifest else 0
    if kind is exports.What.KTO and neither:
        typer.echo(f"Left out {neither} completions that are neither clearly good nor clearly bad.", err=True)
