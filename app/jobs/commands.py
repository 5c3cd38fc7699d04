"""`plumbline job`."""

import time
from typing import Annotated

import orjson
import typer

from app import queue
from app.checkpoints import queries as checkpoint_queries
from app.checkpoints import rules as checkpoints
from app.database import reading, transaction
from app.errors import BadInput
from app.jobs import queries, rules
from app.jobs.keys import parse_keys
from app.jobs.tables import Job, JobState, JobVerb
from app.kit.terminal import AsJson, progress, show

jobs = typer.Typer(
    no_args_is_help=True,
    help="Jobs: train models and sample completions on snapshots; a training worker runs them one at a time.\n\n"
    "To train a reward model: plumbline job create train_reward_model --recipe miniature_reward_model "
    "--data SNAPSHOT --init-from CHECKPOINT",
)
Id = Annotated[str, typer.Argument(help="The job's id, as `job list` shows it.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until the job ends; exit with status 1 unless it finished.")]


def _row(job: Job) -> dict:
    return {
        "id": job.public_id,
        "name": job.name,
        "verb": job.verb.value,
        "state": job.state.value,
        "step": job.step,
        "total_steps": job.total_steps,
        "created_at": job.created_at,
    }


@jobs.command("list")
def list_jobs(
    limit: Annotated[int, typer.Option(min=1, help="How many to list, newest first.")] = 50, as_json: AsJson = False
) -> None:
    """List jobs."""
    with reading() as session:
        found, _following = queries.listing(session, limit=limit)
    show([_row(job) for job in found], as_json, "No jobs yet; create one with `plumbline job create`.")
    if not as_json and any(job.state is JobState.QUEUED for job in found) and not queue.workers(queue.TRAINING):
        typer.echo("No training worker is running: start one with `plumbline worker --queue training`.", err=True)


@jobs.command("show")
def show_job(id: Id, as_json: AsJson = False) -> None:
    """Show a job: its state, its error, its config and its result."""
    with reading() as session:
        job = queries.find(session, id)
        networks = [f"{one.public_id} ({one.name})" for one in checkpoint_queries.of_job(session, job)]
    facts = {
        **_row(job),
        "attempt": job.attempt,
        "error": job.error,
        "run_folder": str(rules.folder(job)),
        "checkpoints": networks,
        "result": job.result,
        "config": {key: value for key, value in job.config.items() if value is not None},
    }
    if as_json:
        typer.echo(orjson.dumps(facts, option=orjson.OPT_INDENT_2, default=str).decode())
        return
    for name, value in facts.items():
        text = (
            orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode() if isinstance(value, dict) else value
        )
        typer.echo(f"{name.replace('_', ' ')}: {text}")


@jobs.command("create")
def create(
    verb: Annotated[JobVerb, typer.Argument(help="Type of the job.")],
    recipe: Annotated[str | None, typer.Option(help="A named recipe; the options below override it.")] = None,
    data: Annotated[str | None, typer.Option(help="ID of a snapshot.")] = None,
    init_from: Annotated[str | None, typer.Option(help="ID of the checkpoint to start from.")] = None,
    reward_model: Annotated[str | None, typer.Option(help="ID of the reward model's checkpoint.")] = None,
    set: Annotated[list[str] | None, typer.Option(help="Override a key of the config: key=value.")] = None,
    name: Annotated[str, typer.Option(help="Name of the job.")] = "",
    wait: Wait = False,
) -> None:
    """Queue a job and print its id."""
    config: dict = {"recipe": recipe} if recipe else {}
    config |= {"data": f"{rules.SNAPSHOT_PREFIX}{data}"} if data else {}
    config |= {key: f"{checkpoints.PREFIX}{id}" for key, id in
               (("init_from", init_from), ("reward_model", reward_model)) if id}  # fmt: skip
    config |= parse_keys("\n".join(set or []))
    with transaction() as session:
        job = checkpoints.create_job(session, verb, config, name=name)
    typer.echo(job.public_id)
    if wait:
        _wait(job.public_id)


@jobs.command("cancel")
def cancel(id: Id) -> None:
    """Cancel a job; it can be resumed."""
    with transaction() as session:
        job = queries.find(session, id)
        rules.cancel(session, job, None)
    over = job.state is JobState.CANCELLED
    typer.echo("The job is canceled." if over else "The job is being canceled and stops within a minute.")


@jobs.command("resume")
def resume(id: Id, wait: Wait = False) -> None:
    """Resume a failed or canceled job where it stopped."""
    with transaction() as session:
        rules.resume(session, queries.find(session, id), None)
    typer.echo("The job is queued.")
    if wait:
        _wait(id)


def _wait(id: str) -> None:
    with progress("waiting for the job") as watch:
        while (job := _read(id)).state not in rules.OVER:
            watch(job.step / job.total_steps if job.total_steps else 0, str(job.state))
            time.sleep(1)
    if job.state is not JobState.FINISHED:
        raise BadInput(f"job {id} is {job.state}: {job.error or 'see its log'}")


def _read(id: str) -> Job:
    with reading() as session:
        return queries.find(session, id)
