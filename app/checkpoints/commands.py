"""`plumbline checkpoint`."""

from pathlib import Path
from typing import Annotated

import typer

from app.checkpoints import queries, rules
from app.checkpoints.tables import Checkpoint, CheckpointRole
from app.checkpoints.trying import tried
from app.database import reading, transaction
from app.errors import BadInput
from app.kit.terminal import AsJson, show

checkpoints = typer.Typer(
    no_args_is_help=True,
    help="Checkpoints: trained models and their lineage, and models of your own added by path.\n\n"
    "To start from a Hugging Face model: plumbline checkpoint add /models/mine --name 'My model'",
)
Id = Annotated[str, typer.Argument(help="The checkpoint's id, as `checkpoint list` shows it.")]


def _row(one: Checkpoint) -> dict:
    snapshot = one.job.snapshot if one.job else None
    return {
        "id": one.public_id,
        "name": one.name,
        "role": one.role.value,
        "round": one.round_number,
        "step": one.step,
        "chosen": one.chosen,
        "snapshot": snapshot.content_sha256[:12] if snapshot and snapshot.content_sha256 else None,
        "policy": one.policy.name if one.policy else None,
        "path": str(rules.folder(one)),
    }


@checkpoints.command("list")
def list_checkpoints(
    role: Annotated[CheckpointRole | None, typer.Option(help="Only checkpoints with this role.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many to list, newest first.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List checkpoints."""
    with reading() as session:
        found, _following = queries.listing(session, limit=limit, role=role)
    show(
        [_row(one) for one in found],
        as_json,
        "No checkpoints yet; train one with a job, or add a model with `plumbline checkpoint add`.",
    )


@checkpoints.command("show")
def show_descent(id: Id, as_json: AsJson = False) -> None:
    """Show the lineage of a checkpoint: itself, its parent, and so on back to the first model."""
    with reading() as session:
        line = queries.descent(session, queries.find(session, id))
        rows = [
            {**_row(link.checkpoint), "job": link.job.public_id if link.job else None, **link.checkpoint.metrics}
            for link in line
        ]
    names = {name: None for row in rows for name in row}
    show([{name: row.get(name) for name in names} for row in rows], as_json)


@checkpoints.command("add")
def add(
    path: Annotated[Path, typer.Argument(help="A folder that plain transformers can load; nothing is copied.")],
    name: Annotated[str, typer.Option(help="Name of the model.")],
    role: Annotated[CheckpointRole, typer.Option(help="Role of the model.")] = CheckpointRole.BASE,
) -> None:
    """Check a model, add it by path and print its id."""
    trial = tried(path.absolute())
    if trial and trial["refused"]:
        raise BadInput(trial["refused"], field="path")
    with transaction() as session:
        made = rules.register_path(session, path, name, role=role, trial=trial)
    for one in trial["findings"] if trial else ():
        typer.echo(f"{one['check']:22} {one['verdict']:8} {one['said']}", err=True)
    typer.echo(made.public_id)


@checkpoints.command("policy")
def make_policy(
    id: Id, name: Annotated[str, typer.Option(help="Name of the policy; default: the checkpoint's name.")] = ""
) -> None:
    """Make a checkpoint a policy, whose completions rounds can compare, and print its name."""
    with transaction() as session:
        policy = rules.make_policy(session, queries.find(session, id), name=name)
    typer.echo(policy.name)
