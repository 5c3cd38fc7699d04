"""`plumbline account` and `plumbline token`."""

import typer

from app.accounts import queries, rules
from app.accounts.passwords import check_new, hash_password
from app.accounts.tables import Role
from app.database import transaction
from app.errors import NotFound
from training.records import Pool

accounts = typer.Typer(no_args_is_help=True, help="People: make accounts, see them, change passwords.")
tokens = typer.Typer(no_args_is_help=True, help="API tokens: make, list, revoke.")


@accounts.command("create")
def create(
    username: str,
    name: str = typer.Option("", help="How the person is called; the user name if not given."),
    role: Role = typer.Option(Role.LABELER),
    pool: Pool = typer.Option(Pool.TRAIN),
    password: str = typer.Option(..., prompt=True, hide_input=True, confirmation_prompt=True),
) -> None:
    """Make an account."""
    hashed = hash_password(check_new(password, username))
    with transaction() as session:
        rules.create_account(session, username=username, name=name or username, password=hashed, role=role, pool=pool)
    typer.echo(f"Account {username} ({role}) made.")


@tokens.command("create")
def create_token(
    username: str,
    scope: list[rules.Scope] = typer.Option([rules.Scope.WORK], help="May be given several times."),
    name: str = typer.Option("command line", help="What the token is for."),
    days: int = typer.Option(90, help="How long it lasts."),
) -> None:
    """Make an API token; it is printed once and not kept."""
    with transaction() as session:
        account = queries.by_username(session, username)
        if account is None:
            raise NotFound(f"There is no account “{username}”.")
        _token, secret = rules.create_token(session, account, name=name, scopes=[*scope], days=days)
    typer.echo(secret)
