"""The `plumbline` command: every feature's commands in one place."""

import typer

from app.accounts.commands import accounts, tokens

cli = typer.Typer(
    name="plumbline",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Human feedback from prompts to policies. Start with `plumbline run`, then open the address it prints.",
)
cli.add_typer(accounts, name="account")
cli.add_typer(tokens, name="token")


def main() -> None:
    """Entry point of the `plumbline` command."""
    cli()
