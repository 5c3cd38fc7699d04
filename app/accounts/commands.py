"""`plumbline account` and `plumbline token`."""

import typer

from app.accounts import queries, rules
from app.accounts.passwords import check_new, hash_password
from app.accounts.tables import Account, AccountKind, Role, Scope
from app.assignments.leaving import change_account
from app.database import reading, transaction
from app.errors import BadInput, NotFound
from app.kit.terminal import AsJson, show
from training.contract.records import Pool

accounts = typer.Typer(
    no_args_is_help=True,
    help="Accounts: create, list and change them, set passwords, show the audit trail.\n\n"
    "The first admin: plumbline account create olga --name 'Olga Brandt' --role admin",
)
tokens = typer.Typer(
    no_args_is_help=True,
    help="API tokens for the REST API: create, list, revoke.\n\n"
    "For a script that runs jobs: plumbline token create olga --scope read --scope jobs --name nightly",
)
Password = typer.Option(
    ...,
    prompt=True,
    hide_input=True,
    confirmation_prompt=True,
    envvar="PLUMBLINE_PASSWORD",
    help="Prompted for if not given.",
)


@accounts.command("create")
def create(
    username: str = typer.Argument(help="The user name to sign in with."),
    name: str = typer.Option("", help="Display name; defaults to the user name."),
    role: Role = typer.Option(Role.LABELER, help="A labeler works on assignments; an admin runs everything."),
    pool: Pool = typer.Option(Pool.TRAIN, help="Answers of held-out labelers are never used for training."),
    password: str = Password,
) -> None:
    """Create an account."""
    hashed = hash_password(check_new(password, username))
    with transaction() as session:
        account = rules.create_account(
            session, username=username, name=name or username, password=hashed, role=role, pool=pool
        )
    typer.echo(f"Created the {account.role} {account.username}, who can now sign in.")


@accounts.command("list")
def list_accounts(
    text: str = typer.Option("", help="Only accounts whose name or user name contains this text."),
    as_json: AsJson = False,
) -> None:
    """List accounts, oldest first."""
    with reading() as session:
        found = queries.accounts(session, text=text, limit=100_000)[0][::-1]
    rows = [
        {
            "username": account.username,
            "name": account.name,
            "role": account.role,
            "pool": account.pool,
            "kind": account.kind,
            "disabled": account.disabled_at is not None,
            "id": account.public_id,
        }
        for account in found
    ]
    show(rows, as_json, "There are no accounts yet; create one with `plumbline account create`.")


@accounts.command("change")
def change(
    username: str,
    name: str = typer.Option(None, help="Display name."),
    role: Role = typer.Option(None),
    pool: Pool = typer.Option(None, help="Applies to what they submit from now on; existing answers keep their pool."),
    disabled: bool = typer.Option(
        None, "--disable/--enable", help="Sign the account out and keep it out, or let it sign in again."
    ),
) -> None:
    """Change an account: its name, role, pool, and whether it may sign in."""
    with transaction() as session:
        account = _account(session, username)
        before = account.pool
        account = change_account(session, account, by=None, name=name, role=role, pool=pool, disabled=disabled)
    typer.echo(f"Changed {username}." + (f" {rules.POOL_KEPT}" if account.pool is not before else ""))


@accounts.command("password")
def password(
    username: str,
    password: str = Password,
    keep_tokens: bool = typer.Option(False, "--keep-tokens", help="Keep the account's API tokens valid."),
) -> None:
    """Set a new password, sign the account out everywhere, and revoke its API tokens."""
    hashed = hash_password(check_new(password, username))
    with transaction() as session:
        rules.set_password(session, _account(session, username), hashed, by=None, keep_tokens=keep_tokens)
    tokens = "keep working" if keep_tokens else "are revoked"
    typer.echo(f"{username} has a new password and is signed out everywhere; their API tokens {tokens}.")


@accounts.command("audit")
def audit(
    limit: int = typer.Option(50, help="How many entries to show, newest first."), as_json: AsJson = False
) -> None:
    """Show the audit trail (who did what), newest first."""
    with reading() as session:
        found = queries.audit(session, limit=limit)
    rows = [
        {
            "at": entry.at,
            "by": account.username if account else None,
            "from": entry.surface and entry.surface.replace("_", " "),
            "action": entry.action,
            "subject": entry.subject,
            "detail": entry.detail if as_json else ", ".join(f"{key}={value}" for key, value in entry.detail.items()),
        }
        for entry, account in found
    ]
    show(rows, as_json)


@accounts.command("first-run-code")
def first_run_code() -> None:
    """Print the code that opens the first-run page from another machine, while there is no admin."""
    typer.echo(rules.first_run_code())


@tokens.command("create")
def create_token(
    username: str = typer.Argument(help="The owner of the token, in whose name it acts."),
    scope: list[Scope] = typer.Option([Scope.WORK], help="Can be given more than once."),
    name: str = typer.Option("command line", help="What the token is for."),
    days: int = typer.Option(90, help="Days until the token expires; 0 never expires."),
    as_json: AsJson = False,
) -> None:
    """Create an API token; the secret is printed only once and not stored."""
    with transaction() as session:
        account = _account(session, username, may_be_demo=True)
        token, secret = rules.create_token(session, account, name=name, scopes=[*scope], days=days)
    if as_json:
        show([{"id": token.public_id, "token": secret, "scopes": token.scopes, "expires_at": token.expires_at}], True)
    else:
        typer.echo(secret)


@tokens.command("list")
def list_tokens(username: str, as_json: AsJson = False) -> None:
    """List an account's tokens, except revoked ones."""
    with reading() as session:
        found = queries.tokens_of(session, _account(session, username, may_be_demo=True))
    rows = [
        {
            "id": token.public_id,
            "name": token.name,
            "begins_with": token.prefix,
            "scopes": token.scopes,
            "expires_at": token.expires_at,
            "last_used_at": token.last_used_at,
        }
        for token in found
    ]
    show(rows, as_json, f"{username} has no tokens.")


@tokens.command("revoke")
def revoke(username: str, id: str = typer.Argument(help="The id that `plumbline token list` shows.")) -> None:
    """Revoke a token at once."""
    with transaction() as session:
        rules.revoke_token(session, _account(session, username, may_be_demo=True), id)
    typer.echo("Revoked.")


def _account(session, username: str, *, may_be_demo: bool = False) -> Account:
    account = queries.by_username(session, username)
    if account is None:
        raise NotFound(f"There is no account “{username}”; see `plumbline account list`.")
    if account.kind is AccountKind.DEMO and not may_be_demo:
        raise BadInput(f"“{username}” belongs to the demo and cannot be changed; create an account of your own.")
    return account
