"""The `plumbline` command: every feature's commands in one place."""

import os
import sys
from pathlib import Path

import typer
from sqlalchemy.exc import OperationalError, ProgrammingError

from app.accounts.commands import accounts, tokens
from app.checkpoints.commands import checkpoints
from app.comparisons.commands import import_comparisons
from app.completions.commands import import_completions
from app.errors import PlumblineError
from app.jobs.commands import jobs
from app.kit.terminal import AsJson, show
from app.kit.text import UNSTORABLE
from app.launch import backup, doctor, entry_points, launcher, migrate
from app.policies.commands import policies
from app.prompts.commands import imports
from app.rounds.commands import rounds
from app.serving import sampler
from app.simulation import commands as simulation
from app.snapshots.commands import snapshots

cli = typer.Typer(
    name="plumbline",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Human feedback from prompts to policies. Start with `plumbline run`, then open the address it prints.",
)
cli.add_typer(accounts, name="account")
cli.add_typer(tokens, name="token")
cli.command("demo")(simulation.demo)
cli.command("simulate")(simulation.simulate)
imports.command("completions")(import_completions)
imports.command("comparisons")(import_comparisons)
cli.add_typer(imports, name="import")
cli.add_typer(rounds, name="round")
cli.add_typer(snapshots, name="export")
cli.add_typer(jobs, name="job")
cli.add_typer(checkpoints, name="checkpoint")
cli.add_typer(policies, name="policy")


@cli.command("run")
def run(
    demo: bool = typer.Option(False, "--demo", help="Load the demo first, unless it is already loaded."),
    end_with_parent: bool = typer.Option(False, help="Stop when the process that started this one ends."),
) -> None:
    """Run everything from one folder: queue, workers and web server. Press Ctrl-C to stop."""
    launcher.run(demo=demo, end_with_parent=end_with_parent)


@cli.command("web")
def web(
    fd: int = typer.Option(None, help="File descriptor of an inherited listening socket."),
    processes: int = typer.Option(
        None, min=1, max=64, help="Processes; by default one on SQLite, and one for each core on PostgreSQL."
    ),
) -> None:
    """Run only the web server."""
    entry_points.web(fd, processes)


@cli.command("worker")
def worker(
    queue: str = typer.Option("default", help="`default` (which also runs the scheduler) or `training`."),
) -> None:
    """Run only one worker."""
    entry_points.worker(queue)


@cli.command("sampler")
def hold_networks() -> None:
    """Keep the models of trained policies in memory while they are in use, for suggestions and alternatives."""
    sampler.run()


@cli.command("migrate")
def bring_up_to_date(
    revision: str = typer.Argument("head", help="The revision to migrate to; `head` is the newest."),
) -> None:
    """Migrate the database to the schema that this version needs; safe to repeat, all or nothing.

    The database is PLUMBLINE_DATABASE_URL, or plumbline.db in PLUMBLINE_DATA_DIR. `plumbline run` also does this.
    """
    before = migrate.current()
    migrate.upgrade(revision)
    after = migrate.current()
    typer.echo(
        f"The schema is {after}." if before == after else f"The schema was {before or 'none'} and is now {after}."
    )


@cli.command("backup")
def back_up(folder: Path = typer.Argument(help="A folder that does not exist yet."), as_json: AsJson = False) -> None:
    """Copy the database, snapshots, runs and the secret into a folder; nothing needs to be stopped."""
    show([{"table": name, "rows": count} for name, count in backup.back_up(folder).items()], as_json)


@cli.command("restore")
def bring_back(
    folder: Path = typer.Argument(help="A folder that `plumbline backup` wrote."), as_json: AsJson = False
) -> None:
    """Restore a backup into an empty database and data folder, and migrate it to this version.

    The database is PLUMBLINE_DATABASE_URL, or plumbline.db in PLUMBLINE_DATA_DIR. Stop everything that uses them first.
    """
    show([{"table": name, "rows": count} for name, count in backup.restore(folder).items()], as_json)


@cli.command("doctor")
def examine(as_json: AsJson = False) -> None:
    """Check this installation: database, queue, workers, disk, torch. Fails if one of them is missing."""
    checks = doctor.examine()
    show(checks, as_json)
    raise typer.Exit(0 if all(check["ok"] for check in checks) else 1)


def main() -> None:
    """Run the `plumbline` command; errors that the user can fix are printed in one line, without a traceback."""
    if any(UNSTORABLE.search(word) for word in sys.argv):
        sys.exit("plumbline: an argument is not UTF-8; rename the file, or type the name as UTF-8")
    os.umask(0o077)  # files are readable only by Plumbline's own user: answers, models, backups, logs
    try:
        cli()
    except PlumblineError as error:
        sys.exit(f"plumbline: {error.message}")
    except (OperationalError, ProgrammingError) as error:
        reason = str(error.orig).strip().splitlines()[0]
        sys.exit(
            f"plumbline: database error: {reason}. Does the database exist, and is it migrated? See `plumbline doctor`."
        )


if __name__ == "__main__":
    main()
