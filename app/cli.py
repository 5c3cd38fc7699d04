"""The `plumbline` command: every feature's commands in one place."""

import typer

from app import launcher
from app.accounts.commands import accounts, tokens

cli = typer.Typer(
    name="plumbline",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Human feedback from prompts to policies. Start with `plumbline run`, then open the address it prints.",
)
cli.add_typer(accounts, name="account")
cli.add_typer(tokens, name="token")


@cli.command("run")
def run(
    demo: bool = typer.Option(False, "--demo", help="Load the demo first, where it is not there yet."),
    end_with_parent: bool = typer.Option(False, help="End when the process that started this one does."),
) -> None:
    """Run everything from one folder: queue, workers and web server; Ctrl-C ends it."""
    launcher.run(demo=demo, end_with_parent=end_with_parent)


@cli.command("web")
def web(fd: int = typer.Option(None, help="A listening socket that is handed down.")) -> None:
    """Run the web server alone."""
    launcher.web(fd)


@cli.command("worker")
def worker(queue: str = typer.Option("default", help="`default` (beat runs inside) or `training`.")) -> None:
    """Run one worker alone."""
    launcher.worker(queue)


def main() -> None:
    """Entry point of the `plumbline` command."""
    cli()


if __name__ == "__main__":
    main()
